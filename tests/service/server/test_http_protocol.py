"""The HTTP protocol, tested with raw bytes: upgrades, limits of heads, invalid HTTP and responses in flight.

This file has more than 400 lines: the tests share one raw server and the readers of its bytes.
"""

import asyncio
import contextlib
import functools
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
import uvloop

from service.server import http_protocol, silent_connections, startup
from service.server.tls import TlsContext
from service.server_state import ServerState

HELLO = b"POST /hello HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"
UPGRADES = {
    "h2c": b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "tls": b"upgrade: TLS/1.0\r\nConnection: upgrade\r\n",
    "websocket": b"upgrade: websocket\r\nconnection: keep-alive, Upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "anything": b"Connection: close-not, upgrade\r\nConnection: x\r\nUpgrade: anything/2, other\r\n",
}

RELEASED = threading.Event()
"""The path /held responds after this event is set."""


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that returns the request. /slow responds in two parts with a pause between them, /stream does the
    same without a content length, and /held responds after RELEASED is set.
    """
    body, more = b"", scope["path"] != "/unread"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    echoed = {"method": scope["method"], "path": scope["path"], "body": body.decode("latin-1"), "headers": headers}
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    if scope["path"] == "/held":
        await asyncio.to_thread(RELEASED.wait, 60)
    content = json.dumps(echoed).encode()
    length = b"%d" % len(content)
    fields = [] if scope["path"] == "/stream" else [(b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    if scope["path"] in ("/slow", "/stream"):
        await send({"type": "http.response.body", "body": content[:10], "more_body": True})
        await asyncio.sleep(0.05)
        content = content[10:]
    await send({"type": "http.response.body", "body": content})


def start_tasks(server: uvicorn.Server) -> "list[asyncio.Task[None]]":
    """Install the HTTP protocol and start the tasks of a worker, without signal handlers, which need the main
    thread.
    """
    tls = TlsContext.of(server)
    http_protocol.install_http_protocol(server)
    tasks = (
        silent_connections.close_silent_connections(server),
        startup.finish_start(server, ServerState(), shutdown=None, tls=tls),
        *([tls.follow()] if tls else []),
    )
    return [asyncio.create_task(task) for task in tasks]


class RunningServer:
    """A uvicorn server with our protocol in a separate thread. options: passed to uvicorn."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.port = 0
        self.server: Any = None
        self.loop: Any = None
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: uvloop.run(self.serve()), daemon=True)
        self.thread.start()
        assert self.ready.wait(60)

    async def serve(self) -> None:
        self.server = uvicorn.Server(uvicorn.Config(echo, port=0, lifespan="off", log_config=None, **self.options))
        self.server.capture_signals = contextlib.nullcontext
        self.loop = asyncio.get_running_loop()
        running = asyncio.create_task(self.server.serve())
        while not self.server.started:
            await asyncio.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        tasks = start_tasks(self.server)
        self.ready.set()
        await running
        for task in tasks:
            task.cancel()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(60)
        assert not self.thread.is_alive()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 60)

    def responses(
        self, *parts: bytes, pause: float = 0.02, count: int | None = None
    ) -> tuple[list[tuple[int, Any]], bool]:
        """Send bytes in parts. Returns status and document of each response, and whether the server closed the
        connection.

        count: the number of responses to wait for; None: wait until the server closes the connection.
        """
        with self.connect() as connection:
            for number, part in enumerate(parts):
                time.sleep(pause if number else 0)
                connection.sendall(part)
            received, closed = read(
                connection, lambda received: count is not None and len(split_responses(received, whole=False)) >= count
            )
        return split_responses(received), closed


def read(connection: socket.socket, enough: Callable[[bytes], bool] = lambda received: False) -> tuple[bytes, bool]:
    """Receive until the server closes the connection, or until enough bytes have arrived and a pause follows."""
    connection.settimeout(30)
    received = b""
    with contextlib.suppress(TimeoutError):
        while part := connection.recv(1 << 20):
            received += part
            if enough(received):
                connection.settimeout(0.05)
        return received, True
    return received, False


def split_responses(received: bytes, whole: bool = True) -> list[tuple[int, Any]]:
    """Split received bytes into responses. whole: an incomplete response is an error; otherwise it is ignored."""
    found = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        if not end and not whole:
            break
        assert end, head
        assert head.startswith(b"HTTP/1.1 "), head
        length = re.search(rb"(?im)^content-length: (\d+)", head)
        size = int(length[1]) if length else 0
        if len(received) < size and not whole:
            break
        assert len(received) >= size
        found.append((int(head[9:12]), json.loads(received[:size]) if size else None))
        received = received[size:]
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    server = RunningServer()
    yield server
    server.stop()


@pytest.fixture
def stopping() -> Iterator[RunningServer]:
    """A separate server, which the test may stop."""
    server = RunningServer()
    yield server
    server.stop()


