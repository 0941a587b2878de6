"""Changes versions under load and checks that every response matches its version: `python -m tests.e2e.versions_proof`.

Clients of all protocols send single rows and batches over 32 connections to 4 workers while versions are promoted and
rolled back and traffic is split. Between phases a worker is killed. Only requests in progress on the connections of a
killed worker may fail. Each response must be correct for the version that it names. After a change is acknowledged, new
requests must not get responses of versions without traffic. Otherwise the exit code is 1.
"""

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import numpy.typing as npt
import psutil

from models import store
from tests.child_processes import wait_or_kill
from tests.e2e.conftest import ROOT, Server, environment, start_server, train_version
from tests.e2e.server_processes import wait_until, workers
from tests.e2e.test_chaos import client_connections
from tests.e2e.version_requests import FIXED, MANY, ONE
from tests.ports import free_port

TRAIN_KERAS = """
import sys
import keras
import numpy as np
from models import store
from models.encoding.encoder import Encoder
from models.feature import Feature, TrainingRange
from models.frame import Frame
from models.schema import FeatureSchema
from models.version_files import TrainedVersion

seed = int(sys.argv[1])
keras.utils.set_random_seed(seed)
rng = np.random.default_rng(seed)
features = [Feature(name=n, kind="number", nullable=False, seen=TrainingRange(min=0, max=10), example=3) for n in "ab"]
schema = FeatureSchema(name="small", task="regression", target="y", features=features)
numbers = rng.uniform(0, 10, (100, 2))
encoder = Encoder.fit(schema, Frame(numbers, np.zeros((100, 0), dtype=np.int64)), numbers.sum(axis=1))
layers = [keras.Input((encoder.width,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)]
rows = [{"a": float(a), "b": float(b)} for a, b in numbers[:3].round(2)]
store.save(TrainedVersion(schema, encoder, rows, "needs TensorFlow", keras=keras.Sequential(layers), card="# card"))
"""
MODEL = "small"
CLIENT_PROCESSES = 2
GRPC_SHARE = 8  # one in every 8 connections uses gRPC
CHANGE_S = 300.0
FIXED_VERSION = 1
VERSIONS = 3


class VersionChange(NamedTuple):
    """A change of versions, or the initial state. allowed: the versions that have traffic afterwards."""

    sent: float
    acknowledged: float
    allowed: frozenset[int]


class ProofResult(NamedTuple):
    requests: int
    changes: int
    kills: int
    cut: int
    allowed_cuts: int  # the number of connections of the killed workers
    wrong: list[str]
    versions: dict[int, int]  # the number of responses of each version

    @property
    def failed(self) -> bool:
        return bool(self.wrong) or self.cut > self.allowed_cuts or not self.requests

    def summary(self) -> str:
        counts = ", ".join(f"{count:,} of version {version}" for version, count in sorted(self.versions.items()))
        return (
            f"{self.requests:,} responses ({counts}), {self.changes} changes: {len(self.wrong)} wrong; {self.kills} "
            f"kills, {self.cut} connections lost with a request in progress (at most {self.allowed_cuts})"
        )


class ProofSize(NamedTuple):
    requests: int
    changes: int
    kills: int
    connections: int
    seed: int = 0


def train_keras_version(home: Path, seed: int) -> None:
    """Train a new version of `small` that only TensorFlow can run."""
    command = [sys.executable, "-c", TRAIN_KERAS, str(seed)]
    subprocess.run(command, cwd=ROOT, env=environment(home), check=True, timeout=CHANGE_S)


def expected_predictions(home: Path, versions: Sequence[int]) -> dict[str, dict[str, list[float]]]:
    """The expected predictions, by version and by number of rows."""
    models = {one.version: store.load(one) for one in store.versions(home)[0][MODEL] if one.version in versions}
    return {
        str(version): {str(len(rows)): model.predict_rows(rows).primary[:, 0].tolist() for rows in (ONE, MANY)}
        for version, model in models.items()
    }


