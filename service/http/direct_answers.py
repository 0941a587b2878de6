"""Answers small, common requests within the call that receives their last byte: without a scope, a task and ASGI.

Such a request costs about half of one that passes the application. The guarantees of the application hold here, too:
readiness, access, request ids, metrics, logs and the request observer. Everything unusual is left to the application.
The head of a request that was answered is kept: a request with an equal head is not parsed.
"""

from collections.abc import Mapping
from typing import NamedTuple

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
LINE_END, HEAD_END = b"\r\n", b"\r\n\r\n"
MAX_HEADS, MAX_HEAD_BYTES = 512, 1024  # that are kept
Fields = Mapping[bytes, bytes]


class DirectHead(NamedTuple):
    """The head of a request that may be answered directly. length: of the body."""

    route: Route
    path: bytes
    fields: Fields
    length: int


class DirectExchange(Exchange):
    """The exchange of a request that is answered directly."""

    method = "POST"
    client = ""
    had_turn = False  # whether it was admitted as a turn of its client

    def __init__(self, context: ServerContext, head: DirectHead, arrived: float, client: str) -> None:
        # Like `Exchange.__init__`, without the cost of the call
        route, self._path, fields, _ = head
        self.context = context
        self.headers = fields
        self.started = arrived
        self.protocol = route.protocol
        self.served = route.served  # None if versions share the requests, until one is chosen
        self.request_id = context.request_id(fields)
        self.client = client

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
        self.use(router)

    def use(self, router: Router) -> None:
        """Answer with the routes of this router from now on."""
        self.router = router
        self._heads: dict[bytes, DirectHead] = {}

    @property
    def _may_answer(self) -> bool:
        """False while the server is not ready or drains, or if requests are traced."""
        return (
            self.router.snapshot is self._plane.registry.snapshot
            and self._state.passes_probes
            and not self._context.exports_traces
        )

    def head(self, path: bytes, fields: Fields) -> DirectHead | None:
        """The head of a POST request that can be answered directly; None for all others.

        fields: the headers, each of which occurs once.
        """
        route = self.router.direct.get(path)
        if (
            route is None
            or not KNOWN_HEADERS.issuperset(fields)
            or fields.get(b"content-type") != JSON
            or fields.get(b"accept") not in ACCEPTED
            or fields.get(b"connection") not in KEEP_ALIVE
            or not self._may_answer
        ):
            return None
        length = fields.get(b"content-length", b"")
        if not 0 < len(length) < 6 or int(length) > self._most_bytes:
            return None
        return DirectHead(route, path, fields, int(length))

    def split(self, data: bytes) -> tuple[DirectHead, bytes] | None:
        """The head and the body of a single request that begins as one that was kept; None for all other reads."""
        end = data.find(HEAD_END, 0, MAX_HEAD_BYTES) + len(HEAD_END)
        head = self._heads.get(data[:end])
        if head is None or len(data) - end != head.length or not self._may_answer:
            return None
        return head, data[end:]

    def keep(self, data: bytes, head: DirectHead) -> None:
        """Keep the head of a request that was parsed and answered directly, if the read has nothing but this request.

        data: a read that begins with a request. Heads with an id are not kept: every request has another one.
        """
        content, end, body = data.partition(HEAD_END)
        lines = content.replace(LINE_END, b"")
        if (
            len(body) == head.length
            and len(content) < MAX_HEAD_BYTES - len(end)
            and b"\r" not in lines  # then nothing but HEAD_END ends a head, however a parser reads it
            and b"\n" not in lines
            and b"x-request-id" not in head.fields
        ):
            if len(self._heads) == MAX_HEADS:
                self._heads.clear()
            self._heads[content + end] = head

    def answer(self, head: DirectHead, body: bytes, arrived: float, client: str) -> bytes | DirectExchange | None:
        """The response, starting with its own headers. Instead of a response that is not possible directly: the
        admitted exchange, or None if it was not admitted.

        arrived: on the clock of time.monotonic.
        """
        route = head.route
        exchange = DirectExchange(self._context, head, arrived, client)
        try:
            self._context.access.check(exchange, route.access, route.model_name)
        except RequestError:
            self._context.forget_id(exchange.request_id)
            return None  # the application checks again and responds
        turns = self._context.turns
        if turns is not None:
            if not turns.admits(exchange.caller.name, len(body), arrived):
                return exchange  # it waits for its turn there
            exchange.had_turn = True
        try:
            route = route.for_body(body)
            answered = route.answer(body, exchange.request_id)
        except Exception:  # the application raises the error again and reports it
            return exchange
        if answered is None:
            return exchange
        content, exchange.rows = answered
        exchange.served = route.served
        exchange.record(200)
        return FIELDS % (len(content), exchange.request_id, route.direct_headers, content)
