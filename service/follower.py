"""Follows `serving.json`: loads the versions in it, then replaces the snapshot by one assignment.

If a version cannot be loaded, the previous one stays in place; the problem is reported, and the load is repeated later.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from models import store
from models.aliases import CHAMPION
from models.mirror_sync import PROBLEM_FILE, reported_problem
from models.serving_file import SERVING_FILE, ServingFile
from models.serving_state import ServingState, ServingStateError
from models.store_mirror import mirror_of
from models.version_files import StoredVersion, StoreError
from service import local_copies
from service.data_plane import DataPlane
from service.file_watch import FileWatch, Signatures, file_signature
from service.periodic_work import repeat
from service.registry import ModelEntry, Snapshot, canary_id
from service.served_model import ServedModel
from service.version_loader import VersionLoader
from service.wanted_versions import Selection, WantedModel, wanted_models
from service.worker_files import PrepareRequest, PrepareResult, WorkerFiles

STORE = "store"  # the name under which a problem of a store at a URL is reported
CHECK_INTERVAL_S = 0.25  # interval between two checks of the files for changes
RETRY_S = 5.0  # delay before the next attempt to load a version
PREPARED_S = 600.0  # how long a prepared version stays loaded if it is not served
log = logging.getLogger("tabserve.follower")


class Follower:
    """Follows the file in one worker.

    adopt: prepares the next snapshot in the loader's thread, and returns a function to call once the snapshot is
    served.
    """

    def __init__(
        self,
        plane: DataPlane,
        selection: Selection,
        loader: VersionLoader,
        files: WorkerFiles,
        adopt: Callable[[Snapshot], Callable[[], None]],
    ) -> None:
        self.plane = plane
        self.status = plane.following
        self.selection = selection
        self.files = files
        self.file = ServingFile(store.serving_folder(plane.settings.store))
        self._is_copy = mirror_of(plane.settings.store) is not None
        self.state = ServingState()
        self.wanted: dict[str, WantedModel] = {}
        self._loader = loader
        self._adopt = adopt
        self._lock = asyncio.Lock()
        self._prepared: dict[str, tuple[ServedModel, float]] = {}  # prepared versions by tag, with their expiry time
        self._seen: Signatures | None = None
        self._retry_at = 0.0
        self._ended: dict[str, str] = {}  # the canary of each model that was rolled back automatically
        self._answered = ""  # the id of the last request to prepare

    async def run(self) -> None:
        """Follow the file until cancelled."""
        watch = FileWatch([*self._state_files(), *self.files.request_files()], CHECK_INTERVAL_S, "watch-versions")

        async def poll_after_change() -> None:
            retry_s = self._retry_at - time.monotonic() if self.status.problems else RETRY_S
            await watch.change(max(retry_s, CHECK_INTERVAL_S))
            await self.poll()

        try:
            await repeat(poll_after_change, 0.0, "the served versions cannot be changed")
        finally:
            watch.stop()

    async def poll(self) -> None:
        """Apply a change of the file, and answer another worker's request to prepare versions."""
        request, found = await self._loader.run(self._poll_files)
        if request is not None and request.id != self._answered:
            self._answered = request.id
            self.files.answer(PrepareResult(request.id, await self.prepare(request)))
        now = time.monotonic()
        for tag in [tag for tag, (_, expires) in self._prepared.items() if expires < now]:
            self._discard(self._prepared.pop(tag)[0])
        if found != self._seen or (self.status.problems and now >= self._retry_at):
            await self.follow()

    def _state_files(self) -> list[Path]:
        """The files that decide what is served: `serving.json`, and the problem of the copy of a store at a URL."""
        return [self.file.path, *([self.file.folder / PROBLEM_FILE] if self._is_copy else [])]

    def _poll_files(self) -> tuple[PrepareRequest | None, Signatures]:
        """The request of another worker, and the signature of the file. A network file system that hangs blocks the
        call."""
        return self.files.requested(), self._signature()

    def _signature(self) -> Signatures:
        return [file_signature(path) for path in self._state_files()]

    async def follow(self) -> None:
        """Serve the versions of the file that can be loaded."""
        async with self._lock:
            self._seen = await self._loader.run(self._signature)
            problems: dict[str, str] = {}
            try:
                await self._read()
                await self._serve(problems)
            except (ServingStateError, OSError) as error:
                problems[SERVING_FILE] = str(error)
            self._report(problems, await self._loader.run(reported_problem, self.file.folder) if self._is_copy else "")

    async def _read(self) -> None:
        """Read the wanted versions. Raises ServingStateError or OSError, also if the store is missing."""
        settings, state = self.plane.settings, await self._loader.run(self.file.read)
        stored, _ = await self._loader.run(store.versions, settings.store)
        if state.generation < self.state.generation:
            raise ServingStateError(f"{self.file.path} is missing, or an older file has replaced it")
        if not stored and self.plane.snapshot.entries:
            raise ServingStateError(f"there is no model in {store.location(settings.store)}")
        self.state = state
        self.wanted = wanted_models(state, stored, self.selection)

    async def prepare(self, request: PrepareRequest) -> str | None:
        """Load versions that are about to be served. Returns the reasons if that is not possible."""
        async with self._lock:
            try:
                for version in request.versions:
                    folder = await self._loader.run(self._folder, request.model, version)
                    stored = StoredVersion(request.model, version, folder)
                    if self.loaded_version(stored.tag) is None:
                        served = await self._loader.load(stored)
                        self._prepared[stored.tag] = (served, time.monotonic() + PREPARED_S)
            except (StoreError, OSError) as error:
                return str(error)
            return None

    def _folder(self, model: str, version: int) -> Path:
        stored, _ = store.versions(self.plane.settings.store)
        place = store.location(self.plane.settings.store) / model / str(version)
        return next((one.path for one in stored.get(model, ()) if one.version == version), place)

    async def _serve(self, problems: dict[str, str]) -> None:
        """Replace the snapshot by one with the wanted versions."""
        entries: dict[str, ModelEntry] = {}
        for name, model in self.wanted.items():
            if (entry := await self._entry(model, problems)) is not None:
                entries[name] = entry
        before = self.plane.snapshot
        for name, entry in before.entries.items():
            if name not in self.wanted and name in self.state.models and self.state.model(name).served:
                entries[name] = entry
                problems[name] = f"the store has no version of {name!r}"
        if entries == before.entries:
            return
        snapshot = Snapshot(MappingProxyType(entries), before.generation + 1)
        adopted = await self._loader.run(self._adopt, snapshot)
        self.plane.replace(snapshot)
        adopted()
        self.plane.shadows.follow(snapshot)
        if self.files.folder:
            models = [served.model for served in snapshot.served]
            await self._loader.run(local_copies.copy_served_versions, models, self.plane.settings, self.files.folder)
        served = {entry.name: entry.aliases[CHAMPION] for entry in entries.values()}
        log.info("versions changed", extra={"generation": self.state.generation, "champions": served})

    async def _entry(self, model: WantedModel, problems: dict[str, str]) -> ModelEntry | None:
        """The entry of a model; None if none of its versions can be loaded."""
        before = self.plane.snapshot.entries.get(model.name)
        champion = await self._load(model.champion, problems)
        if champion is None and before is not None:
            champion = before.champion
        for stored in model.candidates[1:]:
            champion = champion or await self._load(stored, problems)
        if champion is None:
            return None
        found = {CHAMPION: champion}
        for alias, number in model.aliases.items():
            stored = StoredVersion(model.name, number, model.champion.path.parent / str(number))
            served = await self._load(stored, problems)
            if served is None and before is not None and alias in before.aliases:
                served = before.find(alias=alias)
            if served is not None:
                found[alias] = served
        versions = {served.version: served for served in found.values()}
        aliases = {alias: served.version for alias, served in found.items()}
        traffic = model.traffic if all(alias in found for alias in model.traffic) else {}
        if not model.traffic:
            self._ended.pop(model.name, None)
        elif self._ended.get(model.name) == canary_id(traffic, aliases):
            traffic = {}
        shadow = model.shadow if model.shadow and model.shadow.alias in found else None
        ordered = dict(sorted(versions.items(), key=lambda item: int(item[0])))
        rollback = model.rollback if traffic else None
        return ModelEntry(model.name, MappingProxyType(ordered), MappingProxyType(aliases), traffic, rollback, shadow)

    async def end_canary(self, model: str, canary: str) -> None:
        """Return the traffic of a model to its champion in this worker, even if the file still has this canary."""
        self._ended[model] = canary
        await self.follow()

    async def _load(self, stored: StoredVersion, problems: dict[str, str]) -> ServedModel | None:
        """A version, which is loaded if necessary. If that fails, returns None and adds the reason to `problems`."""
        served = self.loaded_version(stored.tag)
        if served is not None:
            self._prepared.pop(stored.tag, None)
            return served
        if stored.tag not in problems:
            try:
                return await self._loader.load(stored)
            except StoreError as error:
                problems[stored.tag] = str(error)
        return None

    def loaded_version(self, tag: str) -> ServedModel | None:
        name, _, version = tag.partition(":")
        if tag in self._prepared:
            return self._prepared[tag][0]
        entry = self.plane.snapshot.entries.get(name)
        return entry.versions.get(version) if entry else None

    def _discard(self, served: ServedModel) -> None:
        """Drop a version that was loaded and is not served."""
        self.plane.metrics.retire(served.counters)

    def _report(self, problems: dict[str, str], store_problem: str) -> None:
        """Publish the state of this worker.

        store_problem: why the local copy of a store at a URL is not up to date. Its versions can still be served.
        """
        is_complete = not problems
        if store_problem:
            problems = {STORE: store_problem, **problems}
        for subject, reason in problems.items():
            if self.status.problems.get(subject) != reason:
                log.error("version not served", extra={"version": subject, "reason": reason})
        self.status.problems = problems
        self.status.wanted_generation = self.state.generation
        if is_complete:
            self.status.serving_generation = self.state.generation
        status = self.status
        self.plane.metrics.set_generations(status.wanted_generation, status.serving_generation, len(problems))
        self.plane.metrics.store_problem(bool(store_problem))
        self._retry_at = time.monotonic() + RETRY_S
        self.files.publish(self.status)
