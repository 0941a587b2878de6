"""The base class of all routes: a route turns an exchange into a response, and errors into its protocol's format."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

from service.access.caller import Access
from service.data_plane import DataPlane
from service.errors import MethodNotAllowed, RequestError
from service.http.http_exchange import HttpExchange, Response, problem_response
from service.registry import Snapshot
from service.served_model import ServedModel

ANY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Route:
    """The handler of one path. `protocol` is the label of its metrics; `served` the model version to count it for.

    `access` is the scope that a key needs, or `open`: each route declares it. `model_name` is the model in the path,
    for keys that may use only some models. For a model in the body or a header, call `exchange.check_model`.

    The application and the exchange check methods and limits, translate errors, and record metrics and logs. A route
    decodes the request, calls the data plane and encodes the response.
    """

    protocol: str
    methods: tuple[str, ...] = ("POST",)
    allow: tuple[str, ...] = ()  # methods for OPTIONS and the Allow header; if empty, OPTIONS is refused with 405
    always: ClassVar[bool] = False  # whether it also responds while models load and while the server stops
    probe: ClassVar[bool] = False  # whether it is a readiness probe, which fails while the server drains
    access: Access = "admin"
    answers_directly = False  # whether `answer` may return a response
    direct_headers = b""  # additional headers of a direct response
    splits_requests = False  # whether `for_body` returns other routes

    def __init__(self, plane: DataPlane, served: ServedModel | None = None, model_name: str | None = None) -> None:
        self.plane = plane
        self.served = served
        self.model_name = served.name if served else model_name

    async def handle(self, exchange: HttpExchange) -> Response | None:
        """Handle one of `methods`. Returns None if the route has sent the response itself. Raises RequestError."""
        raise NotImplementedError

    def for_body(self, body: bytes) -> "Route":
        """The route that answers a request with this body directly."""
        return self

    def answer(self, body: bytes, request_id: bytes) -> tuple[bytes, int] | None:
        """The JSON response to a common POST request without options, and its number of rows.

        None for other requests, to which `handle` responds.
        """
        return None

    async def handle_other_method(self, exchange: HttpExchange) -> Response | None:
        """Handle a request with any other method. Raises RequestError."""
        method = exchange.method
        if method == "HEAD" and "GET" in self.methods:
            return await self.handle(exchange)
        if method == "OPTIONS" and self.allow:
            return Response(status=204, headers=[(b"allow", ", ".join(self.allow).encode())])
        raise MethodNotAllowed(method, ", ".join(self.allow or self.methods))

    def error_response(self, error: RequestError) -> Response:
        """The response to a failed request, in this protocol's format."""
        return problem_response(error)


class RouteGroup(Protocol):
    """The routes of one protocol. The common paths are in a dictionary; other paths are found by their prefix."""

    def common_routes(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        """The routes of the paths that the served models determine, by path."""

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        """The route of a path outside of `common_routes`, or None if the path does not belong to this protocol.

        For an unknown path or model of this protocol, the route responds with an error.
        """
