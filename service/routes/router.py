"""The router: finds the route of a path."""

from collections.abc import Sequence
from functools import partial

from service.data_plane import DataPlane
from service.http.asgi_types import App
from service.http.bento_passthrough import passthrough_for
from service.registry import Snapshot
from service.routes import (
    browser_page,
    drift_page,
    feedback,
    invocations,
    native,
    oip,
    pages,
    tfserving,
    version_changes,
)
from service.routes.pages import OpenApiPage
from service.routes.route import Route, RouteGroup
from service.version import version

ROUTE_GROUPS: Sequence[RouteGroup] = (
    tfserving.TFServingRoutes(),
    oip.OipRoutes(),
    invocations.InvocationsRoutes(),
    native.NativeRoutes(),
    version_changes.VersionChangeRoutes(),
    drift_page.DriftRoutes(),
    feedback.FeedbackRoutes(),
    pages.PageRoutes(),
    browser_page.BrowserPageRoutes(),
)


class Router:
    """Finds the routes of common paths in a dictionary, and those of other paths through the route groups.

    A router belongs to one snapshot of the registry and is replaced together with it. `direct` contains the routes that
    answer common requests without the application.
    """

    def __init__(self, plane: DataPlane, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._plane = plane
        self.common_routes: dict[str, Route] = {}
        for group in reversed(ROUTE_GROUPS):  # if two groups have the same path, the first group handles it
            self.common_routes |= group.common_routes(plane, self.snapshot)
        self.direct = {path.encode(): route for path, route in self.common_routes.items() if route.answers_directly}
        self.common_routes["/docs.json"] = OpenApiPage(
            plane, snapshot.names, partial(openapi_document, plane, snapshot)
        )

    def find(self, path: str) -> Route | None:
        """The route of a path that is not in `common_routes`; None if no group has it.

        A path with an extra slash at its end has the same route as without it; there is no redirect.
        """
        if path.endswith("/") and len(path) > 1:
            found = self.common_routes.get(path[:-1]) or self._find_in_groups(path[:-1])
            if found is not None:
                return found
        return self._find_in_groups(path)

    def _find_in_groups(self, path: str) -> Route | None:
        found = (group.find(self._plane, self.snapshot, path) for group in ROUTE_GROUPS)
        return next((route for route in found if route is not None), None)

    def passthrough(self, app: App, path: str) -> Route:
        """The route of requests that match no other route."""
        return passthrough_for(self._plane, app, path)


def openapi_document(plane: DataPlane, snapshot: Snapshot, names: Sequence[str]) -> bytes:
    """The document of the models with these names."""
    from service.openapi import document  # imported at the first request: a worker needs less memory without it

    models = [model for model in snapshot.champions if model.name in names]
    return document.document(models, plane.settings, version())
