"""All routes by path."""

from collections.abc import Sequence

from service.data_plane import DataPlane
from service.http.bento_passthrough import BentoPassthrough
from service.http.types import App
from service.openapi import document
from service.routes import invocations, native, oip, pages, tfserving
from service.routes.base import Family, Route
from service.routes.pages import DocsPage
from service.version import version

FAMILIES: Sequence[Family] = (
    tfserving.Family(),
    oip.Family(),
    invocations.Family(),
    native.Family(),
    pages.Family(),
)


class Router:
    """Where a path leads: a look-up for those listed beforehand, a search in each family for the rest.

    Made for one snapshot of what is served, and replaced with it.
    """

    def __init__(self, plane: DataPlane) -> None:
        self.snapshot = plane.registry.snapshot
        self._plane = plane
        self.listed: dict[str, Route] = {}
        for family in reversed(FAMILIES):  # an address that two have is the first one's
            self.listed |= family.listed(plane, self.snapshot)
        self.listed["/docs.json"] = DocsPage(plane, self._document)

    def find(self, path: str) -> Route | None:
        """The route of a path that is not listed, if a family has it."""
        found = (family.find(self._plane, self.snapshot, path) for family in FAMILIES)
        return next((route for route in found if route is not None), None)

    def _document(self) -> bytes:
        return document.document(self.snapshot.champions, self._plane.settings, version())

    def passthrough(self, app: App) -> Route:
        """The route of whatever has no other."""
        return BentoPassthrough(self._plane, app)
