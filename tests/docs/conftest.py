"""A server for the examples of the documentation, with small models."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.child_processes import stop_all
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 300
QUICK = ("--framework", "numpy", "--no-baselines", "--dropout", "0.1", "--final", "train")


class Server(NamedTuple):
    """A running server, and the environment of its store for further commands."""

    url: str
    environment: dict[str, str]


@pytest.fixture(scope="session")
def docs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server on a free port, with a small housing and a small penguins model in a temporary store."""
    home = tmp_path_factory.mktemp("home")
    settings = {
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "TABSERVE_WORKERS": "1",
        "TABSERVE_DRAIN_S": "0",
        "TABSERVE_TIMEOUT_S": "120",  # a timeout that slow machines do not reach
    }
    environment = os.environ | settings | {"PYTHONPATH": str(ROOT)}
    for name, epochs in (("housing", "3"), ("penguins", "20")):
        command = [sys.executable, "-m", "tests.quick_training", name, *QUICK, "--epochs", epochs]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=600, capture_output=True)
    yield from serve(home / "serve.log", environment)


def serve(log: Path, environment: dict[str, str]) -> Iterator[Server]:
    """Start `python -m service`, wait until it has printed its example requests, and stop it afterwards."""
    port = free_port()
    command = [sys.executable, "-m", "service", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while "curl -s" not in log.read_text(errors="replace"):
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < deadline, log.read_text(errors="replace")
                time.sleep(0.1)
            yield Server(f"http://127.0.0.1:{port}", environment)
        finally:
            stop_all([process], signal.SIGTERM)


@pytest.fixture(scope="session")
def server(docs_server: Server) -> str:
    """The address of the server."""
    return docs_server.url
