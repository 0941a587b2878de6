"""Changes the served versions in two phases in all workers of this server.

In the first phase, one worker after the other loads and checks the versions. A failure in a worker changes nothing.
In the second phase, `serving.json` is written. The change is done when all workers serve it.
"""

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from models.file_lock import try_lock
from models.object_store import StoreUnreachable
from models.schema import FeatureSchema
from models.serving_file import GenerationMismatch, ReadOnlyStore
from models.serving_state import ModelState, ServingState, ServingStateError
from models.store_mirror import NotCopied
from models.version_files import StoredVersion, StoreError
from models.version_lifecycle import VersionStore
from service.errors import Conflict, NotFound, NotReady, PreconditionFailed
from service.follower import Follower
from service.worker_files import PrepareRequest
from service.worker_records import is_alive

LOCK_FILE = "change.lock"
PREPARE_S = 300.0  # maximum time for each worker, because importing TensorFlow on a busy machine takes minutes
SWITCH_S = 60.0  # maximum time for all workers together
POLL_S = 0.02


@dataclass(frozen=True)
class RequestedChange:
    """A change that a client requests for a model. version: the version of the change, if it has one. expected: the
    generation that the client has seen."""

    model: str
    action: str
    apply: Callable[[ModelState], ModelState]
    actor: str
    version: int | None = None
    expected: int | None = None
    reason: str = ""
    checks_schema: bool = False


