"""Answers small, common requests within the call that receives their last byte: without a scope, a task and ASGI.

Such a request costs about half as much as one that passes through the application. The guarantees of the application
hold here, too: readiness, access, request ids, metrics, logs and the request observer. Everything unusual is left to
the application.
"""

from collections.abc import Mapping

from service.data_plane import DataPlane
from service.errors import RequestError
from service.exchange import Exchange, ServerContext
from service.http.negotiation import JSON
from service.routes.route import Route
from service.routes.router import Router

MAX_BYTES = 4096
"""The largest body. Its response is so small that it is never compressed."""
KNOWN_HEADERS = frozenset(
    b"host accept accept-encoding authorization connection content-length content-type user-agent"
    b" x-api-key x-request-id".split()
)
"""Only requests that have no other headers are answered directly."""
ACCEPTED = (None, b"*/*", JSON)
KEEP_ALIVE = (None, b"keep-alive", b"Keep-Alive")
FIELDS = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b\r\n%b"
Fields = Mapping[bytes, bytes]


class DirectExchange(Exchange):
    """The exchange of a request that is answered directly."""

    method = "POST"
    client = ""

    def __init__(
        self, context: ServerContext, fields: Fields, arrived: float, client: str, route: Route, path: bytes
    ) -> None:
        # As `Exchange.__init__`, without the cost of the call
        self.context = context
        self.headers = fields
        self.started = arrived
        self.protocol = route.protocol
        self.served = route.served
        self.request_id = context.request_id(fields)
        self.client = client
        self._path = path

    @property
    def path(self) -> str:
        return self._path.decode("latin-1")


class DirectAnswers:
    """Decides by the head of a request whether it is answered directly, and answers it."""

    def __init__(self, context: ServerContext, router: Router) -> None:
        self._context = context
        self._state = context.state
        self._plane: DataPlane = context.plane
        self._most_bytes = min(MAX_BYTES, context.settings.max_body_bytes)
        self.router = router

    def route(self, url: bytes, fields: Fields) -> Route | None:
        """The route of a POST request that can be answered directly; None for all others.

        fields: the headers, each of which occurs once.
        """
        route = self.router.direct.get(url)
        if (
            route is None
            or not KNOWN_HEADERS.issuperset(fields)
            or fields.get(b"content-type") != JSON
            or fields.get(b"accept") not in ACCEPTED
            or fields.get(b"connection") not in KEEP_ALIVE
            or self.router.snapshot is not self._plane.registry.snapshot
            or not self._state.passes_probes  # not ready, or draining
            or self._context.exports_traces
        ):
            return None
        length = fields.get(b"content-length", b"")
        return route if 0 < len(length) < 6 and int(length) <= self._most_bytes else None

    def answer(
        self, route: Route, path: bytes, fields: Fields, body: bytes, arrived: float, client: str
    ) -> bytes | DirectExchange | None:
        """The response, starting with its own headers. Instead of a response that is not possible directly: the
        admitted exchange, or None if it was not admitted.

        arrived: on the clock of time.monotonic.
        """
        exchange = DirectExchange(self._context, fields, arrived, client, route, path)
        try:
            self._context.access.check(exchange, route.access, route.model_name)
        except RequestError:
            self._context.forget_id(exchange.request_id)
            return None  # the application checks again and responds
        turns = self._context.turns
        if turns is not None and turns.is_needed(exchange.caller.name, arrived):
            return exchange  # it waits for its turn there
        try:
            answered = route.answer(body, exchange.request_id)
        except Exception:  # the application raises the error again and reports it
            return exchange
        if answered is None:
            return exchange
        content, exchange.rows = answered
        exchange.record(200)
        return FIELDS % (len(content), exchange.request_id, route.direct_headers, content)
