"""Clients that send prepared requests and compare the answers with prepared ones, at little cost for each."""

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
    """A whole request, and the values of its answer with the differences that are allowed."""

    message: bytes
    expected: list[float]
    allowed: list[float]

    def problem(self, status: bytes, body: bytes) -> str | None:
        """The problem of an answer, if there is one."""
        if status != b"200":
            return f"{status!r} {body[:200]!r}"
        values = [prediction["value"] for prediction in orjson.loads(body)["predictions"]]
        if len(values) == len(self.expected) and all(
            abs(value - expected) <= allowed
            for value, expected, allowed in zip(values, self.expected, self.allowed, strict=True)
        ):
            return None
        return f"{values} for {self.expected}"


def prepare(model: TabularModel, count: int = REQUESTS, seed: int = 0) -> list[PreparedRequest]:
    """Requests of 1 or 40 random rows, no two alike."""
    rng = random.Random(seed)
    return [_prepared(model, rng) for _ in range(count)]


def _prepared(model: TabularModel, rng: random.Random) -> PreparedRequest:
    rows: list[Row] = [
        {"a": round(rng.uniform(0, 10), 3), "b": round(rng.uniform(0, 10), 3)} for _ in range(rng.choice([1, 1, 1, 40]))
    ]
    body = orjson.dumps({"rows": rows})
    head = f"POST /predict/small HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    expected: list[float] = model.predict_rows(rows).primary[:, 0].tolist()
    scale = model.tolerance()
    return PreparedRequest(head.encode() + body, expected, [TOLERANCE * max(abs(one), scale) for one in expected])


class CutOff(ConnectionError):  # noqa: N818 - the name describes the error
    """The connection ended before an answer began."""


class PreparedClient(Client):
    """Sends prepared requests in a random order over one connection, and opens another one if that is lost."""

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
                self.cut += 1
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def compare(self, request: PreparedRequest, connection: socket.socket) -> None:
        """Read an answer and compare it. Raises OSError if none has begun: one that has must be complete."""
        received = connection.recv(65536)
        if not received:
            raise CutOff
        try:
            while HEAD_END not in received:
                received += self._next(connection)
            head, _, body = received.partition(HEAD_END)
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += self._next(connection)
            problem = request.problem(head[9:12], body)
        except (OSError, ValueError) as error:
            problem = f"{received[:200]!r}, then {error!r}"
        if problem:
            self.wrong.append(problem)
        else:
            self.right += 1

    @staticmethod
    def _next(connection: socket.socket) -> bytes:
        received = connection.recv(65536)
        if not received:
            raise CutOff("the answer is incomplete")
        return received
