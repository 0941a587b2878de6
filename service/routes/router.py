"""All routes by path."""

from collections.abc import Sequence

from service.data_plane import DataPlane
from service.http.asgi_types import App
from service.http.bento_passthrough import BentoPassthrough
from service.openapi import document
from service.routes import invocations, native, oip, pages, tfserving
from service.routes.pages import OpenApiPage
from service.routes.route import Route, RouteGroup
from service.version import version

ROUTE_GROUPS: Sequence[RouteGroup] = (
    tfserving.TFServingRoutes(),
    oip.OipRoutes(),
    invocations.InvocationsRoutes(),
    native.NativeRoutes(),
    pages.PageRoutes(),
)


class Router:
    """Where a path leads: a look-up for those listed beforehand, a search in each family for the rest.

    Made for one snapshot of what is served, and replaced with it.
    """

    def __init__(self, plane: DataPlane) -> None:
        self.snapshot = plane.registry.snapshot
        self._plane = plane
        self.listed: dict[str, Route] = {}
        for family in reversed(ROUTE_GROUPS):  # an address that two have is the first one's
            self.listed |= family.listed(plane, self.snapshot)
        self.listed["/docs.json"] = OpenApiPage(plane, self._document)

    def find(self, path: str) -> Route | None:
        """The route of a path that is not listed, if a family has it."""
        found = (family.find(self._plane, self.snapshot, path) for family in ROUTE_GROUPS)
        return next((route for route in found if route is not None), None)

    def _document(self) -> bytes:
        return document.document(self.snapshot.champions, self._plane.settings, version())

    def passthrough(self, app: App) -> Route:
        """The route of whatever has no other."""
        return BentoPassthrough(self._plane, app)
