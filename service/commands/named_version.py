"""The version that a command names: `housing`, `housing:3` or `housing@challenger`."""

from models.aliases import CHAMPION
from models.version_files import StoredVersion, StoreError
from models.version_lifecycle import VersionStore


def find_version(tag: str, versions: VersionStore) -> StoredVersion:
    """`housing`, `housing:3` or `housing@challenger`; by default the champion. Raises StoreError."""
    name, _, number = tag.partition(":")
    if number:
        if not number.isdecimal():
            raise StoreError(f"{tag!r} is neither a model nor a version such as housing:3 or housing@challenger")
        return versions.find(name, int(number))
    name, _, alias = tag.partition("@")
    state = versions.with_champion(name, versions.serving.read().model(name))
    version = state.champion if alias in ("", CHAMPION) else state.aliases.get(alias)
    if version is None:
        if alias not in ("", CHAMPION):
            raise StoreError(f"model {name!r} has no alias {alias!r}")
        version = versions.versions(name)[0].version
    return versions.find(name, version)