def status_path_and_body(response: tuple[int, Any]) -> tuple[int, str, str]:
    status, document = response
    return status, document["path"], document["body"]


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES.keys())
def test_an_upgrade_is_ignored_wherever_its_bytes_are_split(running: RunningServer, upgrade: bytes) -> None:
    first = b"POST /up HTTP/1.1\r\nhost: x\r\n" + upgrade + b"content-length: 40\r\n\r\n"
    body = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n12345"
    assert len(body) == 40
    whole = first + body + HELLO
    for parts in (
        (whole,),
        (first, body, HELLO),
        (first + body, HELLO),
        (whole[:50], whole[50 : len(first) + 10], whole[len(first) + 10 :]),
        (whole[:-60], whole[-60:]),
    ):
        responses, closed = running.responses(*parts, count=2)
        assert [status_path_and_body(response) for response in responses] == [
            (200, "/up", body.decode()),
            (200, "/hello", "hello"),
        ]
        assert not closed
        names = [name for name, _ in responses[0][1]["headers"]]
        assert "upgrade" not in names
        assert names.count("host") == 1
        connection = [value for name, value in responses[0][1]["headers"] if name == "connection"]
        assert "upgrade" not in ",".join(connection).lower()


def test_upgrades_are_ignored_with_chunks_without_a_body_and_with_connection_close(running: RunningServer) -> None:
    send_request = b" HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    chunked = b"PUT /chunks" + send_request + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    bare = b"GET /bare" + send_request + b"\r\n"
    last = b"GET /last HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade, close\r\n\r\n"
    responses, closed = running.responses(chunked + bare + bare + HELLO + last)
    assert [status_path_and_body(response) for response in responses] == [
        (200, "/chunks", "abcde"),
        (200, "/bare", ""),
        (200, "/bare", ""),
        (200, "/hello", "hello"),
        (200, "/last", ""),
    ]
    assert closed
    responses, closed = running.responses(
        b"POST /old HTTP/1.0\r\nconnection: upgrade\r\nupgrade: x\r\ncontent-length: 2\r\n\r\nab"
    )
    assert [status_path_and_body(response) for response in responses] == [(200, "/old", "ab")]
    assert closed


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("keep", [b"", b"connection: keep-alive\r\n"])
def test_a_stream_to_http_1_0_has_no_chunks(running: RunningServer, method: bytes, version: bytes, keep: bytes) -> None:
    with running.connect() as connection:
        connection.sendall(method + b" /stream HTTP/" + version + b"\r\nhost: x\r\n" + keep + b"\r\n")
        end = b"" if version == b"1.0" else b"\r\n\r\n" if method == b"HEAD" else b"0\r\n\r\n"
        received, closed = read(connection, lambda received: bool(end) and received.endswith(end))
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    if version == b"1.0":
        assert closed
        assert b"connection: close" in head
        assert b"transfer-encoding" not in head
        if method == b"GET":
            assert json.loads(body)["path"] == "/stream"
    elif method == b"GET":
        assert b"transfer-encoding: chunked" in head
        assert body.endswith(b"0\r\n\r\n")
    if method == b"HEAD":
        assert not body


@pytest.mark.parametrize("more", [b"", b"SSH-2.0\r\n", HELLO])
def test_connect_is_refused(running: RunningServer, more: bytes) -> None:
    responses, closed = running.responses(b"CONNECT x:22 HTTP/1.1\r\nhost: x:22\r\n\r\n" + more)
    assert closed
    assert [status for status, _ in responses] == [400]
    assert responses[0][1]["detail"] == "CONNECT is not supported"


