"""A real server with two tiny models, one with every kind of column, and a misbehaving proxy in front of the server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from loadtest import request_plan, server_under_test
from loadtest.request_mix import RequestMix
from loadtest.request_plan import RequestPlan
from tests.child_processes import stop_all
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
import numpy as np
from loadtest import random_rows
from models import store
from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.feature import Feature, TrainingRange
from models.network.network import build
from models.schema import FeatureSchema
from models.version_files import TrainedVersion

rng = np.random.default_rng(0)
zero_to_ten = TrainingRange(min=0.0, max=10.0)
plain = [Feature(name=n, kind="number", nullable=False, seen=zero_to_ten, example=3.5) for n in "ab"]
ages, ranks = TrainingRange(min=17, max=90), TrainingRange(levels=[1, 2, 3])
days = TrainingRange(min="04.01.1999", max="31.05.2024")
odd = [
    Feature(name="age (years)", kind="number", nullable=False, minimum=0, seen=ages, example=38),
    Feature(name="class", kind="category", nullable=True, seen=TrainingRange(levels=["x", "y", ""]), example="x"),
    Feature(name="rank", kind="category", nullable=False, unseen="error", seen=ranks, example=1),
    Feature(name="since", kind="date", nullable=False, seen=TrainingRange(min="1999-01-04", max="2024-05-31")),
    Feature(name="day", kind="date", nullable=True, date_format="%d.%m.%Y", seen=days),
    Feature(name="member", kind="boolean", nullable=False, example=True),
]
schemas = [
    FeatureSchema(name="small", task="regression", target="y", features=plain),
    FeatureSchema(name="odd", task="multiclass", target="y", classes=["u", "v", "w"], features=odd),
]
for schema in schemas:
    some = [random_rows.valid_row(schema, [], rng) for _ in range(100)]
    frame = schema.frames.from_rows(some)
    outputs = len(schema.classes or [0])
    target = frame.numbers.sum(axis=1) if outputs == 1 else np.arange(100) % 3
    encoder = Encoder.fit(schema, frame, target)
    network = build(Architecture(encoder.width, hidden=(8,), outputs=outputs), rng)
    print(store.save(TrainedVersion(schema, encoder, some[:3], "trained by NumPy", network=network, card="# card")).tag)
"""


@pytest.fixture(scope="session")
def store_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BENTOML_HOME with small:1 and odd:1."""
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run([sys.executable, "-c", TRAIN], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="session")
def url(store_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server with one worker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(store_home))
        patch.setenv("TABSERVE_DRAIN_S", "0")
        patch.setenv("TABSERVE_TIMEOUT_S", "120")  # a timeout that slow machines do not reach
        with server_under_test.served(None, tmp_path_factory.mktemp("log") / "log", workers=1) as found:
            yield found


@pytest.fixture(scope="session")
def plan(url: str) -> RequestPlan:
    return request_plan.make(url, RequestMix())


@pytest.fixture
def defective_url(url: str) -> Iterator[Callable[[str, int], str]]:
    """defective_url("swap", 700): the URL of a proxy whose response to request 700 has this defect."""
    running: list[subprocess.Popen[bytes]] = []

    def start(defect: str, number: int) -> str:
        port = free_port()
        command = [sys.executable, str(Path(__file__).with_name("proxy.py")), str(port), str(urlsplit(url).port)]
        running.append(subprocess.Popen([*command, defect, str(number)]))
        until = time.monotonic() + 300
        while time.monotonic() < until:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    return f"http://127.0.0.1:{port}"
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("the proxy does not answer")

    yield start
    stop_all(running, signal.SIGTERM)
