"""uvicorn's HTTP protocol with limits for heads, problem documents for invalid HTTP, one system call per response."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from models.hook import require
from service.errors import PROBLEM, HeadTooLarge, HeadTooSlow, InvalidHttp, RequestError
from service.server.graceful_shutdown import FINISH_S
from service.server.library_hooks import uvicorn_hooks

FIRST_REQUEST_S = 0.5  # for a new connection to send one when the server stops
HEAD_BYTES = 65_536
LINGER_S = 1.0  # how long the connection is read after a refusal, so that its sender can read it
REFUSAL = b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\nx-request-id: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
CONTINUE = b"HTTP/1.1 100 "
TRAILERS: Any = deque(maxlen=0)  # takes the headers that follow a body, and keeps none
UPGRADE = frozenset((b"upgrade", b"http2-settings"))
log = logging.getLogger("tabserve.server")


def install_http_protocol(server: uvicorn.Server) -> None:
    """Let a server speak HTTP by GuardedHttpProtocol on every connection that is opened from now on."""
    server.config.http_protocol_class = GuardedHttpProtocol
    server.config.timeout_graceful_shutdown = int(FINISH_S)
    logging.getLogger("uvicorn.access").propagate = False  # uvicorn formats a line for each request if it may be read


def protocol_of(server: uvicorn.Server) -> "Callable[[], GuardedHttpProtocol]":
    """Makes the protocol of a new connection, as uvicorn does."""
    return lambda: GuardedHttpProtocol(
        config=server.config, server_state=server.server_state, app_state=server.lifespan.state
    )


def check_http_protocol(server: uvicorn.Server) -> None:
    """Raises HookMissing where uvicorn has replaced what `install_http_protocol` has set."""
    found = server.config.http_protocol_class
    if found is not GuardedHttpProtocol:
        require(uvicorn_hooks.PROTOCOL_CLASS, f"the protocol of a started server is {found!r}")
    if server.config.timeout_graceful_shutdown != int(FINISH_S):
        require(uvicorn_hooks.GRACEFUL_TIMEOUT, "it is not kept when the server has started")
    made = protocol_of(server)()
    if made.connections is not server.server_state.connections:
        require(uvicorn_hooks.CONNECTIONS, "a protocol adds itself elsewhere")


class CoalescingTransport:
    """The transport of one response: sends head and body by one system call, where uvicorn makes two. That costs less,
    and a worker that is killed has sent all or nothing of a response in one part."""

    __slots__ = ("_head", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        head = self._head
        if head is None and not data.startswith(CONTINUE):
            self._head = data
        elif head:
            self._head = b""
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """A head whose body never came is not sent."""
        self._transport.close()


class GuardedHttpProtocol(HttpToolsProtocol):
    """Limits heads, answers invalid HTTP by problem documents, ignores every upgrade."""

    _head_bytes = 0  # received for a head that is not complete, together with
    _before_head = 0  # what came in one read with its begin: some of these may belong to the request before
    _stopping = False
    _refused = False
    _refusal = b""

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        before = self.cycle
        in_body = before is not None and before.more_body and before.scope is self.scope
        self._head_bytes += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrade(memoryview(data)[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            log.debug("not valid HTTP", extra={"reason": str(error)})
            self._refuse_invalid()
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope:  # not in a head
            self._head_bytes = self._before_head = 0
        elif in_body or cycle is not before:
            self._head_bytes = self._before_head = len(data)
        elif self._head_bytes - self._before_head > HEAD_BYTES:
            self._refuse_large_head()

    def _ignore_upgrade(self, rest: memoryview) -> None:
        """The parser stops behind the head of a request with an upgrade, and treats the rest as another
        protocol. So a new parser reads that head again, without the upgrade, and then the rest."""
        while True:
            if self.scope["method"] == "CONNECT":
                self._refuse(InvalidHttp("CONNECT is not possible here"))
                return
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(head)
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:  # of a request behind it
                rest = rest[upgrade.args[0] :]
            else:
                return

    def on_headers_complete(self) -> None:
        if self._head_bytes > HEAD_BYTES and self._head_size() > HEAD_BYTES:
            self._refuse_large_head()
            raise ValueError("head too large")  # ends the parser
        self.scope["arrived"] = time.monotonic()  # type: ignore[typeddict-unknown-key]  # for the app
        super().on_headers_complete()
        self.headers = TRAILERS
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope and cycle.scope["method"] != "HEAD":
            cycle.transport = CoalescingTransport(self.transport)  # type: ignore[assignment]  # has all that a cycle uses
        if self._stopping and not self._in_head():
            self.cycle.keep_alive = False

    def _in_head(self) -> bool:
        """Whether a head has begun and is not complete."""
        cycle = self.cycle  # of the last request with a complete head
        return self.scope is not None and (cycle is None or cycle.scope is not self.scope)

    def _in_body(self) -> bool:
        """Whether the body of the last request may not be complete."""
        cycle = self.cycle
        return cycle is not None and cycle.more_body and cycle.scope is self.scope

    def _head_size(self) -> int:
        fields = sum(len(name) + len(value) + 4 for name, value in self.headers)
        return len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n\r\n") + fields

    def shutdown(self) -> None:
        """Wait for a moment where no request has come yet: one may be on its way, or received and not read."""
        if self.cycle is None and not self._stopping:
            self._stopping = True
            self.loop.call_later(FIRST_REQUEST_S, super().shutdown)
        else:
            super().shutdown()

    def _should_upgrade(self) -> bool:
        """Called only where a head requests an upgrade: uvicorn's callbacks then only record the head."""
        return True

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.scope["method"].encode(), self.url, version)]
        for name, value in self.scope["headers"]:
            if name == b"connection":
                value = b", ".join(token for token in value.split(b",") if token.strip().lower() not in UPGRADE)
            if name not in UPGRADE:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join([*lines, b"\r\n"])

    def _refuse_invalid(self) -> None:
        self._refuse(InvalidHttp("the request is not valid HTTP"))

    def timeout_keep_alive_handler(self) -> None:
        """Close, as no head has come in time; where a part of one has, refuse it first."""
        if self._in_head():
            self._refuse(HeadTooSlow())
        else:
            super().timeout_keep_alive_handler()

    def _refuse_large_head(self) -> None:
        self._refuse(HeadTooLarge(HEAD_BYTES))

    def _refuse(self, error: RequestError) -> None:
        """Answer behind the responses in flight, and close. What is received later is dropped."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        document = error.document()
        request_id = os.urandom(8).hex().encode()
        self._refusal = REFUSAL % (error.status, error.title.encode(), PROBLEM, request_id, len(document), document)
        cycle = self.cycle
        if not self._in_body():
            if cycle is None or cycle.response_complete:
                self._send_refusal()
        elif self.pipeline:  # the last request is broken, and has not started
            self.pipeline.popleft()
        elif cycle.response_started:  # no second response can be sent
            self.transport.close()
        else:
            cycle.disconnected = True  # the app is informed, and its response dropped
            cycle.message_event.set()
            self._send_refusal()

    def _send_refusal(self) -> None:
        self.transport.write(self._refusal)
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)  # to read on: a reset would swallow the answer

    def on_response_complete(self) -> None:
        if self._refused and not self.pipeline and not self.transport.is_closing():
            self._send_refusal()
        super().on_response_complete()
