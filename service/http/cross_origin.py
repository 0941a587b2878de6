"""Cross-origin requests of web pages (CORS): the allowed origins, and the responses to preflight requests."""

from collections.abc import Mapping, Sequence

from service.data_plane import DataPlane
from service.http.asgi_types import Header, Message, Scope, Send
from service.http.http_exchange import HttpExchange, Response
from service.routes.route import Route

VARY: Header = (b"vary", b"origin")
METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
REQUEST_HEADERS = (
    b"accept, authorization, content-encoding, content-type, if-match, traceparent, tracestate, x-api-key, "
    b"x-client-key, x-request-id, x-request-timeout, inference-header-content-length"
)
RESPONSE_HEADERS = (
    b"etag, inference-header-content-length, retry-after, traceparent, www-authenticate, x-model-version, "
    b"x-request-id, x-tabserve-warnings"
)
MAX_AGE_S = b"600"


def is_preflight(scope: Scope) -> bool:
    """Whether the request is a preflight, with which a browser checks if a page may send a request."""
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


class PreflightRoute(Route):
    """Answers all preflight requests. The response names no model, because browsers send preflights without a key."""

    protocol = "page"
    access = "open"
    methods = ("OPTIONS",)
    always = True

    def __init__(self, plane: DataPlane, policy: "OriginPolicy") -> None:
        super().__init__(plane)
        self._policy = policy

    async def handle(self, exchange: HttpExchange) -> Response:
        headers: list[Header] = []
        if self._policy.allows(exchange.headers):
            headers = [
                (b"access-control-allow-methods", METHODS),
                (b"access-control-allow-headers", REQUEST_HEADERS),
                (b"access-control-max-age", MAX_AGE_S),
            ]
        return Response(status=204, headers=headers)


class OriginPolicy:
    """The origins whose pages may read responses."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def allows(self, headers: Mapping[bytes, bytes]) -> bool:
        return headers.get(b"origin") in self._origins

    def wrap(self, headers: Mapping[bytes, bytes], send: Send) -> Send:
        """Wrap the `send` of a request so that it adds the headers for the request's origin to the response."""
        if not self._origins:
            return send
        added = [VARY]
        if self.allows(headers):
            added += [
                (b"access-control-allow-origin", headers[b"origin"]),
                (b"access-control-expose-headers", RESPONSE_HEADERS),
            ]

        async def send_with_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        return send_with_origin
