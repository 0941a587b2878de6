"""Fixtures: BentoML stores with tiny models, and servers started by `bentoml serve`."""

import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.child_processes import stop_all, wait_or_kill
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
GENEROUS_TIMEOUT_S = "120"  # a request timeout that even a slow machine does not exceed
BENTOML = str(Path(sys.executable).parent / "bentoml")
TRAIN = """
import sys
import numpy as np
from models import store
from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.explanation.background import Background
from models.feature import Feature, TrainingRange
from models.frame import Frame
from models.network.network import build
from models.schema import FeatureSchema
from models.version_files import TrainedVersion

name, seed = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(seed)
features = [Feature(name=n, kind="number", nullable=False, seen=TrainingRange(min=0, max=10), example=3) for n in "ab"]
schema = FeatureSchema(name=name, task="regression", target="y", features=features)
numbers = rng.uniform(0, 10, (100, 2))
frame = Frame(numbers, np.zeros((100, 0), dtype=np.int64))
encoder = Encoder.fit(schema, frame, numbers.sum(axis=1))
network = build(Architecture(encoder.width, hidden=(8,)), rng)
background = Background.fit(schema, frame, rng)
rows = [{"a": float(a), "b": float(b)} for a, b in numbers[:3].round(2)]
trained = TrainedVersion(
    schema, encoder, rows, "trained by NumPy", network=network, card="# card", background=background
)
print(store.save(trained).tag)
"""


def environment(home: Path, **settings: str) -> dict[str, str]:
    excluded = ("TABSERVE_", "BENTOML_", "PROMETHEUS_", "PYTEST_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(excluded)}
    return {**kept, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **settings}


def train_version(home: Path, name: str, seed: int = 0) -> str:
    """Train a new version in the store of `home`. Returns its tag."""
    command = [sys.executable, "-c", TRAIN, name, str(seed)]
    done = subprocess.run(command, cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


@pytest.fixture(scope="session")
def command() -> Callable[..., str]:
    """command(home, program, …) runs a program in the project's root and returns its output."""

    def run(home: Path, program: str, *arguments: str) -> str:
        program = BENTOML if program == "bentoml" else program
        done = subprocess.run(
            [program, *arguments], cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def train() -> Callable[..., str]:
    return train_version


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BENTOML_HOME with small:1, shared by tests that do not change it."""
    folder = tmp_path_factory.mktemp("trained")
    train_version(folder, "small")
    return folder


@pytest.fixture
def home(trained_home: Path, tmp_path: Path) -> Path:
    """A copy of a BENTOML_HOME with small:1, which a test may change."""
    shutil.copytree(trained_home, tmp_path, dirs_exist_ok=True)
    return tmp_path


@dataclass
class Server:
    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    tls: ssl.SSLContext | None = None
    """The TLS context of the client, for a server with TLS."""

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        until = time.monotonic() + 300
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2, verify=self.tls or True).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return wait_or_kill(self.process)


def start_server(
    home: Path,
    port: int,
    log: Path,
    *,
    cwd: Path = ROOT,
    target: str = "",
    options: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
    **settings: str,
) -> Server:
    """Start a server without waiting until it is ready. options: passed to `bentoml serve`. tls: the TLS context of its
    clients.
    """
    command = [BENTOML, "serve", *([target] if target else []), "--host", "127.0.0.1", "--port", str(port), *options]
    defaults = {"TABSERVE_WORKERS": "1", "TABSERVE_DRAIN_S": "0.2", "TABSERVE_TIMEOUT_S": GENEROUS_TIMEOUT_S}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment(home, **defaults | settings), stdout=out, stderr=subprocess.STDOUT
        )
    return Server(process, port, log, tls)


@contextmanager
def running_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """A context manager that returns a function to start servers, and stops these servers at the end."""
    servers: list[Server] = []

    def start(home: Path, *, wait: bool = True, port: int = 0, **arguments: Any) -> Server:
        log = tmp_path_factory.mktemp("log") / "log"
        servers.append(start_server(home, port or free_port(), log, **arguments))
        if wait:
            servers[-1].wait_ready()
        return servers[-1]

    try:
        yield start
    finally:
        stop_all([server.process for server in servers])  # by SIGINT, so that they do not wait for load balancers


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """serve(home, wait=…, port=…, arguments of start_server) starts a server, which is stopped after the test."""
    with running_servers(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def serve_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Like `serve`, but the servers are stopped after the last test of the module."""
    with running_servers(tmp_path_factory) as start:
        yield start
