"""Answers small, common requests in the call that receives their last byte, without a scope, a task or ASGI.

Such a request costs about half as much as a request through the application. The guarantees of the application hold
here, too: readiness, access, request ids, metrics, logs and the request observer. The application handles all other
requests. The head of an answered request is stored: a request with an equal head is not parsed.
"""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from service.data_plane import DataPlane
from service.errors import RequestError
from service.exchange import SLOW_S, Exchange, ServerContext
from service.http.negotiation import JSON
from service.routes.route import Route
from service.routes.router import Router

MAX_BYTES = 4096
"""The largest body. Its response is so small that it is never compressed."""
KNOWN_HEADERS = frozenset(
    b"host accept accept-encoding authorization connection content-length content-type user-agent"
    b" x-api-key x-request-id".split()
)
"""The headers that a directly answered request may have."""
ACCEPTED = (None, b"*/*", JSON)
KEEP_ALIVE = (None, b"keep-alive", b"Keep-Alive")
STATUS = b"HTTP/1.1 200 OK\r\n"
RESPONSE = b"%bcontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b\r\n%b"
LINE_END, HEAD_END = b"\r\n", b"\r\n\r\n"
ID_FIELD = re.compile(rb"\r\n[Xx]-[Rr]equest-I[Dd]: ?([A-Za-z0-9._:/+=@-]{1,128})(?=\r\n)")
ANY_ID = b"\0"  # no other byte of a head is zero
MAX_HEADS, MAX_HEAD_BYTES = 512, 1024  # limits for the stored heads
Fields = Mapping[bytes, bytes]


@dataclass(slots=True, eq=False)
class DirectHead:
    """The head of a request that may be answered directly. length: of the body."""

    route: Route
    path: bytes
    fields: Fields
    length: int

    def with_id(self, request_id: bytes) -> "DirectHead":
        """The same head with another X-Request-ID."""
        return DirectHead(self.route, self.path, {**self.fields, b"x-request-id": request_id}, self.length)


class DirectExchange(Exchange):
    """The exchange of a request that is answered directly."""

    method = "POST"
    client = ""
    had_turn = False  # whether the request was admitted as a turn of its client

    def __init__(self, context: ServerContext, head: DirectHead, arrived: float, client: str) -> None:
        # Like `Exchange.__init__`, without the cost of the call
        self.context = context
        self.head = head
        self.headers = head.fields
        self.started = arrived
        self.protocol = head.route.protocol
        self.served = head.route.served  # None until a version is chosen, if several versions share the requests
        self.request_id = context.request_id(head.fields)
        self.client = client

    @property
    def path(self) -> str:
        return self.head.path.decode("latin-1")

    def record(self, status: int) -> None:
        """Like `Exchange.record`, for a request that has no trace and has arrived as a whole."""
        assert self.served is not None
        context, seconds = self.context, time.monotonic() - self.started
        self.served.counters.request(self.protocol, status, seconds)
        if seconds > SLOW_S or context.settings.access_log:
            self._log_sampled(status, seconds)
        context.observer.observe(self, status, seconds)


class DirectResponses:
    """Decides from the head of a request whether to answer it directly, and answers it."""

    def __init__(self, context: ServerContext, router: Router) -> None:
        self._context = context
        self._state = context.state
        self._plane: DataPlane = context.plane
        self._most_bytes = min(MAX_BYTES, context.settings.max_body_bytes)
        self._defaults: object = None
        self._status = STATUS  # with the headers of the server
        self.use(router)

    def use(self, router: Router) -> None:
        """Answer with the routes of this router from now on."""
        self.router = router
        self._heads: dict[bytes, DirectHead] = {}
        self._heads_with_id: dict[bytes, DirectHead] = {}  # their id is replaced by ANY_ID

    @property
    def _may_answer(self) -> bool:
        """False while the server is not ready or drains, or if requests are traced."""
        return (
            self.router.snapshot is self._plane.registry.snapshot
            and self._state.passes_probes
            and not self._context.exports_traces
        )

    def head(self, path: bytes, fields: Fields) -> DirectHead | None:
        """The head of a POST request that can be answered directly; None for other requests.

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
        """The head and the body of a read that is a single request with a stored head; None for other reads."""
        end = data.find(HEAD_END, 0, MAX_HEAD_BYTES) + len(HEAD_END)
        head = self._heads.get(data[:end]) or self._head_with_id(data[:end])
        if head is None or len(data) - end != head.length or not self._may_answer:
            return None
        return head, data[end:]

    def _head_with_id(self, content: bytes) -> DirectHead | None:
        """The head of these bytes if a head that differs only in a valid X-Request-ID is stored."""
        found = ID_FIELD.search(content)
        if found is None:
            return None
        known = self._heads_with_id.get(without_id(found))
        return None if known is None else known.with_id(found[1])

    def keep(self, data: bytes, head: DirectHead) -> None:
        """Store the head of a request that was parsed and answered directly, if the read contains only this request.

        data: a read that begins with a request. A valid X-Request-ID is replaced by ANY_ID.
        """
        content, end, body = data.partition(HEAD_END)
        lines = content.replace(LINE_END, b"")
        if (
            len(body) != head.length
            or len(content) >= MAX_HEAD_BYTES - len(end)
            or b"\r" in lines  # without these, every parser finds the end of the head only at HEAD_END
            or b"\n" in lines
            or ANY_ID in lines
        ):
            return
        content, heads = content + end, self._heads
        request_id = head.fields.get(b"x-request-id")
        if request_id is not None:
            found = ID_FIELD.search(content)
            if found is None or found[1] != request_id:
                return
            content, heads = without_id(found), self._heads_with_id
        if len(heads) == MAX_HEADS:
            heads.clear()
        heads[content] = head

    def answer(
        self, head: DirectHead, body: bytes, arrived: float, client: str, defaults: Iterable[tuple[bytes, bytes]]
    ) -> bytes | DirectExchange | None:
        """The response. If a direct response is not possible: the admitted exchange, or None if it was not admitted.

        arrived: on the clock of time.monotonic. defaults: the headers of the server, a new object every second.
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
                return exchange  # the request waits for its turn in the application
            exchange.had_turn = True
        try:
            if route.splits_requests:
                route = route.for_body(body)
            answered = route.answer(body, exchange.request_id)
        except Exception:  # the application raises the error again and reports it
            return exchange
        if answered is None:
            return exchange
        content, exchange.rows = answered
        exchange.served = route.served
        exchange.record(200)
        if defaults is not self._defaults:
            self._defaults, self._status = defaults, STATUS + b"".join(b"%b: %b\r\n" % pair for pair in defaults)
        return RESPONSE % (self._status, len(content), exchange.request_id, route.direct_headers, content)


def without_id(found: "re.Match[bytes]") -> bytes:
    """The searched bytes, in which ANY_ID replaces the id that was found."""
    start, end = found.span(1)
    return found.string[:start] + ANY_ID + found.string[end:]
