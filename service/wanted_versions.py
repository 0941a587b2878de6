"""Decides from the settings, `serving.json` and the store which versions of which models are served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from models.aliases import CHAMPION
from models.serving_state import AutomaticRollback, ModelState, ServingState, Shadow
from models.version_files import StoredVersion

Stored = Mapping[str, Sequence[StoredVersion]]


@dataclass(frozen=True)
class Selection:
    """The decisions at the start of the server. names: the models to serve; None for all. pins: versions that are
    served regardless of `serving.json`. at_start: the champions of models without an entry when the server started,
    which replaced workers serve, too."""

    names: Sequence[str] | None = None
    pins: Mapping[str, int] = field(default_factory=dict)
    at_start: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, tags: Sequence[str], at_start: Mapping[str, int] | None = None) -> Self:
        """tags: `name` or `name:version` for each model to serve; empty for all models."""
        names = [tag.partition(":")[0] for tag in tags]
        return cls(names or None, versions_of(tags), at_start or {})

    def selects(self, name: str) -> bool:
        return self.names is None or name in self.names


@dataclass(frozen=True)
class WantedModel:
    """The versions of a model that should be served.

    candidates: the champion, and the versions that replace it at the start if it cannot be loaded, best first.
    aliases: further aliases.
    """

    name: str
    candidates: Sequence[StoredVersion]
    aliases: Mapping[str, int] = field(default_factory=dict)
    traffic: Mapping[str, float] = field(default_factory=dict)
    rollback: AutomaticRollback | None = None
    shadow: Shadow | None = None

    @property
    def champion(self) -> StoredVersion:
        return self.candidates[0]

    @property
    def versions(self) -> dict[str, int]:
        """The version of each alias."""
        return {CHAMPION: self.champion.version, **self.aliases}


def versions_of(tags: Sequence[str]) -> dict[str, int]:
    """The versions in those tags that contain a version, by model name."""
    return {name: int(version) for name, _, version in (tag.partition(":") for tag in tags) if version}


def wanted_models(state: ServingState, stored: Stored, selection: Selection) -> dict[str, WantedModel]:
    """The models to serve, by name. stored: the versions in the store by model, newest first."""
    return {
        name: wanted_model(name, state.model(name), versions, selection)
        for name, versions in sorted(stored.items())
        if selection.selects(name) and (state.model(name).served or name in selection.pins)
    }


def wanted_model(name: str, state: ModelState, versions: Sequence[StoredVersion], selection: Selection) -> WantedModel:
    if (pin := selection.pins.get(name)) is not None:
        return WantedModel(name, ordered_versions(name, [pin], versions))
    if state.champion is None:
        start = selection.at_start.get(name)
        known = [start] if start is not None and any(one.version == start for one in versions) else []
        preferred = [*known, *(one.version for one in versions)]
    else:
        preferred = [state.champion, *reversed(state.history), *(one.version for one in versions)]
    traffic = state.traffic
    return WantedModel(
        name,
        ordered_versions(name, preferred, versions),
        dict(state.aliases),
        dict(traffic.shares) if traffic else {},
        traffic.rollback if traffic else None,
        state.shadow,
    )


def ordered_versions(name: str, preferred: Sequence[int], versions: Sequence[StoredVersion]) -> list[StoredVersion]:
    """The versions in this order, each once. The first version is listed even if the store does not have it."""
    stored = {one.version: one for one in versions}
    folder = versions[0].path.parent
    first = stored.get(preferred[0]) or StoredVersion(name, preferred[0], folder / str(preferred[0]))
    return [
        first,
        *(stored[number] for number in dict.fromkeys(preferred[1:]) if number in stored and number != first.version),
    ]
