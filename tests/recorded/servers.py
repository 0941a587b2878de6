"""The servers that answer the recorded requests: processes of `bentoml serve` with different settings."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc

from tests.child_processes import wait_or_kill
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
STORE = Path(__file__).resolve().parent / "store"
START_S, STOP_S = 300, 60
COMMON = {"TABSERVE_STORE": str(STORE), "TABSERVE_WORKERS": "1", "TABSERVE_DRAIN_S": "0", "TABSERVE_ADMIN": "off"}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "all": {
        "TABSERVE_GRPC_PORT": "free",
        "TABSERVE_PREDICT_ROUTE": "/vertex/predict",
        "TABSERVE_HEALTH_ROUTE": "/vertex/health",
    },
    "small": {
        "TABSERVE_GRPC_PORT": "free",
        "TABSERVE_MODELS": "homes",
        "TABSERVE_MAX_ROWS": "20",
        "TABSERVE_MAX_BODY_BYTES": "8192",
        "TABSERVE_MAX_STREAM_BYTES": "60000",
    },
    "batching": {
        "TABSERVE_MODELS": "stars:1,numbers,income",
        "TABSERVE_BATCHING": "on",
        "TABSERVE_DEFAULT_MODEL": "numbers",
        "TABSERVE_TIMEOUT_S": "2",
        "AIP_PREDICT_ROUTE": "/aip/predict",
        "AIP_HEALTH_ROUTE": "/aip/health",
    },
}
"""The settings of the servers. `all`: all models, default limits; `small`: one model, low limits; `batching`: selected
models and versions, with batching of requests.
"""


@dataclass
class Server:
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path
    grpc_port: int | None = None
    counters: dict[str, float] = field(default_factory=dict)  # the current values, if known

    @property
    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    @cached_property
    def channel(self) -> Any:
        """The gRPC channel, shared by all calls because opening a channel is slow."""
        return grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}")

    def wait_ready(self) -> None:
        until = time.monotonic() + START_S
        while not self.ready:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server did not start:\n{self.log.read_text(encoding='utf-8')}")
            time.sleep(0.1)

    def stop(self) -> None:
        if "channel" in self.__dict__:
            self.channel.close()
        if self.process.poll() is None:
            self.process.terminate()
        wait_or_kill(self.process, STOP_S)


@dataclass
class Servers:
    """Starts each server of a checkout at its first use. `close` stops all servers."""

    checkout: Path
    work: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _started: dict[str, Server] = field(default_factory=dict)

    def start(self, names: Iterator[str] | list[str]) -> None:
        """Start servers concurrently, and wait until all are ready."""
        new = [name for name in names if name not in self._started]
        for name in new:
            self._started[name] = start_server(self.checkout, self.work / name, SETTINGS[name])
            self._stack.callback(self._started[name].stop)
        for name in new:
            self._started[name].wait_ready()

    def __getitem__(self, name: str) -> Server:
        self.start([name])
        return self._started[name]

    def close(self) -> None:
        for server in self._started.values():  # signal all servers first, so that they stop concurrently
            server.process.terminate()
        self._stack.close()


@contextmanager
def running_servers(checkout: Path, work: Path) -> Iterator[Servers]:
    servers = Servers(checkout, work)
    try:
        yield servers
    finally:
        servers.close()


def start_server(checkout: Path, work: Path, settings: Mapping[str, str]) -> Server:
    home, temporary = work / "home", work / "tmp"
    for folder in (home, temporary):
        folder.mkdir(parents=True)
    port = free_port()
    settings = {**COMMON, **settings}
    grpc_port = None
    if settings.get("TABSERVE_GRPC_PORT") == "free":
        grpc_port = free_port()
        settings["TABSERVE_GRPC_PORT"] = str(grpc_port)
    places = {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=checkout, env=inherited_environment() | places | settings, stdout=log, stderr=subprocess.STDOUT
        )
    return Server(port, process, work / "log", grpc_port)


def inherited_environment() -> dict[str, str]:
    """The environment variables of this process without those that affect settings or imports of a server."""
    dropped = ("TABSERVE_", "AIP_", "BENTOML_", "PROMETHEUS_", "PYTEST_", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
