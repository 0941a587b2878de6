"""The client handles errors of servers and proxies, which scripted servers on real sockets simulate."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from tabserve_client import (
    Client,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidInput,
    InvalidResponse,
    Overloaded,
    ServerError,
)
from tabserve_client.retries import RetryPolicy, exchange, retry_after
from tabserve_client.wire import NoReply, Reply, Request, Send, Wait, advance

from tests.client_package.conftest import BlockingAsyncClient

ROW = {"a": 1}
CONTENT = b'{"model":"m","version":"3","predictions":[{"value":1.5}]}'
Exchange = Callable[[bytes], bytes | None]


def response(
    status: int, content: bytes, *headers: str, length: int | None = None, kind: str = "application/json"
) -> bytes:
    size = len(content) if length is None else length
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {size}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class ScriptedServer(threading.Thread):
    """A server that answers the n-th request with the n-th response, and further requests with the last response. The
    response None closes the connection.
    """

    def __init__(self, *responses: bytes | None) -> None:
        super().__init__(daemon=True)
        self.responses = responses
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(ConnectionError):  # the client has disconnected
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        """Answer one request of a connection."""
        received = b""
        while b"\r\n\r\n" not in received:
            data = connection.recv(65536)
            if not data:
                return
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        while lengths and len(body) < int(lengths[0]):
            body += connection.recv(65536)
        scripted = self.responses[min(len(self.requests), len(self.responses) - 1)]
        self.requests.append(head + b"\r\n\r\n" + body)
        if scripted is not None:
            connection.sendall(scripted)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedServer]]:
    made: list[ScriptedServer] = []

    def make(*responses: bytes | None) -> ScriptedServer:
        made.append(ScriptedServer(*responses))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """connect(server or address, **options) returns a client, closed after the test."""
    made: list[Client] = []

    def make(server: ScriptedServer | str, **options: Any) -> Client:
        kind = options.pop("kind", Client)
        made.append(kind(server if isinstance(server, str) else server.url, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


PROBLEM = (
    b'{"type":"about:blank","title":"Too many requests","status":429,"detail":"full","errors":[],"errors_omitted":0}'
)
TRANSIENT: dict[str, bytes | None] = {
    "no response": None,
    "half of a head": b"HTTP/1.1 20",
    "half of a response": response(200, CONTENT[:20], length=len(CONTENT)),
    "half of a JSON text": response(200, CONTENT[:20]),
    "a page of a proxy": response(200, b"<html>hello</html>", kind="text/html"),
    "an error of a proxy": response(502, b"<html>bad gateway</html>", kind="text/html"),
    "a response to other rows": response(200, b'{"model":"m","version":"3","predictions":[]}'),
    "a deadline of the server": response(504, PROBLEM.replace(b"429", b"504")),
    "too many requests": response(429, PROBLEM, "retry-after: 0"),
    "not ready": response(503, b"", "retry-after: 0"),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_transient_error_is_retried(scripted: Any, connect: Any, name: str) -> None:
    kind = BlockingAsyncClient if len(name) % 2 else Client  # one client per case is enough: both share the retry code
    server = scripted(TRANSIENT[name], response(200, CONTENT))
    found = connect(server, kind=kind).predict("m", ROW)
    assert (found.values, found.version) == ([1.5], "3")
    assert len(server.requests) == 2
    assert len({request.rpartition(b"\r\n")[2] for request in server.requests}) == 1


PERSISTENT: dict[str, tuple[bytes | None, type[Exception]]] = {
    "no response": (None, ConnectionFailed),
    "half of a response": (TRANSIENT["half of a response"], InvalidResponse),
    "a page of a proxy": (TRANSIENT["a page of a proxy"], InvalidResponse),
    "an error of a proxy": (TRANSIENT["an error of a proxy"], ServerError),
}


@pytest.mark.parametrize("kind", [Client, BlockingAsyncClient])
@pytest.mark.parametrize("name", PERSISTENT)
def test_a_persistent_error_is_raised_after_the_last_attempt(scripted: Any, connect: Any, name: str, kind: Any) -> None:
    content, expected = PERSISTENT[name]
    server = scripted(content)
    with pytest.raises(expected):
        connect(server, kind=kind, attempts=2).predict("m", ROW)
    assert len(server.requests) == 2


def test_requests_to_an_overloaded_server_are_retried_until_the_deadline(scripted: Any, connect: Any) -> None:
    server = scripted(response(429, PROBLEM))
    with pytest.raises(DeadlineExceeded, match="429 Too many requests: full") as refused:
        connect(server, attempts=1, deadline=0.5).predict("m", ROW)
    assert isinstance(refused.value.__cause__, Overloaded)
    assert len(server.requests) > 1


def test_a_retry_after_header_beyond_the_deadline_ends_the_call(scripted: Any, connect: Any) -> None:
    server = scripted(response(503, b"", "retry-after: 3600"))
    with pytest.raises(DeadlineExceeded):
        connect(server).predict("m", ROW)
    assert len(server.requests) == 1


def test_a_validation_error_is_raised_without_retries(scripted: Any, connect: Any) -> None:
    error = {"row": 0, "field": "a", "code": "wrong_type", "message": "row 0, feature 'a': no"}
    problem = {"title": "Rows not valid", "status": 422, "detail": "1 of 1", "errors": [error], "errors_omitted": 4}
    server = scripted(response(422, json.dumps(problem).encode(), "x-request-id: r1"))
    with pytest.raises(ServerError, match="feature 'a': no") as refused:
        connect(server).predict("m", ROW)
    raised = refused.value
    assert (raised.status, raised.errors[0].field, raised.errors_omitted, raised.request_id) == (422, "a", 4, "r1")
    assert str(raised).endswith("and 4 more")
    assert len(server.requests) == 1


def test_an_unreachable_address_raises_an_error_after_all_attempts(connect: Any) -> None:
    for url in ("http://127.0.0.1:1", "http://unknown.invalid"):
        with pytest.raises(ConnectionFailed, match=url):
            connect(url, attempts=2).models()


def test_a_server_without_pyarrow_gets_ndjson(scripted: Any, connect: Any) -> None:
    lines = b'{"value":1.5}\n' * 200
    reads_json = response(200, lines, "x-model-version: 3", kind="application/x-ndjson")
    server = scripted(response(415, PROBLEM.replace(b"429", b"415")), reads_json)
    client = connect(server)
    for _ in range(2):
        assert client.predict("m", pa.table({"a": range(200)})).values == [1.5] * 200
    kinds = [b"x-ndjson" in request.partition(b"\r\n\r\n")[0] for request in server.requests]
    assert kinds == [False, True, True]


def test_rows_are_split_after_the_server_ends_a_response_early(scripted: Any, connect: Any) -> None:
    def lines(*entries: dict[str, Any]) -> bytes:
        content = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
        return response(200, content, "x-model-version: 3", kind="application/x-ndjson")

    half = lines(*[{"value": 1.5}] * 75)
    server = scripted(lines({"value": 1}, {"error": json.loads(PROBLEM)}), half)
    assert connect(server, concurrency=1).predict("m", [ROW] * 150).values == [1.5] * 150
    assert len(server.requests) == 3


def test_feedback_by_ids_is_retried_and_feedback_by_rows_is_not(scripted: Any, connect: Any) -> None:
    report = response(200, b'{"model":"m","judged":1,"versions":[]}')
    server = scripted(None, report)
    client = connect(server)
    with pytest.raises(ConnectionFailed):
        client.feedback("m", [{"a": 1, "y": 2}])
    assert len(server.requests) == 1
    assert client.feedback("m", [{"a": 1, "y": 2}]).judged == 1

    server = scripted(None, report)
    assert connect(server).feedback("m", ids=["r:0"], truths=[2]).judged == 1
    assert len(server.requests) == 2


def test_a_feedback_call_that_fails_midway_reports_the_number_of_accepted_entries(scripted: Any, connect: Any) -> None:
    server = scripted(response(200, b'{"model":"m","judged":1000,"versions":[]}'), None)
    with pytest.raises(ConnectionFailed) as refused:
        connect(server).feedback("m", [{"a": 1, "y": 2}] * 1500)
    assert refused.value.__notes__ == ["The first 1000 entries were reported before."]


def test_the_key_and_headers_are_sent(scripted: Any, connect: Any) -> None:
    server = scripted(response(200, CONTENT))
    connect(server, key="tsk_a_b", headers={"X-Team": "sales", "Content-Type": "text/plain"}).predict(
        "m", ROW, version=3, interval=[0.5, 0.9]
    )
    head = server.requests[0].partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    assert {"authorization: bearer tsk_a_b", "x-team: sales", "content-type: application/json"} <= {*head}
    assert head[0] == "post /predict/m/versions/3?interval=0.5%2c0.9 http/1.1"


@pytest.mark.parametrize("key", ["", "tsk_a_b\n", "tsk_a b", "tsk_…"])
def test_an_invalid_key_is_refused_at_once_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Client("http://127.0.0.1:1", key=key)
    assert "tsk_" not in str(refused.value)


def test_a_cancelled_call_stops_retrying(scripted: Any) -> None:
    from tabserve_client import AsyncClient

    server = scripted(response(429, PROBLEM))

    async def cancelled() -> None:
        async with AsyncClient(server.url, deadline=None) as client:
            task = asyncio.create_task(client.predict("m", [ROW] * 10_000))
            while len(server.requests) < 3:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())


def test_waits_between_attempts_grow_and_honour_retry_after() -> None:
    policy = RetryPolicy(deadline=None)
    conversation = exchange(Request("GET", "/models"), lambda reply: reply.content, policy, policy.end())
    waits, outcome = [], None
    for _ in range(6):
        assert isinstance(advance(conversation, outcome), Send)
        step = advance(conversation, NoReply(OSError("reset"), "http://x", sent=True))
        assert isinstance(step, Wait)
        waits.append(step.seconds)
    assert all(0.05 * 2**n <= wait <= 0.1 * 2**n for n, wait in enumerate(waits))
    assert isinstance(advance(conversation, None), Send)
    step = advance(conversation, Reply(503, {"retry-after": "40"}, b""))
    assert isinstance(step, Wait)
    assert 40 <= step.seconds <= 50

    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 90 < retry_after(Reply(503, {"retry-after": later}, b"")) <= 100
    assert retry_after(Reply(503, {"retry-after": "soon"}, b"")) == 0
    assert retry_after(Reply(503, {}, b"")) == 0


def test_all_requests_of_a_call_have_the_same_client_key(scripted: Any, connect: Any) -> None:
    """One version then answers all requests of a call when traffic is split. A key of the caller takes precedence."""
    half = response(200, b'{"value":1.5}\n' * 4096, "x-model-version: 3", kind="application/x-ndjson")
    server = scripted(half, half, half, half)
    for headers in ({}, {"X-Client-Key": "me"}):
        assert len(connect(server, headers=headers).predict("m", [ROW] * 8192)) == 8192
    keys = [line for request in server.requests for line in request.split(b"\r\n") if b"client-key" in line.lower()]
    assert len(keys) == 4
    assert keys[0] == keys[1] != keys[2]
    assert keys[2].lower() == keys[3].lower() == b"x-client-key: me"
