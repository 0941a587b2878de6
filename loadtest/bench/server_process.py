"""A server started by a benchmark: its processes, their CPU time and memory."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from loadtest.bench.clients import JSON, LoadFigures, tls_context
from loadtest.bench.process_usage import cpu_seconds
from loadtest.bench.server_scenarios import Contender, Row, ServerScenario
from models.row_warnings import find_warnings
from models.schema import FeatureSchema

READY_S = 600.0  # a busy machine is slow to start a server


def rows_of(store: Path, model: str, count: int) -> list[Row]:
    """The first golden rows, without those that get a warning if there are enough others."""
    folder = store / model / "1"
    schema = FeatureSchema.from_json((folder / "features.json").read_bytes())
    golden: list[Row] = json.loads((folder / "golden.json").read_text())["rows"]
    common = [row for row in golden if not find_warnings(schema, schema.frames.from_rows([row]))] or golden
    return [common[number % len(common)] for number in range(count)]


def environment(home: Path, **settings: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TABSERVE_", "BENTOML_"))}
    return {**kept, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **settings}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class BenchServer:
    """A running server of the comparison."""

    def __init__(
        self, contender: Contender, store: Path, home: Path, request: bytes, headers: Mapping[str, str] = JSON
    ) -> None:
        self.contender = contender
        self.request = request
        self.headers = dict(headers)
        self.port = free_port()
        fill = {"port": str(self.port), "store": str(store)}
        settings = {key: value.format(**fill) for key, value in contender.settings.items()}
        own_home = Path(tempfile.mkdtemp(dir=home))  # BentoML deletes the metrics of other servers with the same home
        self.log = own_home / "log"
        started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [part.format(**fill) for part in contender.command],
                cwd=contender.folder,
                env=environment(own_home, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", **settings),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.url = f"{contender.scheme}://127.0.0.1:{self.port}{contender.path}"
        self.ready_s = 0.0
        self._started = started

    def wait(self) -> None:
        """Wait for the first response, and set `ready_s`. Raises RuntimeError."""
        while time.monotonic() < self._started + READY_S:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.contender.name} stopped:\n{self.log.read_text()[-2000:]}")
            try:
                request = urllib.request.Request(self.url, self.request, self.headers)
                with urllib.request.urlopen(request, timeout=10, context=tls_context(self.url)):
                    self.ready_s = time.monotonic() - self._started
                    return
            except urllib.error.HTTPError as error:
                if error.code not in self.contender.not_ready:
                    raise RuntimeError(f"{self.contender.name} returned {error.code}: {error.read()[:500]!r}") from None
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"{self.contender.name} does not answer:\n{self.log.read_text()[-2000:]}")

    def tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self) -> float:
        """CPU seconds of all processes so far."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += cpu_seconds(process)
        return total

    def memory(self) -> tuple[float, float]:
        """The memory in MB of the largest process, which is a worker, and of all processes; shared pages count for each
        process."""
        memory = [0.0]
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                memory.append(process.memory_info().rss / 1e6)
        return max(memory), sum(memory)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                for process in self.tree():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                self.process.wait()


@dataclass
class ServerMeasurements:
    """The measurements of a server in all rounds."""

    server: BenchServer
    loads: list[LoadFigures] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)  # per request
    worker_mb: float = 0.0

    def median(self, pick: Callable[[LoadFigures], float]) -> float:
        return median(map(pick, self.loads))

    @property
    def cost(self) -> float:
        """µs of CPU time per request."""
        return median(self.cpu_us)

    @property
    def per_second(self) -> float:
        return self.median(lambda load: load.per_second)


@contextlib.contextmanager
def running(scenario: ServerScenario, store: Path, home: Path) -> Iterator[list[ServerMeasurements]]:
    """Start the scenario's servers one after the other; stop them at the end of the block."""
    servers: list[BenchServer] = []
    try:
        for contender in scenario.contenders:
            rows = rows_of(store, contender.model or scenario.model, contender.rows or scenario.rows)
            servers.append(BenchServer(contender, store, home, *contender.form(rows)))
            servers[-1].wait()
        yield [ServerMeasurements(server) for server in servers]
    finally:
        for server in servers:
            server.stop()
