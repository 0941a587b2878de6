"""Clients that send prepared requests and compare the responses with precomputed predictions, at little CPU cost."""

import random
import socket
from typing import NamedTuple

import orjson

from models.golden_rows import TOLERANCE
from models.tabular_model import TabularModel
from tests.e2e.test_chaos import Client, Row

REQUESTS = 4000
HEAD_END = b"\r\n\r\n"


class PreparedRequest(NamedTuple):
    """An encoded request, its expected predictions, and their allowed differences."""

    message: bytes
    expected: list[float]
    allowed: list[float]

    def problem(self, status: bytes, body: bytes) -> str | None:
        """Describes what is wrong with a response; None if it is correct."""
        if status != b"200":
            return f"{status!r} {body[:200]!r}"
        values = [prediction["value"] for prediction in orjson.loads(body)["predictions"]]
        if len(values) == len(self.expected) and all(
            abs(value - expected) <= allowed
            for value, expected, allowed in zip(values, self.expected, self.allowed, strict=True)
        ):
            return None
        return f"{values} instead of {self.expected}"


def prepare_requests(model: TabularModel, count: int = REQUESTS, seed: int = 0) -> list[PreparedRequest]:
    """Requests with 1 or 40 random rows each."""
    rng = random.Random(seed)
    return [_random_request(model, rng) for _ in range(count)]


def _random_request(model: TabularModel, rng: random.Random) -> PreparedRequest:
    rows: list[Row] = [
        {"a": round(rng.uniform(0, 10), 3), "b": round(rng.uniform(0, 10), 3)} for _ in range(rng.choice([1, 1, 1, 40]))
    ]
    body = orjson.dumps({"rows": rows})
    head = f"POST /predict/small HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    expected: list[float] = model.predict_rows(rows).primary[:, 0].tolist()
    scale = model.tolerance()
    return PreparedRequest(head.encode() + body, expected, [TOLERANCE * max(abs(one), scale) for one in expected])


class ConnectionEnded(ConnectionError):  # noqa: N818 - the name describes the error
    """The connection ended before or during a response."""


class PreparedClient(Client):
    """Sends prepared requests in random order over one connection, and reconnects when the connection is lost."""

    def __init__(self, port: int, model: TabularModel, seed: int, requests: list[PreparedRequest]) -> None:
        super().__init__(port, model, seed)
        self.requests = requests

    def run(self) -> None:
        connection: socket.socket | None = None
        while not self.stopped.is_set():
            request = self.random.choice(self.requests)
            try:
                connection = connection or socket.create_connection(("127.0.0.1", self.port), 60)
                connection.sendall(request.message)
                self.compare(request, connection)
            except OSError:
                self.lost += 1
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def compare(self, request: PreparedRequest, connection: socket.socket) -> None:
        """Read a response and compare it. Raises OSError if no response begins; an incomplete response is an error."""
        received = connection.recv(65536)
        if not received:
            raise ConnectionEnded
        try:
            while HEAD_END not in received:
                received += self._receive(connection)
            head, _, body = received.partition(HEAD_END)
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += self._receive(connection)
            problem = request.problem(head[9:12], body)
        except (OSError, ValueError) as error:
            problem = f"{received[:200]!r}, then {error!r}"
        if problem:
            self.problems.append(problem)
        else:
            self.correct += 1

    @staticmethod
    def _receive(connection: socket.socket) -> bytes:
        received = connection.recv(65536)
        if not received:
            raise ConnectionEnded("the response is incomplete")
        return received