def test_invalid_http_is_not_logged(running: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    responses, closed = running.responses(b"what is this\r\n\r\n")
    assert [status for status, _ in responses] == [400]
    assert closed
    assert running.responses(b"GET /x HTTP/1.1\r\nhost: x\r\n" + UPGRADES["h2c"] + b"\r\n", count=1)[0][0][0] == 200
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


def test_a_stopping_server_answers_a_request_in_transit(
    stopping: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_later, waits = stopping.loop.call_later, list[Callable[[], Any]]()

    def call_when_released(seconds: float, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if seconds != http_protocol.FIRST_REQUEST_S:
            return call_later(seconds, call, *arguments, **options)
        waits.append(functools.partial(call, *arguments))
        return None

    monkeypatch.setattr(stopping.loop, "call_later", call_when_released)
    with stopping.connect() as late, stopping.connect() as silent, stopping.connect() as upgrade:
        while len(stopping.server.server_state.connections) < 3:
            time.sleep(0.01)
        stopping.server.should_exit = True
        while len(waits) < 3:
            time.sleep(0.01)
        late.sendall(HELLO)
        upgrade.sendall(HELLO.replace(b"host", b"connection: upgrade\r\nupgrade: x\r\nhost"))
        for connection in (late, upgrade):
            received, closed = read(connection)
            assert b"connection: close" in received
            assert [status_path_and_body(response) for response in split_responses(received)] == [
                (200, "/hello", "hello")
            ]
            assert closed
        assert len(waits) == 3
        for wait in waits:
            stopping.loop.call_soon_threadsafe(wait)
        assert read(silent) == (b"", True)


def test_a_request_has_exactly_one_host(running: RunningServer) -> None:
    for version, hosts, status in (
        (b"1.1", b"", 400),
        (b"1.1", b"host: x\r\n", 200),
        (b"1.1", b"host: x\r\nhost: x\r\n", 400),
        (b"1.1", b"Host: x\r\nx-other: 1\r\nHOST: y\r\n", 400),
        (b"1.1", UPGRADES["websocket"], 400),
        (b"1.1", b"host: x\r\nhost: x\r\n" + UPGRADES["h2c"], 400),
        (b"1.0", b"", 200),
        (b"1.0", b"host: x\r\n", 200),
        (b"1.0", b"host: x\r\nhost: y\r\n", 400),
    ):
        request = b"GET /x HTTP/%s\r\n%sconnection: close\r\n\r\n" % (version, hosts)
        responses, closed = running.responses(request)
        assert (statuses(responses), closed) == ([status], True), request
        if status == 400:
            assert responses[0][1]["detail"].startswith("expected one Host header, found ")
    responses, closed = running.responses(SLOW + b"GET /x HTTP/1.1\r\n\r\n" + HELLO)
    assert statuses(responses) == [200, 400]  # the first request is answered, the third request is not read
    assert closed


def statuses(responses: list[tuple[int, Any]]) -> list[int]:
    return [status for status, _ in responses]


@pytest.mark.parametrize("before", [b"", HELLO], ids=["first", "second"])
@pytest.mark.parametrize("size", [70_000, 120_000, 300_000])
def test_a_head_over_the_limit_is_refused_however_its_bytes_are_split(
    running: RunningServer, size: int, before: bytes
) -> None:
    start = b"GET /large HTTP/1.1\r\nhost: x\r\n"
    good = [200] if before else []
    for head in (
        start + b"x: " + b"a" * size + b"\r\n\r\n",
        start + b"x: abcdefgh\r\n" * (size // 13) + b"\r\n",
        start.replace(b"/large", b"/" + b"a" * size) + b"\r\n",
        start + UPGRADES["h2c"] + b"x: " + b"a" * size + b"\r\n\r\n",
    ):
        for parts in ((before, head), (before, head[:40_000], head[40_000:])):
            responses, closed = running.responses(*parts)
            assert statuses(responses) == [*good, 431]
            assert closed
    responses, closed = running.responses(before, start + b"x: " + b"a" * size)  # without the end of the head
    assert statuses(responses) == [*good, 431]


def test_a_body_does_not_count_towards_the_limit_of_a_head(running: RunningServer) -> None:
    large = b"POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n" + b"a" * 300_000
    for parts in ((large,), (large[:200], large[200:]), (large[:-100], large[-100:] + HELLO[:20], HELLO[20:])):
        count = 2 + parts[-1].startswith(HELLO[20:])
        responses, closed = running.responses(*parts, HELLO, count=count)
        assert statuses(responses) == [200] * count
        assert status_path_and_body(responses[-1]) == (200, "/hello", "hello")
        assert not closed
    head = b"POST /near HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\nx: " + b"a" * 60_000 + b"\r\n\r\n"
    whole = (head + b"b" * 100_000) * 3
    for cut in (10, 65_000, 100_000, 170_000, 230_000):
        responses, closed = running.responses(whole[:cut], whole[cut:], HELLO, count=4)
        assert statuses(responses) == [200] * 4
        assert not closed


def test_trailers_are_not_headers(running: RunningServer) -> None:
    chunked = b"POST /chunks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
    responses, _ = running.responses(chunked, b"x-trailer: 1\r\nhost: y\r\n\r\n" + HELLO, count=2)
    assert [status_path_and_body(response) for response in responses] == [
        (200, "/chunks", "abc"),
        (200, "/hello", "hello"),
    ]
    assert [name for name, _ in responses[0][1]["headers"]] == ["host", "transfer-encoding"]
    assert [name for name, _ in responses[1][1]["headers"]] == ["host", "content-length"]


SLOW = HELLO.replace(b"/hello", b"/slow")
CHUNKED = b"POST /chunks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"what is this\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (CHUNKED + b"3\r\nabc\r\nno number\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000, 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    ],
    ids=["garbage", "connect", "chunks", "endless", "large"],
)
@pytest.mark.parametrize("good", [1, 2])
def test_responses_in_flight_are_sent_before_a_refusal(
    running: RunningServer, bad: bytes, status: int, good: int
) -> None:
    for parts, pause in (
        ((SLOW * good + bad + HELLO,), 0.0),
        ((SLOW * good, bad + HELLO), 0.02),  # before the response has begun
        ((SLOW * good, bad, HELLO), 0.07),  # in the middle of the response
    ):
        responses, closed = running.responses(*parts, pause=pause)
        assert [status_path_and_body(response) for response in responses[:-1]] == [(200, "/slow", "hello")] * good
        assert responses[-1][0] == status
        assert closed


def test_an_invalid_body_is_refused_before_its_response_has_begun(running: RunningServer) -> None:
    bad = b"3\r\nabc\r\nno number\r\n" + HELLO
    assert statuses(running.responses(CHUNKED, bad)[0]) == [400]
    assert statuses(running.responses(HELLO + CHUNKED, bad)[0]) == [200, 400]
    responses, closed = running.responses(CHUNKED.replace(b"/chunks", b"/unread"), bad)
    assert statuses(responses) == [200]  # there is no second response
    assert closed


class ManualClockServer(RunningServer):
    """A server whose clock the test advances, with a keep-alive timeout of one second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.received = 0
        data_received = http_protocol.GuardedHttpProtocol.data_received

        def count_received(protocol: Any, data: bytes) -> None:
            data_received(protocol, data)
            self.received += len(data)

        monkeypatch.setattr(http_protocol.GuardedHttpProtocol, "data_received", count_received)
        monkeypatch.setattr(silent_connections, "CHECK_INTERVAL_S", 0.01)
        super().__init__(timeout_keep_alive=1)
        self.now = 0.0
        monkeypatch.setattr(self.loop, "time", lambda: self.now)

    def responses_in_time(self, *parts: bytes) -> list[tuple[int, Any]]:
        """Send parts of requests, then advance the clock until the server closes the connection. Returns the
        responses.
        """
        self.received = 0
        with self.connect() as connection:
            for number, part in enumerate(parts, 1):
                connection.sendall(part)
                while self.received < sum(map(len, parts[:number])):
                    time.sleep(0.001)
            RELEASED.set()
            connection.settimeout(0.02)
            received, until = b"", time.monotonic() + 60
            while time.monotonic() < until:
                with contextlib.suppress(TimeoutError):
                    if not (part := connection.recv(1 << 20)):
                        return split_responses(received)
                    received += part
                self.now += silent_connections.HEAD_S
        raise AssertionError("the server did not close the connection")


def test_a_slow_head_gets_a_408_and_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    manual_clock_server = ManualClockServer(monkeypatch)
    head = b"POST /hello HTTP/1.1\r\nhost:"
    for part, expected in ((b"", []), (b"\r\n", []), (b"G", [408]), (head, [408]), (HELLO + head, [200, 408])):
        responses = manual_clock_server.responses_in_time(part)
        assert statuses(responses) == expected
    assert responses[-1][1]["detail"] == "the request head was not received in time"
    RELEASED.clear()
    held = HELLO.replace(b"/hello", b"/held")
    # The second head is still incomplete after the first response
    responses = manual_clock_server.responses_in_time(held, head)
    assert statuses(responses) == [200, 408]
    manual_clock_server.stop()


def test_a_head_may_take_almost_as_long_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    manual_clock_server = ManualClockServer(monkeypatch)
    with manual_clock_server.connect() as connection:
        connection.sendall(HELLO[:30])
        while manual_clock_server.received < 30:
            time.sleep(0.001)
        manual_clock_server.now += silent_connections.HEAD_S - 1
        time.sleep(0.1)  # time for some checks
        connection.sendall(HELLO[30:])
        received, _ = read(connection, lambda received: received.endswith(b"}"))
    assert statuses(split_responses(received)) == [200]
    manual_clock_server.stop()


def test_head_and_body_of_a_response_are_sent_together() -> None:
    """Head and body are sent by one call, so that a killed worker has sent both or neither. An interim response is sent
    first.
    """
    written: list[bytes] = []

    class RecordingTransport:
        write = staticmethod(written.append)

        def is_closing(self) -> bool:
            return False

        def close(self) -> None:
            written.append(b"closed")

    def writes_of(*parts: bytes) -> list[bytes]:
        written.clear()
        together = http_protocol.CoalescingTransport(RecordingTransport())  # type: ignore[arg-type]
        for part in parts:
            together.write(part)
        together.close()
        return list(written)

    head, interim = b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"
    assert writes_of(head, b"body") == [head + b"body", b"closed"]
    assert writes_of(interim, head, b"") == [interim, head, b"closed"]
    assert writes_of(head, b"a", b"b", b"") == [head + b"a", b"b", b"", b"closed"]
    assert writes_of(head) == [b"closed"]
