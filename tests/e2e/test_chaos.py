"""Accepted requests get correct responses, even when other clients misbehave and workers are killed."""

import http.client
import json
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from models import store
from models.golden_rows import TOLERANCE
from models.tabular_model import TabularModel
from tests.e2e.server_processes import wait_until, workers

Serve = Callable[..., Any]
Row = dict[str, float]
POISON = {"a": 1e6, "b": 1.0}
FRAGILE = """
import numpy as np
from models import store
from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.feature import Feature, TrainingRange
from models.frame import Frame
from models.network.network import Network, build
from models.schema import FeatureSchema
from models.version_files import TrainedVersion

rng = np.random.default_rng(0)
features = [Feature(name=n, kind="number", nullable=False, seen=TrainingRange(min=0, max=10), example=3) for n in "ab"]
schema = FeatureSchema(name="small", task="regression", target="y", features=features)
numbers = rng.uniform(0, 10, (100, 2))
frame = Frame(numbers, np.zeros((100, 0), dtype=np.int64))
encoder = Encoder.fit(schema, frame, numbers.sum(axis=1), bins=0)
network = build(Architecture(encoder.width, hidden=(8,)), rng)
weights = {name: array.copy() for name, array in network.weights().items()}
first, bias, last = [name for name in weights if weights[name].size > 1]
weights[first][:, 0] = 1, 0
weights[bias][0] = -50  # silent below 50 standard deviations,
weights[last][0] = 3e38  # and more than a float32 can hold above
network = Network.from_json(network.to_json(), weights)
rows = [{"a": float(a), "b": float(b)} for a, b in numbers[:3].round(2)]
store.save(TrainedVersion(schema, encoder, rows, "trained by NumPy", network=network, card="# card"))
"""


@pytest.fixture
def fragile_home(tmp_path: Path, command: Callable[..., str]) -> Path:
    """A BENTOML_HOME with small:1, whose network returns infinity for the row POISON."""
    command(tmp_path, sys.executable, "-c", FRAGILE)
    return tmp_path


def load_small_model(home: Path) -> TabularModel:
    found, _ = store.versions(home)
    return store.load(found["small"][0])


def reply_problem(model: TabularModel, rows: list[Row], status: int, body: bytes) -> str | None:
    """Describes what is wrong with the response to valid rows; None if it is correct."""
    if status != 200:
        return f"{status} {body[:200]!r}"
    values = [prediction["value"] for prediction in json.loads(body)["predictions"]]
    expected = model.predict_rows(rows).primary[:, 0].tolist()
    scale = model.tolerance()
    if len(values) == len(rows) and all(
        abs(a - b) <= TOLERANCE * max(abs(b), scale) for a, b in zip(values, expected, strict=True)
    ):
        return None
    return f"{values} instead of {expected}"


class Client(threading.Thread):
    """Sends requests over one connection until stopped, and compares each response with the model's own predictions."""

    def __init__(self, port: int, model: TabularModel, seed: int) -> None:
        super().__init__(daemon=True)
        self.port, self.model, self.random = port, model, random.Random(seed)
        self.stopped = threading.Event()
        self.correct, self.lost = 0, 0
        self.problems: list[str] = []
        self.closed = False  # whether the server has announced that it closes the connection

    def row(self) -> Row:
        return {"a": round(self.random.uniform(0, 10), 3), "b": round(self.random.uniform(0, 10), 3)}

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stopped.is_set() and not self.closed:
            rows = [self.row() for _ in range(self.random.choice([1, 1, 1, 40]))]
            try:
                connection.request("POST", "/predict/small", json.dumps({"rows": rows}))
                reply = connection.getresponse()
            except (OSError, http.client.HTTPException):
                self.lost += 1
                connection.close()
                continue
            self.check_reply(rows, reply)
        connection.close()

    def check_reply(self, rows: list[Row], reply: http.client.HTTPResponse) -> None:
        """Check a response. Once the head has arrived, the body must be complete."""
        self.closed = reply.getheader("connection") == "close"
        try:
            problem = reply_problem(self.model, rows, reply.status, reply.read())
        except (OSError, http.client.HTTPException) as error:
            problem = f"{reply.status}, then {error!r}"
        if problem:
            self.problems.append(problem)
        else:
            self.correct += 1


