"""Follows a store at a URL: copies the versions that should be served, and then the `serving.json` that names them.

One of all processes that follow a store on a machine does this: the one that holds the lock of `leader.lock`. A store
that cannot be reached changes only the file `mirror-problem`, which all workers of a server report.
"""

import contextlib
import os
import time
from pathlib import Path

from models.atomic_file import remove_if_possible, replace_file
from models.file_lock import try_lock
from models.mirror_plan import MirrorPlan, MirrorSelection, plan_of
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
"""How long a version that cannot be copied holds back the `serving.json` that names it."""


class MirrorSync:
    """selection: the versions that the servers of this process need."""

    def __init__(self, mirror: StoreMirror, selection: MirrorSelection) -> None:
        self._mirror = mirror
        self._selection = selection
        self._local = ServingFile(mirror.folder)
        self._leader: int | None = None
        self._seen: StoredObject | None = None  # `serving.json` at the last complete pass
        self._looked = False
        self._list_at = 0.0
        self._problems: dict[str, str] = {}
        self._failing_since: dict[str, float] = {}

    def look(self) -> None:
        """Copy what has changed if this process is the leader. Reports problems and raises none of them."""
        if not self._leads():
            return
        try:
            problems = self._pass()
        except ServingStateError as error:
            problems = {SERVING_FILE: str(error)}
        except (StoreError, OSError) as error:
            problems = {SERVING_FILE: f"the store cannot be copied: {error}"}
        report_problem(self._mirror.folder, "; ".join(problems.values()))

    def fill(self) -> None:
        """Copy what a server needs before it starts. Raises ServingStateError if the store cannot be read and was never
        copied; a copy of an earlier start is used otherwise.
        """
        with self._mirror.locked():
            self._mirror.check_copies()
        try:
            problems = self._pass(holds_back=False)  # there is nothing to keep
        except ServingStateError as error:
            if not self._mirror.copies():
                raise
            problems = {SERVING_FILE: str(error)}
        report_problem(self._mirror.folder, "; ".join(problems.values()))

    def close(self) -> None:
        if self._leader is not None:
            os.close(self._leader)
            self._leader = None

    def _leads(self) -> bool:
        if self._leader is None:
            with contextlib.suppress(OSError):
                self._leader = locked_file(self._mirror.folder / LEADER_FILE)
        return self._leader is not None

    def _pass(self, *, holds_back: bool = True) -> dict[str, str]:
        """Copy what has changed. Returns the problems by version or file. Raises StoreError or ServingStateError.

        holds_back: whether versions that cannot be copied hold back `serving.json`.
        """
        found, changed = self._serving_object()
        now = time.monotonic()
        if not changed and now < self._list_at:
            return self._problems
        self._list_at = 0.0  # an error is followed by another attempt
        state = self._local.parse(None if found is None else found.content)
        listing = self._mirror.remote.list()
        if not listing.versions:
            raise ObjectStoreError(f"there is no model in {self._mirror.url}; push one: tabserve push MODEL")
        numbers = {name: [one.version for one in own] for name, own in listing.versions.items()}
        plan = plan_of(state, numbers, self._selection)
        self._mirror.create_folder()
        with self._mirror.locked():
            self._problems = self._copy(listing, plan)
            self._failing_since = {tag: self._failing_since.get(tag, now) for tag in self._problems}
            if not holds_back or all(now - self._failing_since[tag] >= HOLD_BACK_S for tag in self._problems):
                self._adopt(found)
            self._drop_deleted(listing, plan)
        self._seen, self._looked = found, True
        self._list_at = now + (RETRY_S if self._problems else LIST_S)
        return self._problems

    def _serving_object(self) -> tuple[StoredObject | None, bool]:
        """`serving.json` in the store, and whether it differs from the one of the last complete pass."""
        objects = self._mirror.objects
        if self._seen is None:
            found = objects.get(SERVING_FILE)
            return found, found is not None or not self._looked
        try:
            return objects.get_if_changed(SERVING_FILE, self._seen.revision), True
        except Unchanged:
            return self._seen, False

    def _copy(self, listing: VersionListing, plan: MirrorPlan) -> dict[str, str]:
        """Copy the planned versions. Returns why needed ones cannot be copied."""
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
        """Let `serving.json` of the copy be that of the store."""
        if found is None:
            remove_if_possible(self._local.path)
        elif self._local.read_bytes() != found.content:
            replace_file(self._local.path, found.content)

    def _drop_deleted(self, listing: VersionListing, plan: MirrorPlan) -> None:
        """Remove copies of versions that the store no longer has."""
        for stored in self._mirror.copies():
            deleted = listing.find(stored.name, stored.version) is None
            if deleted and (stored.name, stored.version) not in plan.needed:
                self._mirror.drop(stored)


def locked_file(path: Path) -> int | None:
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
    """Write the problem of the store for all workers; no file if there is none."""
    path = folder / PROBLEM_FILE
    if problem == reported_problem(folder):
        return
    if not problem:
        remove_if_possible(path)
        return
    with contextlib.suppress(OSError):  # a full disk
        replace_file(path, problem.encode())


def reported_problem(folder: Path) -> str:
    """The problem of the store; empty if there is none, and for an ordinary store."""
    try:
        return (folder / PROBLEM_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
