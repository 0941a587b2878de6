"""The benchmark starts, loads and ends servers, and what it is for holds by a wide margin."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest import __main__ as command
from loadtest.bench import bare_asgi, clients, servers
from models.architecture import Architecture
from models.encoding import Encoder
from models.engines import NumpyEngine
from models.features import Feature, FeatureSchema, Frame, Seen
from models.network.network import build
from models.predictor import TabularModel
from service.config import Settings
from service.dataplane import DataPlane
from service.lane import Lane

ROW = dict.fromkeys(bare_asgi.FIELDS, 1.5)
BODY = json.dumps({"rows": [ROW]}).encode()


def test_the_limit_is_served_and_loaded_by_the_bundled_client(tmp_path: Path) -> None:
    server = servers.Server(servers.BARE, tmp_path, tmp_path, BODY)
    try:
        server.wait()
        before = server.cpu()
        told = asyncio.run(clients.by_ourselves(server.url, BODY, 4, 0.5))
        assert told.errors == 0
        assert told.requests > 20
        assert 0 < told.p50 <= told.p99
        assert server.cpu() >= before
        assert server.memory()[0] > 10
        wrong = asyncio.run(clients.by_ourselves(server.url, b"{", 1, 0.1))
        assert wrong.errors > 0
    finally:
        server.stop()
    assert server.process.poll() is not None


def test_rounds_become_a_table_and_a_picture(tmp_path: Path) -> None:
    loads = [clients.Load(100, 1.0, 0.001, 0.002, 0), clients.Load(300, 1.0, 0.003, 0.004, 1)]
    server: Any = type("Stopped", (), {"contender": servers.BARE, "ready_s": 1.0})()
    seen = servers.Seen(server, loads, [40.0, 60.0], 99.0)
    assert servers.table([seen])[1] == [servers.BARE.name, "50", "1.00", "200", "2.0", "3.0", "1", "99", "1.0"]
    servers.picture([seen], "title", tmp_path / "bench.svg")
    assert "processor time" in (tmp_path / "bench.svg").read_text() or (tmp_path / "bench.svg").stat().st_size > 1000


def test_an_unknown_scenario_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["bench", "servers", "rows"]) == 2
    assert "expected row, mixed" in capsys.readouterr().err


def lane() -> Lane:
    rng = np.random.default_rng(0)
    features = [Feature(name=n, kind="number", nullable=False, seen=Seen(min=0, max=10)) for n in ROW]
    schema = FeatureSchema(name="eight", task="regression", target="y", features=features)
    numbers = rng.uniform(0, 10, (300, 8))
    encoder = Encoder.fit(schema, Frame(numbers, np.empty((300, 0), np.int64)), numbers.sum(axis=1), bins=0)
    engine = NumpyEngine(build(Architecture(8, hidden=(32,)), rng), "test")
    settings = Settings()
    plane = DataPlane([TabularModel("1", schema, encoder, engine)], settings)
    plane.start()
    made = Lane(plane, settings, lambda: b"{}")
    made.ready = True
    return made


def test_one_row_costs_few_times_the_bare_function() -> None:
    """Without the HTTP server around them, which costs both the same: 1.6 where it was measured."""

    async def send(message: Any) -> None:
        pass

    async def receive() -> Any:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def seconds(app: Any) -> float:
        started = time.process_time()
        for _ in range(500):
            scope = {"type": "http", "method": "POST", "path": "/predict/eight", "query_string": b"", "headers": []}
            await app(scope, receive, send)
        return time.process_time() - started

    ours = lane()
    both = [[asyncio.run(seconds(app)) for app in (ours, bare_asgi.app)] for _ in range(7)]
    mine, bare = (min(times) for times in zip(*both, strict=True))
    assert mine < 4 * bare
    ours.plane.close()
