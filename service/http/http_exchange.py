"""The exchange of an HTTP request: reads its body and sends its response or error."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from service import tracing
from service.data_plane import PredictionContext
from service.errors import PROBLEM, BodyTooSlow, RequestError
from service.exchange import Exchange, ServerContext
from service.http.asgi_types import Header, Receive, Scope, Send
from service.http.negotiation import JSON
from service.http.request_body import RequestBody
from service.served_model import ServedModel

CLOSE: Header = (b"connection", b"close")
LINGER_S = 5.0  # the time for reading the rest of a refused body, so that the client can read the response


class Response(NamedTuple):
    """A complete HTTP response."""

    body: bytes = b""
    content_type: bytes = JSON
    status: int = 200
    headers: Sequence[Header] = ()


def version_header(served: ServedModel) -> Header:
    """The header with the version that answered, for bodies that cannot contain it."""
    return b"x-model-version", served.version.encode()


def problem_response(error: RequestError) -> Response:
    """The problem document of the native API."""
    return Response(error.document(), PROBLEM, error.status, error.headers)


class HttpExchange(Exchange):
    """An exchange over HTTP. `begun`: whether a route that sends its own response has started to send."""

    begun = False
    had_turn = False  # whether the request had its client's turn before it was passed to the application
    unwrapped_send: Send | None = None  # set if `send` adds headers
    sending = 0.0  # seconds until the client has received enough of this response and the previous responses

    def __init__(self, context: ServerContext, scope: Scope, receive: Receive, send: Send, protocol: str) -> None:
        # as in `Exchange.__init__`, without the cost of the call
        headers: dict[bytes, bytes] = scope.get("fields") or dict(
            scope["headers"]
        )  # set by service.server.http_protocol
        self.context = context
        self.headers = headers
        self.started = scope.get("arrived") or time.monotonic()
        self.protocol = protocol
        admitted = scope.get("admitted")  # set by service.server.http_protocol
        self.request_id = admitted.request_id if admitted is not None else context.request_id(headers)
        if b"traceparent" in headers:
            self.trace = tracing.read(headers)
        self.scope = scope
        self.send = send
        if admitted is not None:
            self.admitted, self.caller, self.had_turn = True, admitted.caller, admitted.had_turn
        settings = context.settings
        self.body = RequestBody(receive, settings.max_body_bytes, settings.timeout_s, context.plane.memory)

    @property
    def method(self) -> str:
        method: str = self.scope["method"]
        return method

    @property
    def path(self) -> str:
        path: str = self.scope["path"]
        return path

    @property
    def client_seconds(self) -> float:
        return self.body.waited + self.sending

    @property
    def query(self) -> bytes:
        query: bytes = self.scope["query_string"]
        return query

    @property
    def receive(self) -> Receive:
        """The ASGI `receive`. Do not use it together with `body`."""
        return self.body.receive

    async def read(self) -> bytes:
        """The whole body. Raises RequestError."""
        return await self.body.read(self.headers, self.context.plane)

    @property
    def prediction_context(self) -> PredictionContext:
        return PredictionContext(
            self.deadline, self.id_text, self.body.disconnected, self.count_rows, client=self.caller.name
        )

    @property
    def client(self) -> str:
        address = self.scope.get("client")
        return address[0] if address else ""

    @property
    def common_headers(self) -> list[Header]:
        """The headers of every response."""
        headers = [(b"x-request-id", self.request_id)]
        if self.trace:
            headers += self.trace.headers
        if self.context.state.draining:
            headers.append(CLOSE)
        return headers

    async def respond(self, response: Response) -> None:
        body, content_type, status, more = response
        headers: list[Header] = []
        if status != 204:
            headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
        headers.append((b"x-request-id", self.request_id))
        headers += more
        if self.trace:
            headers += self.trace.headers
        if self.context.state.draining:
            headers.append(CLOSE)
        await self._send_whole(status, headers, body)

    async def _send_whole(self, status: int, headers: list[Header], body: bytes) -> None:
        started = time.monotonic()
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
        self.sending = time.monotonic() - started

    async def respond_json(self, body: bytes) -> None:
        """Send a JSON response with status 200. This common case needs no `Response` object."""
        self.begun = True
        headers = [
            (b"content-type", JSON),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.request_id),
        ]
        if self.trace:
            headers += self.trace.headers
        if self.context.state.draining:
            headers.append(CLOSE)
        await self._send_whole(200, headers, body)

    def abort(self) -> None:
        """End the connection during the response, so that the client notices the incomplete response."""
        if abort := self.scope.get("abort"):  # set by service.server.http_protocol
            abort(self.unwrapped_send or self.send)

    async def respond_error(self, response: Response, error: RequestError) -> None:
        """Send an error response. Continues to read an incomplete body, because a reset would discard the response.

        A client that waits for `100 Continue` receives the error instead.
        """
        slow = isinstance(error, BodyTooSlow)
        waits = not self.body.requested and self.headers.get(b"expect", b"").lower() == b"100-continue"
        if not waits and (await self.body.finish(0.02) or slow):
            more = [*response.headers, CLOSE] if slow else response.headers
            await self.respond(response._replace(headers=more))
            return
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
            (b"x-request-id", self.request_id),
            CLOSE,
            *response.headers,
            *(self.trace.headers if self.trace else ()),
        ]
        await self.send({"type": "http.response.start", "status": response.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": response.body, "more_body": True})
        await self.body.finish(LINGER_S)
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})
