"""All routes besides the native ones, by path."""

from collections.abc import Sequence
from typing import Any

from models.tabular_model import TabularModel
from service.data_plane import DataPlane
from service.routes import invocations, oip, tfserving
from service.routes.base import Family, Route
from service.settings import Settings

FAMILIES: Sequence[Family] = (tfserving.Family(), oip.Family(), invocations.Family())


class Router:
    """Where a path leads: a look-up for those listed beforehand, a search in each protocol for the rest."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._listed: dict[str, Route] = {}
        for family in reversed(FAMILIES):  # an address that two have is the first one's
            self._listed |= family.listed(plane)

    def find(self, path: str) -> Route | None:
        route = self._listed.get(path)
        if route is None:
            for family in FAMILIES:
                if (route := family.find(self._plane, path)) is not None:
                    break
        return route


def paths(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    """The paths of /docs.json."""
    return {path: item for family in FAMILIES for path, item in family.paths(models, settings).items()}