class ClientGroup:
    """A group of clients that run concurrently."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self.clients = clients
        for client in self.clients:
            client.start()

    def stop(self) -> None:
        for client in self.clients:
            client.stopped.set()
        for client in self.clients:
            client.join(60)
            assert not client.is_alive()

    @property
    def problems(self) -> list[str]:
        return [problem for client in self.clients for problem in client.problems]

    @property
    def lost(self) -> int:
        return sum(client.lost for client in self.clients)

    @property
    def correct(self) -> int:
        return sum(client.correct for client in self.clients)


def new_clients(server: Any, model: TabularModel, count: int) -> list[Client]:
    return [Client(server.port, model, seed) for seed in range(count)]


def send_request(port: int, rows: list[Row]) -> tuple[int, bytes]:
    """Send one request over a new connection. Returns the status and body of the response."""
    with post(port, json.dumps({"rows": rows}).encode()) as connection:
        return read_reply(connection)


def test_a_killed_worker_loses_only_its_own_requests_in_progress(serve: Serve, home: Path) -> None:
    server = serve(home, TABSERVE_WORKERS="2")
    model = load_small_model(home)
    group = ClientGroup(new_clients(server, model, 12))
    wait_until(lambda: group.correct > 100)
    victim, other = workers(server)
    waiting = [post(server.port, json.dumps({"rows": [{"a": 1.0, "b": 2.0}]}).encode()) for _ in range(20)]
    victim.send_signal(signal.SIGSTOP)
    in_progress = client_connections(victim)
    victim.send_signal(signal.SIGKILL)
    later_replies = []  # responses on connections made after the kill; both workers accept from the same backlog
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and len({w.pid for w in workers(server)} - {victim.pid}) < 2:
        later_replies.append(send_request(server.port, [{"a": 1.0, "b": 2.0}]))
        time.sleep(0.05)
    answered = group.correct
    wait_until(lambda: group.correct > answered + 100)
    group.stop()
    assert {w.pid for w in workers(server)} >= {other.pid}
    assert len(workers(server)) == 2
    assert group.problems == []
    assert all(client.lost <= 1 for client in group.clients)
    lost = 0
    for connection in waiting:
        with connection:
            try:
                status, body = read_reply(connection)
            except (OSError, http.client.HTTPException):
                lost += 1
            else:
                assert reply_problem(model, [{"a": 1.0, "b": 2.0}], status, body) is None
    assert group.lost + lost <= in_progress  # each connection has at most one request in progress
    assert later_replies
    assert [reply_problem(model, [{"a": 1.0, "b": 2.0}], *one) for one in later_replies] == [None] * len(later_replies)


def client_connections(process: psutil.Process) -> int:
    """The number of client connections of a process."""
    return sum(found.status == psutil.CONN_ESTABLISHED for found in process.net_connections("tcp"))


def test_a_stopping_server_answers_accepted_requests(serve: Serve, home: Path) -> None:
    server = serve(home, TABSERVE_DRAIN_S="1")
    group = ClientGroup(new_clients(server, load_small_model(home), 12))
    wait_until(lambda: all(client.correct for client in group.clients))
    server.process.send_signal(signal.SIGTERM)
    for client in group.clients:
        client.join(60)  # each client continues until the server announces that it closes the connection
    assert server.process.wait(60) == 0
    assert all(client.closed for client in group.clients)
    assert group.problems == []
    assert group.lost == 0


def post(port: int, body: bytes, length: int | None = None) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 60)
    head = (
        f"POST /predict/small HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def read_reply(connection: socket.socket) -> tuple[int, bytes]:
    """The status and body of the response on a connection."""
    reply = http.client.HTTPResponse(connection)
    reply.begin()
    return reply.status, reply.read()


@pytest.mark.parametrize("batching", ["auto", "on"])
def test_bad_clients_do_not_affect_others(serve: Serve, fragile_home: Path, batching: str) -> None:
    """Bad clients disconnect, send slowly, exceed the body limit, or send rows at which the engine fails."""
    limits = {
        "TABSERVE_MAX_BODY_BYTES": "20000",
        "TABSERVE_TIMEOUT_S": "10",
        "TABSERVE_BATCHING": batching,
    }
    server = serve(fragile_home, **limits)
    model = load_small_model(fragile_home)
    group = ClientGroup(new_clients(server, model, 8))
    good = json.dumps({"rows": [{"a": 1.0, "b": 2.0}]}).encode()
    slow = [post(server.port, good[:10], len(good)) for _ in range(20)]
    for _ in range(100):
        post(server.port, good).close()
        post(server.port, good[:10], len(good)).close()
    for _ in range(10):
        with post(server.port, b" " * 30_000) as connection:
            assert read_reply(connection)[0] == 413
    for turn in range(10):
        rows = [{"a": number / 8, "b": float(turn)} for number in range(64)]
        rows[17] = POISON
        connections = [post(server.port, json.dumps({"rows": [row]}).encode()) for row in rows]
        for row, connection in zip(rows, connections, strict=True):
            with connection:
                status, body = read_reply(connection)
            if row is POISON:
                assert status == 500
                assert b"inf" not in body.lower()
            else:
                assert reply_problem(model, [row], status, body) is None
    for connection in slow:
        with connection:
            assert read_reply(connection)[0] == 408
    wait_until(lambda: group.correct > 100)
    group.stop()
    assert group.problems == []
    assert group.lost == 0