class ClientProcess:
    """A process of `tests.e2e.version_clients`. `seen`: the last report of the process."""

    def __init__(self, server: Server, grpc_port: int, connections: int, expected: Any, file: Path) -> None:
        over_grpc = max(1, connections // GRPC_SHARE)
        numbers = map(str, (server.port, grpc_port, connections - over_grpc, over_grpc))
        self.seen: dict[str, Any] = {"count": 0, "cut": 0, "wrong": []}
        self._file = file
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.version_clients", *numbers, str(file)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(expected).encode() + b"\n")
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.seen = json.loads(line)

    def stop(self) -> npt.NDArray[np.float64]:
        """Stop the clients. Returns an array (requests, 4): sent, answered, version, whether the request named an
        alias.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join(CHANGE_S)
        if wait_or_kill(self._process, CHANGE_S):
            raise RuntimeError("a client process failed")
        found: npt.NDArray[np.float64] = np.load(self._file)
        return found

    def kill(self) -> None:
        self._process.kill()
        with self._process:  # closes the streams of the process
            self._reader.join(CHANGE_S)


class VersionsProof:
    """Changes versions of a running server while clients send requests. Created before the clients start."""

    def __init__(self, server: Server, admin: httpx.Client, versions: Sequence[int], seed: int) -> None:
        self._server, self._admin = server, admin
        self._clients: list[ClientProcess] = []
        self._versions = versions
        self._random = random.Random(seed)
        self.kills = self.allowed_cuts = 0
        self.changes: list[VersionChange] = []
        self._champion = 0
        self._set_alias(FIXED, FIXED_VERSION)
        self.changes = [self.changes[-1]._replace(sent=-np.inf, acknowledged=-np.inf)]

    @property
    def count(self) -> int:
        return sum(client.seen["count"] for client in self._clients)

    def run(self, clients: list[ClientProcess], size: ProofSize) -> ProofResult:
        """Distribute the changes evenly over the requests, and kill a worker after every phase."""
        self._clients = clients
        phase = max(1, size.changes // (size.kills + 1))
        for number in range(size.changes):
            self._wait_for(size.requests * number // size.changes)
            if number and number % phase == 0 and self.kills < size.kills:
                self._kill_worker()
            self._change(number)
        self._wait_for(size.requests)
        return self._result()

    def _wait_for(self, requests: int) -> None:
        def reached() -> bool:
            wrong = [problem for client in self._clients for problem in client.seen["wrong"]]
            return bool(wrong) or self.count >= requests

        while not reached():  # wait without a limit while requests are answered
            before = self.count
            wait_until(lambda: self.count > before)  # noqa: B023 - called at once

    def _change(self, number: int) -> None:
        """Make the next change of the cycle: a promotion, a split, a promotion that ends the split, a rollback."""
        other = self._random.choice([version for version in self._versions if version != self._champion])
        if number % 4 == 1:
            self._set_alias("challenger", other)
            share = self._random.choice((10, 50, 90))
            self._send("PUT", "/traffic", {"champion": 100 - share, "challenger": share})
        elif number % 4 == 3:
            self._send("POST", "/rollback", {})
        else:
            self._send("POST", "/promote", {"version": other})

    def _set_alias(self, alias: str, version: int) -> None:
        self._send("PUT", f"/aliases/{alias}", {"version": version})

    def _send(self, method: str, path: str, content: object) -> None:
        sent = time.monotonic()
        reply = self._admin.request(method, path, json=content)
        acknowledged = time.monotonic()
        if reply.status_code != 200:
            raise RuntimeError(f"{method} {path} {content}: {reply.status_code} {reply.text}")
        versions = reply.json()["versions"]
        allowed = frozenset(int(one["version"]) for one in versions if one["traffic"])
        self.changes.append(VersionChange(sent, acknowledged, allowed))
        self._champion = next(int(one["version"]) for one in versions if "champion" in one["aliases"])

    def _kill_worker(self) -> None:
        count = len(workers(self._server))
        victim = self._random.choice(workers(self._server))
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGSTOP)
            self.allowed_cuts += client_connections(victim)
            victim.send_signal(signal.SIGKILL)
            self.kills += 1
        wait_until(lambda: len([one for one in workers(self._server) if one.pid != victim.pid]) == count)

    def _result(self) -> ProofResult:
        records = np.concatenate([client.stop() for client in self._clients])
        wrong = [problem for client in self._clients for problem in client.seen["wrong"]]
        cut = sum(client.seen["cut"] for client in self._clients)
        fixed = records[:, 3] == 1
        wrong += [f"alias {FIXED}: version {int(one)}" for one in set(records[fixed, 2]) - {FIXED_VERSION}]
        wrong += late_responses(records[~fixed], self.changes)
        versions, counts = np.unique(records[:, 2].astype(int), return_counts=True)
        found = dict(zip(versions.tolist(), counts.tolist(), strict=True))
        return ProofResult(len(records), len(self.changes) - 1, self.kills, cut, self.allowed_cuts, wrong, found)


def late_responses(records: npt.NDArray[np.float64], changes: list[VersionChange]) -> list[str]:
    """Describes the responses of versions that had no traffic at any time between request and response."""
    sent, answered, versions = records[:, 0], records[:, 1], records[:, 2].astype(int)
    first = np.searchsorted([change.acknowledged for change in changes], sent, side="right") - 1
    last = np.searchsorted([change.sent for change in changes], answered, side="right") - 1
    wrong = []
    for one, other in {*zip(first.tolist(), last.tolist(), strict=True)}:
        allowed = frozenset[int]().union(*(change.allowed for change in changes[one : other + 1]))
        selected = (first == one) & (last == other)
        for version in set(versions[selected].tolist()) - allowed:
            wrong.append(f"version {version} after change {one} of {sorted(allowed)}")
    return wrong


@contextlib.contextmanager
def running_clients(server: Server, grpc_port: int, connections: int, expected: Any) -> Iterator[list[ClientProcess]]:
    started: list[ClientProcess] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number in range(CLIENT_PROCESSES):
                file = Path(folder) / f"{number}.npy"
                started.append(ClientProcess(server, grpc_port, connections // CLIENT_PROCESSES, expected, file))
            yield started
        finally:
            for client in started:
                client.kill()


def prove(server: Server, grpc_port: int, home: Path, versions: Sequence[int], size: ProofSize) -> ProofResult:
    """Change versions of a running server under load. Returns the result."""
    new_connections = httpx.Limits(max_keepalive_connections=0)  # the server may be closing an idle connection
    url = f"{server.url}/models/{MODEL}"
    with httpx.Client(base_url=url, timeout=CHANGE_S, limits=new_connections) as admin:
        proof = VersionsProof(server, admin, versions, size.seed)
        with running_clients(server, grpc_port, size.connections, expected_predictions(home, versions)) as clients:
            return proof.run(clients, size)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.versions_proof", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tensorflow", action="store_true", help="use versions that need TensorFlow")
    options = parser.parse_args()
    size = ProofSize(options.requests, options.changes, options.kills, options.connections, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        home, grpc_port = Path(folder), free_port()
        for seed in range(VERSIONS):
            train_keras_version(home, seed) if options.tensorflow else train_version(home, MODEL, seed)
        workers, port = str(options.workers), str(grpc_port)
        server = start_server(home, free_port(), home / "log", TABSERVE_WORKERS=workers, TABSERVE_GRPC_PORT=port)
        try:
            server.wait_ready()
            started = time.monotonic()
            result = prove(server, grpc_port, home, range(1, VERSIONS + 1), size)
            seconds = time.monotonic() - started
        finally:
            server.stop()
    print(f"{result.summary()}; {seconds:.0f} s", *result.wrong[:10], sep="\n")
    return int(result.failed)


if __name__ == "__main__":
    sys.exit(main())
