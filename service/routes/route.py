"""What every route is: an exchange goes in, a reply comes out, and an error takes the form of the route's protocol."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

from service.data_plane import DataPlane
from service.errors import MethodNotAllowed, RequestError
from service.http.http_exchange import HttpExchange, Response, problem_response
from service.registry import Snapshot
from service.served_model import ServedModel

ANY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Route:
    """One address. `protocol` is the label of its metrics, `served` the version it is counted for, if it has one.

    The application sees to methods, limits, deadlines, errors, metrics and logs; a route decodes, asks the data plane
    and encodes.
    """

    protocol: ClassVar[str]
    methods: ClassVar[tuple[str, ...]] = ("POST",)
    allow: ClassVar[tuple[str, ...]] = ()  # what a 405 and OPTIONS name; none: `methods`, and OPTIONS is a 405 too
    always: ClassVar[bool] = False  # whether it also answers before the models are loaded and while the server stops
    probe: ClassVar[bool] = False  # whether it says that requests should be sent here: not while draining

    def __init__(self, plane: DataPlane, served: ServedModel | None = None) -> None:
        self.plane = plane
        self.served = served

    async def handle(self, exchange: HttpExchange) -> Response | None:
        """The answer to one of `methods`; None where the route has sent it by itself. Raises RequestError."""
        raise NotImplementedError

    async def handle_other_method(self, exchange: HttpExchange) -> Response | None:
        """The answer to another method. Raises RequestError."""
        method = exchange.method
        if method == "HEAD" and "GET" in self.methods:
            return await self.handle(exchange)
        if method == "OPTIONS" and self.allow:
            return Response(status=204, headers=[(b"allow", ", ".join(self.allow).encode())])
        raise MethodNotAllowed(method, ", ".join(self.allow or self.methods))

    def error_response(self, error: RequestError) -> Response:
        """The error in the form of this protocol."""
        return problem_response(error)


class RouteGroup(Protocol):
    """The routes of one protocol: those that can be listed beforehand, and the search for all others of its prefix."""

    def listed(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        """The paths that are requested most, known from what is served."""

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        """The route of another path of this protocol (versions, labels, models that are not there), or None where the
        path is not of this protocol. A path of the protocol that leads nowhere is a route whose answer is an error."""
