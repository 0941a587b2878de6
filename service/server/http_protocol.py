"""uvicorn's HTTP protocol, plus limits for request heads, problem documents for invalid HTTP, and fewer system
calls."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from models.library_hook import require
from service.errors import PROBLEM, HeadTooLarge, HeadTooSlow, InvalidHttp, RequestError
from service.http.direct_responses import DirectExchange, DirectHead, DirectResponses
from service.server.close_delimited import delimit_by_close
from service.server.graceful_shutdown import FINISH_S
from service.server.library_hooks import uvicorn_hooks

FIRST_REQUEST_S = 0.5  # time for a new connection to send a request while the server stops
LAST_READ_S = 0.1  # time in which a busy event loop reads the bytes that have arrived, before a connection is closed
MAX_HEAD_BYTES = 65_536
LINGER_S = 1.0  # how long to read the connection after an error response, so that the client can read it
REFUSAL = b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\nx-request-id: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
CONTINUE = b"HTTP/1.1 100 "
TRAILERS: Any = deque(maxlen=0)  # headers that follow a body are dropped
FORWARDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto"))
UPGRADE = frozenset((b"upgrade", b"http2-settings"))
log = logging.getLogger("tabserve.server")


def install_http_protocol(server: uvicorn.Server) -> None:
    """Use GuardedHttpProtocol for all later connections of a server."""
    server.config.http_protocol_class = GuardedHttpProtocol
    server.config.timeout_graceful_shutdown = int(FINISH_S)
    logging.getLogger("uvicorn.access").propagate = False  # otherwise uvicorn formats a log line for every request


def protocol_of(server: uvicorn.Server) -> "Callable[[], GuardedHttpProtocol]":
    """A function that creates the protocol of a new connection, as uvicorn does."""
    return lambda: GuardedHttpProtocol(
        config=server.config, server_state=server.server_state, app_state=server.lifespan.state
    )


def check_http_protocol(server: uvicorn.Server) -> None:
    """Raises LibraryHookMissing if uvicorn has replaced the protocol that `install_http_protocol` set."""
    found = server.config.http_protocol_class
    if found is not GuardedHttpProtocol:
        require(uvicorn_hooks.PROTOCOL_CLASS, f"the protocol of a started server is {found!r}")
    if server.config.timeout_graceful_shutdown != int(FINISH_S):
        require(uvicorn_hooks.GRACEFUL_TIMEOUT, "a started server has another timeout")
    protocol = protocol_of(server)()
    if protocol.connections is not server.server_state.connections:
        require(uvicorn_hooks.CONNECTIONS, "a protocol adds itself to another set of connections")


class CoalescingTransport:
    """The transport of one response. It sends head and body in one system call instead of uvicorn's two.

    That costs less, and a killed worker has sent a response with one body part either completely or not at all.
    """

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
        """Close the connection. A head without a body is not sent."""
        self._transport.close()


class GuardedHttpProtocol(HttpToolsProtocol):
    """Limits request heads, sends problem documents for invalid HTTP, and ignores all upgrades."""

    _head_bytes = 0  # bytes received for an incomplete head, including `_before_head`
    _before_head = 0  # bytes of the read in which the head starts; they may include the end of the previous request
    _stopping = False
    _refused = False
    _refusal = b""
    _read = b""  # the data that is being parsed, if a request begins with it
    _head: DirectHead | None = None  # head of the request whose body is being received, if it may be answered directly
    _body = b""  # the received part of this body
    _tried = False  # whether a direct response was tried without success, so that this request is parsed
    _admitted: DirectExchange | None = None  # the exchange of this request, if it was admitted
    _answered = False  # whether a request of this read was answered directly
    _answered_at = 0.0  # the time of the last direct response, from `time.monotonic`

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # uvicorn's middleware for proxy headers costs 1 % of a request, so it is used only if there are such headers
        self._proxy_app = self.app
        self._inner_app = self.app.app if isinstance(self.app, ProxyHeadersMiddleware) else self.app
        self._direct: DirectResponses | None = getattr(self._inner_app, "direct", None)

    def data_received(self, data: bytes) -> None:
        direct = self._direct
        if self.scope is None and direct is not None:  # no request is being received or answered
            found = direct.split(data)
            if found is not None and not (self._stopping or self._refused or self.flow.write_paused):
                # A request with a known head is answered without parsing it
                arrived, client, state = time.monotonic(), self.client, self.server_state
                result = direct.answer(*found, arrived, client[0] if client else "", state.default_headers)
                if isinstance(result, bytes):
                    self._send_directly(result, arrived)
                    return
                self._tried, self._admitted = True, result
        if not self._refused:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        if self.scope is None:
            self._read = data
        before = self.cycle
        self._answered = False
        in_body = before is not None and before.more_body and before.scope is self.scope
        self._head_bytes += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrade(memoryview(data)[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            log.debug("invalid HTTP", extra={"reason": str(error)})
            self._refuse_invalid()
        self._read = b""
        if self._head is not None:  # the rest of the body has not arrived yet
            self._pass_to_application()
        cycle = self.cycle
        if self.scope is None or (cycle is not None and cycle.scope is self.scope):  # no head is incomplete
            self._head_bytes = self._before_head = 0
            return
        self._unset_keepalive_if_required()
        if in_body or self._answered or cycle is not before:
            self._head_bytes = self._before_head = len(data)
        elif self._head_bytes - self._before_head > MAX_HEAD_BYTES:
            self._refuse_large_head()

    def _ignore_upgrade(self, rest: memoryview) -> None:
        """Parse a request with an upgrade as a request without it.

        The parser stops after the head and expects another protocol. A new parser reads the head without the upgrade,
        then the rest. Its head is not stored, because `_tried` refers to a single head.
        """
        self._read = b""
        while True:
            if self.scope["method"] == "CONNECT":
                self._refuse(InvalidHttp("CONNECT is not supported"))
                return
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(head)
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:  # the data belongs to the next request
                rest = rest[upgrade.args[0] :]
            else:
                return

    def on_headers_complete(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES:
            self._refuse_large_head()
            raise ValueError("head too large")  # ends the parser
        fields = dict(self.headers)
        if b"host" not in fields or len(fields) != len(self.headers):
            self._check_host()
        # HttpExchange reads these fields
        self.scope["fields"] = fields  # type: ignore[typeddict-unknown-key]
        self.scope["arrived"] = time.monotonic()  # type: ignore[typeddict-unknown-key]
        self.app = self._inner_app if FORWARDED.isdisjoint(fields) else self._proxy_app
        if self._tried:
            self.scope["admitted"] = self._admitted  # type: ignore[typeddict-unknown-key]
            self._tried, self._admitted = False, None
        elif (
            self._direct is not None
            and len(fields) == len(self.headers)
            and (self.cycle is None or self.cycle.response_complete)
            and not (self._stopping or self._refused or self.flow.write_paused)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
        ):
            self._head = self._direct.head(self.url, fields)
            if self._head is not None:
                return
        self._start_exchange()

    def _start_exchange(self) -> None:
        """Pass the request, whose head is complete, to the application."""
        self._unset_keepalive_if_required()
        super().on_headers_complete()
        self.headers = TRAILERS
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope and cycle.scope["method"] != "HEAD":
            cycle.transport = CoalescingTransport(self.transport)  # type: ignore[assignment]  # has the attributes that a cycle uses
            self.scope["abort"] = self._abort  # type: ignore[typeddict-unknown-key]
            if self.scope["http_version"] == "1.0":
                delimit_by_close(cycle)
        if self._stopping and not self._in_head():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._head is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        head, direct = self._head, self._direct
        if head is None:
            super().on_message_complete()
            return
        assert direct
        scope: Any = self.scope
        client, arrived = self.client, scope["arrived"]
        result = direct.answer(
            head, self._body, arrived, client[0] if client else "", self.server_state.default_headers
        )
        if isinstance(result, bytes):
            self._head, self._body, self._answered = None, b"", True
            self._send_directly(result, arrived)
            if self._read:
                direct.keep(self._read, head)
        else:
            scope["admitted"] = result
            self._pass_to_application()
            super().on_message_complete()

    def _send_directly(self, response: bytes, arrived: float) -> None:
        """Send a response as uvicorn does, but in one system call and with one timer for many requests."""
        self._answered_at = arrived
        self.scope = None  # type: ignore[assignment]  # as before the first request: no head is incomplete
        self.server_state.total_requests += 1
        self.transport.write(response)
        if self.timeout_keep_alive_task is None:
            self._arm_keep_alive(self.timeout_keep_alive)

    def _arm_keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _pass_to_application(self) -> None:
        """Pass the request to the application, with the received part of its body."""
        body, self._head, self._body = self._body, None, b""
        self._start_exchange()
        if body:
            super().on_body(body)

    def _check_host(self) -> None:
        """Refuse a request without exactly one Host header. Raises ValueError, which ends the parser."""
        hosts = [name for name, _value in self.headers].count(b"host")
        if hosts != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            self._refuse(InvalidHttp(f"expected one Host header, found {hosts or 'none'}"))
            raise ValueError("Host header")

    def _abort(self, send: Any) -> None:
        """End the connection during a response, so that the client notices that the response is incomplete.

        send: the `send` of the request, a method of the cycle; a scope that referred to its cycle would be freed
        only by the garbage collector, which costs 10 % of a request.

        In HTTP/1.1, the last chunk is then missing. Without chunks, only a reset differs from the end of the response.
        """
        cycle: RequestResponseCycle = send.__self__
        cycle.disconnected = True  # uvicorn then accepts an incomplete response
        cycle.message_event.set()
        if cycle.chunked_encoding:
            self.transport.close()
        else:
            self.transport.abort()

    def _in_head(self) -> bool:
        """Whether a head has started and is not complete."""
        cycle = self.cycle  # the last request with a complete head
        return self.scope is not None and (cycle is None or cycle.scope is not self.scope)

    def _in_body(self) -> bool:
        """Whether the body of the last request may be incomplete."""
        cycle = self.cycle
        return cycle is not None and cycle.more_body and cycle.scope is self.scope

    def _head_size(self) -> int:
        fields = sum(len(name) + len(value) + 4 for name, value in self.headers)
        return len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n\r\n") + fields

    def shutdown(self) -> None:
        """Shut down. A connection without a request stays open briefly: its first request may be on its way."""
        if self.cycle is None and not (self._stopping or self._answered_at):
            self._stopping = True
            self.loop.call_later(FIRST_REQUEST_S, self.loop.call_later, LAST_READ_S, super().shutdown)
        else:
            super().shutdown()

    def _should_upgrade(self) -> bool:
        """True, so that uvicorn only records the head. uvicorn calls this only for heads that request an upgrade."""
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
        """Close a connection without a complete head after a last read: its request may have arrived unread."""
        head_begun = self._in_head()
        if self.timeout_keep_alive_task is not None:
            rest = self._answered_at + self.timeout_keep_alive - time.monotonic()
            if rest > 0:  # direct responses do not restart the timer
                self._arm_keep_alive(rest)
                return
            self.timeout_keep_alive_task = None
        self.loop.call_later(LAST_READ_S, self._close_unless_read, self.cycle, self._answered_at, head_begun)

    def _close_unless_read(self, cycle: RequestResponseCycle | None, answered_at: float, head_begun: bool) -> None:
        """Close the connection if no request was read meanwhile; if its head had begun before, send an error first."""
        if self.cycle is cycle and self._answered_at == answered_at:
            if not self._in_head():
                super().timeout_keep_alive_handler()
            elif head_begun:
                self._refuse(HeadTooSlow())

    def _refuse_large_head(self) -> None:
        self._refuse(HeadTooLarge(MAX_HEAD_BYTES))

    def _refuse(self, error: RequestError) -> None:
        """Send an error after the responses in flight, then close the connection. Later data is dropped."""
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
        elif self.pipeline:  # the last request is invalid and has not started
            self.pipeline.popleft()
        elif cycle.response_started:  # the response to the invalid request has started
            self.transport.close()
        else:
            cycle.disconnected = True  # notifies the application, and drops its response
            cycle.message_event.set()
            self._send_refusal()

    def _send_refusal(self) -> None:
        self.transport.write(self._refusal)
        if self.transport.can_write_eof():  # not with TLS, where the Content-Length ends the response
            self.transport.write_eof()
        # reading continues until then, because a reset would discard the response
        self.loop.call_later(LINGER_S, self.transport.close)

    def on_response_complete(self) -> None:
        if self._refused and not self.pipeline and not self.transport.is_closing():
            self._send_refusal()
        if self.pipeline:  # the next request begins now, because its client sent it before this response
            self.pipeline[-1][0].scope["arrived"] = time.monotonic()  # type: ignore[typeddict-unknown-key]
        super().on_response_complete()
