"""`GET /models/{name}/versions`: the stored versions of a model, their state and their cards."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models import manifest, store, version_files
from models.aliases import CHAMPION
from models.json_text import dumps
from models.serving_file import ServingFile
from models.serving_state import ServingStateError
from models.version_files import StoredVersion
from models.version_folder import DESCRIPTION_FILE, read_document
from service.data_plane import DataPlane
from service.errors import NotFound, RetryLater
from service.feedback.live_report import report
from service.http.http_exchange import HttpExchange, Response
from service.registry import ModelEntry
from service.routes.page import Page

CREATION_TIME = re.compile(r"""^creation_time:\s*['"]?([^'"\n]+)['"]?\s*$""", re.MULTILINE)
MARKDOWN = b"text/markdown; charset=utf-8"


class VersionListPage(Page):
    """The versions of one model, newest first."""

    def __init__(self, plane: DataPlane, entry: ModelEntry) -> None:
        super().__init__(plane, model_name=entry.name)
        self._entry = entry

    async def handle(self, exchange: HttpExchange) -> Response:
        return await version_list_response(self.plane, self._entry)


class VersionCardPage(Page):
    """The card of a stored version."""

    def __init__(self, plane: DataPlane, entry: ModelEntry, version: int) -> None:
        super().__init__(plane, model_name=entry.name)
        self._version = version

    async def handle(self, exchange: HttpExchange) -> Response:
        card = await asyncio.to_thread(self._read)
        if card is None:
            raise NotFound(f"model {self.model_name!r} has no stored version {self._version} with a card")
        return Response(card, MARKDOWN)

    def _read(self) -> bytes | None:
        stored = stored_versions(self.plane, str(self.model_name))
        found = next((one for one in stored if one.version == self._version), None)
        try:
            return None if found is None else read_document(found.path / "card.md")
        except (OSError, ValueError):
            return None


async def version_list_response(plane: DataPlane, entry: ModelEntry) -> Response:
    """The versions of a model, with the generation as ETag for If-Match."""
    # not in the data plane's thread, because the store may hang
    document = await asyncio.to_thread(version_list, plane, entry)
    live = await live_metrics(plane, entry)
    for version in document["versions"]:
        if (found := live.get(version["version"])) is not None:
            version["live"] = found
    return Response(dumps(document), headers=[(b"etag", b'"%d"' % document["generation"])])


async def live_metrics(plane: DataPlane, entry: ModelEntry) -> dict[str, dict[str, Any]]:
    """The live metrics of the versions that have feedback, without a window."""
    if not plane.live.has_feedback:
        return {}
    desk = plane.feedback
    try:
        versions = report(entry, await desk.run(desk.sums, entry.name, 0.0))
    except RetryLater:  # the list is useful even if the metrics cannot be read now
        return {}
    return {
        one["version"]: {name: value for name, value in one.items() if name not in ("version", "aliases")}
        for one in versions
        if one["rows"]
    }


def version_list(plane: DataPlane, entry: ModelEntry) -> dict[str, Any]:
    """The document of the page. Reads the store."""
    stored = stored_versions(plane, entry.name)
    traffic = entry.split or {entry.aliases[CHAMPION]: 100}
    versions = [describe_version(plane, entry, one) | {"traffic": traffic.get(str(one.version), 0)} for one in stored]
    head = {"model": entry.name, "generation": plane.following.wanted_generation}
    return head | serving_settings(plane, entry) | {"versions": versions}


def stored_versions(plane: DataPlane, model: str) -> Sequence[StoredVersion]:
    """The versions of a model, newest first. Reads the store."""
    return store.versions(plane.settings.store)[0].get(model, ())


def serving_settings(plane: DataPlane, entry: ModelEntry) -> dict[str, Any]:
    """The settings except aliases and traffic: the target of a rollback, the rollback rule of the canary, and the
    shadow."""
    found: dict[str, Any] = {}
    try:
        state = ServingFile(store.serving_folder(plane.settings.store)).read().model(entry.name)
        if state.history and state.rolled_back is None:
            found["previous"] = str(state.history[-1])
    except ServingStateError:
        pass
    if entry.rollback is not None and entry.split:
        found["rollback"] = entry.rollback.model_dump()
    if entry.shadow is not None:
        found["shadow"] = entry.shadow.model_dump()
    return found


def describe_version(plane: DataPlane, entry: ModelEntry, stored: StoredVersion) -> dict[str, Any]:
    version, problem = str(stored.version), plane.following.problems.get(stored.tag)
    state = "loaded" if version in entry.versions else "failed" if problem else "stored"
    description: dict[str, Any] = {
        "version": version,
        "state": state,
        "aliases": entry.aliases_of(version),
        "metrics": metrics_of(stored.path),
        "trained_at": trained_at(stored.path),
        "manifest": manifest.digest(stored.path),
    }
    return description | ({"reason": problem} if problem else {})


def metrics_of(folder: Path) -> Any:
    try:
        return version_files.read_json(folder / "metrics.json")
    except (OSError, ValueError):
        return {}


def trained_at(folder: Path) -> str | None:
    """The time when the version was stored, from BentoML's description or otherwise from its files."""
    try:
        if (description := folder / DESCRIPTION_FILE).is_file():
            found = CREATION_TIME.search(read_document(description).decode())
            if found:
                return found[1]
        return datetime.fromtimestamp((folder / "features.json").stat().st_mtime, UTC).isoformat(timespec="seconds")
    except (OSError, ValueError):
        return None
