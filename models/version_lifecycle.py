"""Changes of stored versions and of `serving.json`: which versions are served, and which may be deleted."""

import getpass
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from models import manifest, serving_changes, store
from models.file_destination import LOCAL_URL, is_url
from models.remote_serving_file import DELETE, RemoteServingFile
from models.serving_file import ServingChange, ServingFile
from models.serving_state import ChangeRefused, ModelState, ServingState, ServingStateError
from models.store_mirror import StoreMirror, mirror_of, open_mirror
from models.text import did_you_mean
from models.version_files import StoredVersion, StoreError

StateChange = Callable[[ModelState], ModelState]


@dataclass(frozen=True)
class VersionStore:
    """The versions of a store, and its file that specifies which of them are served.

    folder: a model store or BENTOML_HOME, as in TABSERVE_STORE, or the local mirror of a store at a URL; None for
    BentoML's store.
    """

    folder: Path | None = None
    actor: str = ""
    """The person or program that makes the changes; by default the user of this process."""

    @classmethod
    def configured(cls) -> "VersionStore":
        """The store in TABSERVE_STORE; BentoML's store if it is not set. Raises ServingStateError if the folder does
        not exist."""
        text = os.environ.get("TABSERVE_STORE", "").strip()
        if is_url(text):
            return cls.at_url(text)
        text = text.removeprefix(LOCAL_URL)
        if text and not Path(text).is_dir():
            raise ServingStateError(f"TABSERVE_STORE={text!r}: no such folder")
        return cls(Path(text).resolve() if text else None)

    @classmethod
    def at_url(cls, url: str) -> "VersionStore":
        """The store at a URL, which is read through its local mirror. Raises ServingStateError."""
        try:
            return cls(open_mirror(url).folder)
        except ValueError as error:
            raise ServingStateError(f"{url}: {error}") from None

    @cached_property
    def mirror(self) -> StoreMirror | None:
        """The local mirror if this is a store at a URL, else None."""
        return mirror_of(self.folder)

    @property
    def place(self) -> str:
        """The location of the versions, for messages."""
        return self.mirror.url if self.mirror else str(store.location(self.folder))

    @property
    def serving(self) -> ServingFile:
        if self.mirror:
            return RemoteServingFile(self.mirror.folder, self.mirror.url)
        return ServingFile(store.serving_folder(self.folder))

    def all_versions(self) -> dict[str, list[StoredVersion]]:
        """The versions of each model, newest first. Versions of a store at a URL may not be copied yet."""
        return self.mirror.stored() if self.mirror else store.versions(self.folder)[0]

    def versions(self, name: str) -> list[StoredVersion]:
        """The versions of a model as in `all_versions`. Raises StoreError if there are none."""
        found = self.all_versions()
        if name not in found:
            near = did_you_mean(name, found) or f"; stored models: {', '.join(sorted(found)) or 'none'}"
            raise StoreError(f"there is no model {name!r} in {self.place}{near}")
        return found[name]

    def find(self, name: str, version: int) -> StoredVersion:
        """A stored version, which is copied if necessary. Raises StoreError if it does not exist."""
        found = self.versions(name)
        for stored in found:
            if stored.version == version:
                if self.mirror:
                    self.mirror.fetch(name, version)
                return stored
        numbers = ", ".join(str(stored.version) for stored in found)
        raise StoreError(f"there is no {name}:{version} in {self.place}; stored versions: {numbers}")

    def exists(self, stored: StoredVersion) -> bool:
        """Whether a version is still stored."""
        return self.mirror.remote.exists(stored.name, stored.version) if self.mirror else stored.path.is_dir()

    def change(
        self,
        action: str,
        name: str,
        apply: StateChange,
        *,
        stored: StoredVersion | None = None,
        reason: str = "",
        expected: int | None = None,
    ) -> tuple[ServingState, ServingState]:
        """Change which versions of a model are served. Returns the states before and after. Raises ServingStateError.

        stored: the version that the change concerns; it must still be stored when the change takes effect.
        """

        def apply_if_stored(state: ModelState) -> ModelState:
            if stored is not None and not self.exists(stored):
                raise ChangeRefused(f"{stored.tag} was deleted meanwhile")
            return apply(state)

        digest = None if stored is None else manifest.digest(stored.path)
        change = ServingChange(name, action, apply_if_stored, self.actor or actor(), reason, digest)
        states = self.serving.apply(change, expected)
        # in an object store, without a lock, this change and a deletion may overlap
        if self.mirror and stored is not None and not self.exists(stored):
            raise ChangeRefused(f"{stored.tag} was deleted meanwhile: roll back to the previous version")
        return states

    def promote(
        self, stored: StoredVersion, *, by_person: bool, reason: str = "", expected: int | None = None
    ) -> tuple[ServingState, ServingState]:
        """Make a version the champion. Raises ServingStateError."""
        others = [found.version for found in self.versions(stored.name) if found.version != stored.version]
        before = next(iter(others), None)

        def apply(state: ModelState) -> ModelState:
            return serving_changes.promote(state, stored.version, by_person=by_person, before=before)

        return self.change("promote", stored.name, apply, stored=stored, reason=reason, expected=expected)

    def rollback_target(self, name: str) -> tuple[ServingState, StoredVersion]:
        """The present state, and the version that a rollback would make the champion. Raises ChangeRefused or
        StoreError."""
        state = self.serving.read()
        champion = serving_changes.rollback(self.with_champion(name, state.model(name))).champion
        assert champion is not None
        return state, self.find(name, champion)

    def rollback(
        self, stored: StoredVersion, *, reason: str = "", expected: int | None = None
    ) -> tuple[ServingState, ServingState]:
        """Return to the previous champion, `stored` (see `rollback_target`). Raises ServingStateError."""

        def apply(state: ModelState) -> ModelState:
            return serving_changes.rollback(self.with_champion(stored.name, state))

        return self.change("rollback", stored.name, apply, stored=stored, reason=reason, expected=expected)

    def with_champion(self, name: str, state: ModelState) -> ModelState:
        """The state itself if it has a champion or there is only one version; otherwise the state after the newest
        version replaced the previous version as the champion."""
        newest, *others = [stored.version for stored in self.versions(name)]
        if state.champion is not None or not others:
            return state
        return serving_changes.promote(state, newest, by_person=False, before=others[0])

    def delete(self, stored: StoredVersion) -> None:
        """Delete a version. Raises ChangeRefused if it has an alias."""

        def apply(state: ModelState) -> ModelState:
            after = serving_changes.forget_version(state, stored.version)
            if not self.mirror:
                store.remove(stored)
            return after

        self.change(DELETE, stored.name, apply, reason=f"deleted {stored.tag}")
        if self.mirror:
            self.mirror.delete([stored])

    def delete_model(self, name: str) -> list[StoredVersion]:
        """Delete all versions of a model, and its entry in `serving.json`. Raises StoreError if there are no
        versions."""
        found = self.versions(name)

        def apply(state: ModelState) -> ModelState:
            for stored in () if self.mirror else found:
                store.remove(stored)
            return ModelState()

        self.change(DELETE, name, apply, reason=f"deleted all versions of {name}")
        if self.mirror:
            self.mirror.delete(found)
        return found

    def prune(self, name: str, keep: int) -> list[StoredVersion]:
        """Delete all versions of a model except the newest, those with an alias, and the version to which a rollback
        returns."""
        state = self.with_champion(name, self.serving.read().model(name))
        needed = {state.champion, *state.aliases.values(), *state.history[-1:]}
        found = [stored for stored in self.versions(name)[keep:] if stored.version not in needed]
        for stored in found:
            self.delete(stored)
        if self.mirror:
            self.mirror.remote.remove_interrupted()
        return found


def actor() -> str:
    """The user and the machine that run this process, for the audit."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
