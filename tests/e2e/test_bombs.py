"""A worker survives bodies that expand: its memory stays below a limit, and it answers the next request.

`BOMBS=200 python -m pytest tests/e2e/test_bombs.py` sends 200 variations.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from tests.e2e.bombs import KINDS, MIB, PARQUET, parquet_bomb, variations
from tests.e2e.large_bodies import GrpcClient, HttpClient, LoadOutcome, grpc_message, json_body
from tests.e2e.server_processes import peak_mib, workers
from tests.ports import free_port

VARIATIONS = int(os.environ.get("BOMBS", len(KINDS)))
MAX_PEAK_MB = 512
TRAIN = """
import numpy as np
from models import store
from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.feature import Feature, TrainingRange
from models.network.network import build
from models.schema import FeatureSchema
from models.version_files import TrainedVersion

features = [
    Feature(name="a", kind="number", nullable=True, seen=TrainingRange(min=0, max=10), example=3),
    Feature(name="job", kind="category", nullable=True, seen=TrainingRange(levels=["x", "y"]), example="x"),
]
schema = FeatureSchema(name="texts", task="regression", target="y", features=features)
rows = [{"a": float(number % 10), "job": "xy"[number % 2]} for number in range(100)]
encoder = Encoder.fit(schema, schema.frames.from_rows(rows), np.arange(100.0))
network = build(Architecture(encoder.width, hidden=(8,)), np.random.default_rng(0))
store.save(TrainedVersion(schema, encoder, rows[:3], "trained by NumPy", network=network, card="# card"))
"""


@pytest.fixture
def home(tmp_path: Path, command: Callable[..., str]) -> Path:
    command(tmp_path, sys.executable, "-c", TRAIN)
    return tmp_path


def test_expanding_bodies_do_not_exhaust_the_memory_of_a_worker(serve: Callable[..., Any], home: Path) -> None:
    server = serve(home)
    (worker,), peaks = workers(server), []
    with httpx.Client(base_url=server.url, timeout=120) as client:
        for bomb in variations(VARIATIONS):
            before = peak_mib(worker.pid)
            try:
                status: int | str = client.post(bomb.path, content=bomb.body, headers=bomb.headers).status_code
            except httpx.TransportError as error:  # the server closed the connection while the body was sent
                status = type(error).__name__
            assert worker.is_running(), bomb.name
            peaks.append((round(peak_mib(worker.pid) - before), bomb.name, status))
            assert peak_mib(worker.pid) < MAX_PEAK_MB, sorted(peaks)[-5:]
            assert status != 500, bomb.name
        reply = client.post("/predict/texts", json={"rows": [{"a": 1, "job": "x"}]})
    print(f"peak {peak_mib(worker.pid):.0f} MB", sorted(peaks)[-8:])
    assert (reply.status_code, workers(server)) == (200, [worker]), json.dumps(peaks)


def test_concurrent_large_bodies_stay_within_the_memory_limit(serve: Callable[..., Any], home: Path) -> None:
    """This test sends fewer bodies than `python -m tests.e2e.large_bodies`, which sends 50 bodies of 16 MiB."""
    limit_mib, port = 512, free_port()  # without the limit, 12 concurrent bodies use 1,150 MiB
    memory = str(limit_mib * MIB)
    server = serve(home, TABSERVE_WORKERS="2", TABSERVE_MEMORY_BYTES=memory, TABSERVE_GRPC_PORT=str(port))
    row = '{"a": 1.5, "job": "x"}'
    body, message = json_body(row, 16 * MIB), grpc_message("texts", row, 16 * MIB)
    http = LoadOutcome(server, 12, lambda: HttpClient(server.port, "texts", body))
    grpc = LoadOutcome(server, 12, lambda: GrpcClient(port, message))
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 900, pa.int32()), ["x" * 8 * MIB])
    expanding = parquet_bomb("one text of 8 MiB", pa.table({"job": text}), compression="zstd").body
    assert len(expanding) < 10_000
    small = LoadOutcome(server, 24, lambda: HttpClient(server.port, "texts", expanding, PARQUET))
    for outcome, refused in ((http, "503"), (grpc, "UNAVAILABLE"), (small, "503")):
        assert outcome.answered == len(outcome.senders), outcome.results
        assert set(outcome.results) <= {"200", refused}
        assert not outcome.lost_workers
        assert outcome.peak_mib < limit_mib
    print("peaks", [round(outcome.peak_mib) for outcome in (http, grpc, small)])
