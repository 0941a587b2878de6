"""Finds the version for a model argument: `housing`, `housing:3` or `housing@challenger`."""

from models.aliases import CHAMPION
from models.version_files import StoredVersion, StoreError
from models.version_lifecycle import VersionStore
from scoring.errors import UnusableRequest


def find_version(text: str, versions: VersionStore) -> StoredVersion:
    """The stored version for a model argument. A name without version or alias means the champion, or the newest
    version if there is no champion. Raises UnusableRequest."""
    name, alias, version = split_name(text)
    try:
        if version is not None:
            return versions.find(name, version)
        state = versions.serving.read().model(name)
        if alias in (None, CHAMPION):
            newest = versions.versions(name)[0].version
            return versions.find(name, newest if state.champion is None else state.champion)
        assert alias is not None
        if alias not in state.aliases:
            known = ", ".join([CHAMPION, *state.aliases])
            raise UnusableRequest(f"{name} has no alias {alias!r}; its aliases: {known}")
        return versions.find(name, state.aliases[alias])
    except StoreError as error:
        raise UnusableRequest(str(error)) from None


def split_name(text: str) -> tuple[str, str | None, int | None]:
    """Split a model argument into name, alias and version. Raises UnusableRequest."""
    name, at, alias = text.partition("@")
    name, colon, version = name.partition(":")
    if not name or (at and not alias) or (colon and not version.isdecimal()) or (at and colon):
        raise UnusableRequest(f"{text!r} is not a model such as housing, housing:3 or housing@challenger")
    return name, alias or None, int(version) if colon else None
