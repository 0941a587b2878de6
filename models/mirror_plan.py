"""Selects the versions that are copied from a store to its local mirror."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.serving_state import ServingState

RECENT = 3
"""The number of newest versions of each model that are also copied, so that they can be promoted immediately."""


@dataclass(frozen=True)
class MirrorSelection:
    """The models of a server. names: None for all models. pins: versions to serve instead of those in
    `serving.json`."""

    names: Sequence[str] | None = None
    pins: Mapping[str, int] = field(default_factory=dict)

    def selects(self, name: str) -> bool:
        return self.names is None or name in self.names


@dataclass(frozen=True)
class MirrorPlan:
    """The versions to copy. needed: the served versions, and the versions to which a rollback returns. recent: other
    versions, which are copied while there is space.
    """

    needed: list[tuple[str, int]]
    recent: list[tuple[str, int]]


def plan_mirror(state: ServingState, versions: Mapping[str, Sequence[int]], selection: MirrorSelection) -> MirrorPlan:
    """The versions to copy. versions: the versions of each model in the store, newest first."""
    selected = [name for name in versions if selection.selects(name)]
    needed = [(name, number) for name in selected for number in needed_versions(name, state, versions[name], selection)]
    recent = [(name, number) for name in selected for number in versions[name][:RECENT]]
    return MirrorPlan(needed, [each for each in recent if each not in needed])


def needed_versions(name: str, state: ServingState, versions: Sequence[int], selection: MirrorSelection) -> list[int]:
    if name in selection.pins:
        return [selection.pins[name]]
    model = state.model(name)
    if not model.served:
        return []
    champion = versions[0] if model.champion is None else model.champion
    return list(dict.fromkeys([champion, *model.aliases.values(), *model.history[-1:]]))
