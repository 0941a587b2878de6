"""The route of a path without a version if several versions share the requests."""

from collections.abc import Callable, Mapping

from service.data_plane import DataPlane
from service.http.http_exchange import HttpExchange, Response
from service.registry import ModelEntry
from service.routes.route import Route
from service.served_model import ServedModel
from service.traffic_split import CLIENT_KEY, KEY_BYTES, row_key


class SplitRoute(Route):
    """Passes each request to the route of a version, which the client key determines or, without a client key, the
    row."""

    access = "predict"
    splits_requests = True

    def __init__(self, plane: DataPlane, entry: ModelEntry, make: Callable[[ServedModel], Route]) -> None:
        super().__init__(plane, model_name=entry.name)
        self._entry = entry
        self._routes = {version: make(entry.versions[version]) for version in entry.split}
        some = next(iter(self._routes.values()))
        self.protocol, self.methods, self.allow = some.protocol, some.methods, some.allow
        self.answers_directly = some.answers_directly
        self.error_response = some.error_response  # type: ignore[method-assign]  # all routes have the same protocol

    def for_body(self, body: bytes) -> Route:
        return self._routes[self._entry.version_for(row_key(body)).version]

    async def handle(self, exchange: HttpExchange) -> Response | None:
        served = await choose_version(self._entry, exchange)
        exchange.served = served
        return await self._routes[served.version].handle(exchange)


async def choose_version(entry: ModelEntry, exchange: HttpExchange) -> ServedModel:
    """The version for a request without a version. Raises RequestError."""
    client = exchange.headers.get(CLIENT_KEY)
    return entry.version_for(client or row_key(await exchange.body.peek(KEY_BYTES)))


def version_for_body(entry: ModelEntry, headers: Mapping[bytes, bytes], body: bytes) -> ServedModel:
    """The version for a request with this body and without a version."""
    if not entry.split:
        return entry.champion
    return entry.version_for(headers.get(CLIENT_KEY) or row_key(body[:KEY_BYTES]))


def route_of_model(plane: DataPlane, entry: ModelEntry, make: Callable[[ServedModel], Route]) -> Route:
    """The route of a path without a version. make: creates the route of one version."""
    return SplitRoute(plane, entry, make) if entry.split else make(entry.champion)
