"""Follows a store at a URL: copies the versions to be served, and then the `serving.json` that refers to them.

Only one of the processes that follow a store on a machine does this: the leader, which holds the lock of `leader.lock`.
If the store cannot be reached, only the file `mirror-problem` changes; all workers of a server report it.
"""

import contextlib
import os
import time
from pathlib import Path

from models.atomic_file import remove_if_possible, replace_file
from models.file_lock import try_lock
from models.mirror_plan import MirrorPlan, MirrorSelection, plan_mirror
from models.object_store import ObjectStoreError, StoredObject, StoreUnreachable, Unchanged
from models.remote_versions import VersionListing
from models.serving_file import SERVING_FILE, ServingFile
from models.serving_state import ServingStateError
from models.store_mirror import StoreMirror
from models.version_files import StoreError

LEADER_FILE = "leader.lock"
PROBLEM_FILE = "mirror-problem"
LIST_S = 30.0  # interval between two listings of the versions while `serving.json` does not change
RETRY_S = 5.0  # delay before the next attempt to copy a version
HOLD_BACK_S = 30.0
"""The maximum time for which a new `serving.json` is held back because a version to which it refers cannot be
copied."""


class MirrorSync:
    """Keeps the mirror of a store up to date. selection: the versions that the servers of this process need."""

    def __init__(self, mirror: StoreMirror, selection: MirrorSelection) -> None:
        self._mirror = mirror
        self._selection = selection
        self._local = ServingFile(mirror.folder)
        self._leader: int | None = None
        self._seen: StoredObject | None = None  # `serving.json` at the last complete pass
        self._was_synced = False
        self._list_at = 0.0
        self._problems: dict[str, str] = {}
        self._failing_since: dict[str, float] = {}

    def poll(self) -> None:
        """Copy all changes if this process is the leader. Problems are reported, not raised."""
        if not self._is_leader():
            return
        try:
            problems = self._sync_once()
        except ServingStateError as error:
            problems = {SERVING_FILE: str(error)}
        except (StoreError, OSError) as error:
            problems = {SERVING_FILE: f"the store cannot be copied: {error}"}
        report_problem(self._mirror.folder, "; ".join(problems.values()))

    def fill(self) -> None:
        """Copy the versions that a server needs before it starts. If the store cannot be read, earlier copies are used;
        without any copies ServingStateError is raised.
        """
        with self._mirror.locked():
            self._mirror.check_copies()
        try:
            problems = self._sync_once(holds_back=False)  # no earlier state is being served
        except ServingStateError as error:
            if not self._mirror.copies():
                raise
            problems = {SERVING_FILE: str(error)}
        report_problem(self._mirror.folder, "; ".join(problems.values()))

    def close(self) -> None:
        if self._leader is not None:
            os.close(self._leader)
            self._leader = None

    def _is_leader(self) -> bool:
        if self._leader is None:
            with contextlib.suppress(OSError):
                self._leader = lock_file(self._mirror.folder / LEADER_FILE)
        return self._leader is not None

    def _sync_once(self, *, holds_back: bool = True) -> dict[str, str]:
        """Copy all changes. Returns the problems by version or file. Raises StoreError or ServingStateError.

        holds_back: whether a new `serving.json` is held back while versions cannot be copied.
        """
        found, changed = self._serving_object()
        now = time.monotonic()
        if not changed and now < self._list_at:
            return self._problems
        self._list_at = 0.0  # try again after an error
        state = self._local.parse(None if found is None else found.content)
        listing = self._mirror.remote.list()
        if not listing.versions:
            raise ObjectStoreError(f"there is no model in {self._mirror.url}; push one: tabserve push MODEL")
        numbers = {name: [one.version for one in own] for name, own in listing.versions.items()}
        plan = plan_mirror(state, numbers, self._selection)
        self._mirror.create_folder()
        with self._mirror.locked():
            self._problems = self._copy(listing, plan)
            self._failing_since = {tag: self._failing_since.get(tag, now) for tag in self._problems}
            if not holds_back or all(now - self._failing_since[tag] >= HOLD_BACK_S for tag in self._problems):
                self._adopt(found)
            self._drop_deleted(listing, plan)
        self._seen, self._was_synced = found, True
        self._list_at = now + (RETRY_S if self._problems else LIST_S)
        return self._problems

    def _serving_object(self) -> tuple[StoredObject | None, bool]:
        """The `serving.json` in the store, and whether it has changed since the last complete pass."""
        objects = self._mirror.objects
        if self._seen is None:
            found = objects.get(SERVING_FILE)
            return found, found is not None or not self._was_synced
        try:
            return objects.get_if_changed(SERVING_FILE, self._seen.revision), True
        except Unchanged:
            return self._seen, False

    def _copy(self, listing: VersionListing, plan: MirrorPlan) -> dict[str, str]:
        """Copy the planned versions. Returns a message for each required version that cannot be copied."""
        problems: dict[str, str] = {}
        keep = {f"{name}:{number}" for name, number in plan.needed}
        for name, number in plan.needed:
            tag, found = f"{name}:{number}", listing.find(name, number)
            try:
                if found is None:
                    raise StoreError(f"there is no {tag} in {self._mirror.url}")
                self._mirror.copy(found, keep)
            except (StoreError, ObjectStoreError) as error:
                problems[tag] = str(error) if tag in str(error) else f"{tag}: {error}"
        keep |= {f"{name}:{number}" for name, number in plan.recent}
        for name, number in plan.recent:
            if (found := listing.find(name, number)) is not None:
                with contextlib.suppress(StoreError, StoreUnreachable):  # it is not served
                    self._mirror.copy(found, keep)
        return problems

    def _adopt(self, found: StoredObject | None) -> None:
        """Replace the local `serving.json` with the file in the store."""
        if found is None:
            remove_if_possible(self._local.path)
        elif self._local.read_bytes() != found.content:
            replace_file(self._local.path, found.content)

    def _drop_deleted(self, listing: VersionListing, plan: MirrorPlan) -> None:
        """Remove copies of versions that the store no longer has."""
        for stored in self._mirror.copies():
            deleted = listing.find(stored.name, stored.version) is None
            if deleted and (stored.name, stored.version) not in plan.needed:
                self._mirror.remove_copy(stored)


def lock_file(path: Path) -> int | None:
    """The descriptor of a locked file; None if another process has the lock. Raises OSError."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if try_lock(opened):
            return opened
    except OSError:
        os.close(opened)
        raise
    os.close(opened)
    return None


def report_problem(folder: Path, problem: str) -> None:
    """Write the problem of the store to a file, which all workers read; remove the file if there is no problem."""
    path = folder / PROBLEM_FILE
    if problem == reported_problem(folder):
        return
    if not problem:
        remove_if_possible(path)
        return
    with contextlib.suppress(OSError):  # a full disk
        replace_file(path, problem.encode())


def reported_problem(folder: Path) -> str:
    """The reported problem of the store; empty if there is none, and for a local store."""
    try:
        return (folder / PROBLEM_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