class VersionAdmin:
    """Applies changes in all workers, one change at a time."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self._plane = follower.plane
        self._files = follower.files
        self._lock = asyncio.Lock()  # the lock, if there is only one process

    async def change(self, change: RequestedChange) -> ServingState:
        """Apply a change. Returns the new state once all workers serve it.

        Raises NotFound, Conflict, PreconditionFailed, or NotReady if workers have not switched in time.
        """
        await asyncio.to_thread(self._check_changeable, change.model)
        versions = VersionStore(self._plane.settings.store, change.actor)
        async with self._exclusive():
            try:
                stored = await self._stored(versions, change)
                state = await asyncio.to_thread(versions.serving.read)
                if change.expected not in (None, state.generation):
                    raise GenerationMismatch(change.expected or 0, state.generation)
                before = state.model(change.model)
                if (model := change.apply(before)) == before:
                    return state
                if versions.mirror and model.served:
                    for number in new_versions(before, model):
                        await asyncio.to_thread(versions.mirror.fetch, change.model, number)
                await self._prepare(change, before, model)
                _, after = await asyncio.to_thread(self._write, versions, change, stored, state.generation)
            except GenerationMismatch as error:
                raise PreconditionFailed(str(error)) from error
            except StoreUnreachable as error:
                raise NotReady(str(error)) from error
            except ReadOnlyStore as error:
                raise Conflict(str(error), "read_only_store") from error
            except (ServingStateError, StoreError) as error:
                raise Conflict(str(error)) from error
            await self._wait_for_switch(after.generation)
            return after

    def _write(
        self, versions: VersionStore, change: RequestedChange, stored: StoredVersion | None, generation: int
    ) -> tuple[ServingState, ServingState]:
        return versions.change(
            change.action, change.model, change.apply, stored=stored, reason=change.reason, expected=generation
        )

    def _check_changeable(self, model: str) -> None:
        follower = self.follower
        if model in follower.selection.pins:
            pin = follower.selection.pins[model]
            raise Conflict(f"{model}:{pin} is pinned when the server starts (TABSERVE_MODELS, or the Bento)", "pinned")
        if not os.access(follower.file.folder, os.W_OK):
            raise Conflict(f"{follower.file.folder} cannot be written", "read_only_store")

    async def _stored(self, versions: VersionStore, change: RequestedChange) -> StoredVersion | None:
        """The version of the change. Raises NotFound if the version or the model is not stored."""
        try:
            if change.version is None:
                await asyncio.to_thread(versions.versions, change.model)
                return None
            return await asyncio.to_thread(versions.find, change.model, change.version)
        except NotCopied:
            raise
        except StoreError as error:
            raise NotFound(str(error)) from error

    async def _prepare(self, change: RequestedChange, before: ModelState, model: ModelState) -> None:
        """Let all workers load the new versions of a model. Raises Conflict with the error of the first worker that
        fails."""
        request = PrepareRequest(uuid.uuid4().hex, change.model, new_versions(before, model))
        if not model.served or not request.versions:
            return
        error = await self.follower.prepare(request)
        if error is not None:
            raise Conflict(f"worker {self._files.pid}: {error}", "not_loadable")
        if change.checks_schema and model.champion is not None:
            self._check_schema(change.model, model.champion)
        prepared = {self._files.pid}
        while waiting := self._files.statuses().keys() - prepared:  # a worker may be replaced meanwhile
            for pid in sorted(waiting):
                await self._prepare_worker(pid, request)
                prepared.add(pid)

    async def _prepare_worker(self, pid: int, request: PrepareRequest) -> None:
        self._files.request(pid, request)
        until = time.monotonic() + PREPARE_S
        while is_alive(pid):
            result = self._files.result(pid)
            if result is not None and result.id == request.id:
                if result.error is not None:
                    raise Conflict(f"worker {pid}: {result.error}", "not_loadable")
                return
            if time.monotonic() >= until:
                raise Conflict(f"worker {pid} has not loaded the version within {PREPARE_S:g} s", "not_loadable")
            await asyncio.sleep(POLL_S)

    def _check_schema(self, name: str, version: int) -> None:
        """Raises Conflict if clients of the champion would be refused by this version."""
        entry, served = self._plane.snapshot.entries.get(name), self.follower.loaded_version(f"{name}:{version}")
        if entry is None or served is None:
            return
        if reason := incompatibility(entry.champion.model.schema, served.model.schema):
            raise Conflict(f"{name}:{version} {reason}", "schema")

    async def _wait_for_switch(self, generation: int) -> None:
        """Switch this worker, and wait until the other workers have switched. Raises NotReady."""
        await self.follower.follow()  # a store at a URL is copied within seconds
        until = time.monotonic() + SWITCH_S
        while behind := [
            pid for pid, status in self._files.statuses().items() if status.serving_generation < generation
        ]:
            if time.monotonic() >= until:
                listed = ", ".join(map(str, behind))
                raise NotReady(f"generation {generation} is written; workers that do not serve it yet: {listed}")
            await asyncio.sleep(POLL_S)

    @contextlib.asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """Wait for other changes of this server. Raises NotReady if this takes too long."""
        if self._files.folder is None:
            async with self._lock:
                yield
            return
        opened = os.open(self._files.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + PREPARE_S
            while not try_lock(opened):
                if time.monotonic() >= until:
                    raise NotReady("another change is being made")
                await asyncio.sleep(POLL_S)
            yield
        finally:
            os.close(opened)


def new_versions(before: ModelState, after: ModelState) -> list[int]:
    """The versions that are served after a change, but not before it."""
    if after.served and not before.served:
        before = ModelState()
    champion = [after.champion] if after.champion is not None and after.champion != before.champion else []
    aliased = [number for alias, number in after.aliases.items() if before.aliases.get(alias) != number]
    return list(dict.fromkeys([*champion, *aliased]))


def incompatibility(old: FeatureSchema, new: FeatureSchema) -> str | None:
    """The reason why a version with the schema `new` would refuse requests that are valid for `old`; None if it would
    not."""
    accepted = accepted_names(new)
    if lost := sorted(accepted_names(old) - accepted):
        return f"refuses columns that clients send: {', '.join(lost)}"
    required = {feature.name for feature in new.features if not feature.nullable}
    known = {feature.name for feature in old.features if not feature.nullable}
    if more := sorted(required - known):
        return f"requires columns that clients may leave out: {', '.join(more)}"
    return None


def accepted_names(schema: FeatureSchema) -> set[str]:
    """The columns that a row may have."""
    features = {feature.name for feature in schema.features}
    return features | {column.name for column in schema.ignored} | {schema.target}
