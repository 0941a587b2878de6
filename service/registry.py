"""The registry of served models: an immutable snapshot of names, versions and aliases, replaced by one assignment.

A request reads the snapshot once and resolves all names through it, so it uses one state even if the snapshot is
replaced meanwhile. A version that is no longer in the snapshot stays loaded until its last request is answered.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from models.aliases import CHAMPION
from models.serving_state import AutomaticRollback, Shadow
from models.tabular_model import TabularModel
from models.text import did_you_mean, truncate
from service.errors import NotFound, NotReady
from service.served_model import ServedModel
from service.traffic_split import TrafficSplit


def normal_version(digits: str) -> str:
    """The number of a version as text, without leading zeros."""
    return digits.lstrip("0") or "0"


def canary_id(traffic: Mapping[str, float], aliases: Mapping[str, str]) -> str:
    """The identifier of a canary, which changes with the percentage or the version."""
    return " ".join(f"{alias}:{aliases.get(alias)}={percent:g}" for alias, percent in sorted(traffic.items()))


@dataclass(frozen=True)
class ModelEntry:
    """The served versions of one model.

    aliases: maps names to versions and always has `champion`. traffic: the percentage of the requests without a version
    that each alias receives; empty if the champion receives all. rollback: the automatic rollback of the traffic; None
    without one. shadow: the alias whose version predicts copies of rows.
    """

    name: str
    versions: Mapping[str, ServedModel]
    aliases: Mapping[str, str]
    traffic: Mapping[str, float] = field(default_factory=dict)
    rollback: AutomaticRollback | None = None
    shadow: Shadow | None = None

    @property
    def champion(self) -> ServedModel:
        """The version that handles requests without a version."""
        return self.versions[self.aliases[CHAMPION]]

    @cached_property
    def split(self) -> Mapping[str, float]:
        """The percentage of the requests without a version that each version receives; empty without a split."""
        shares: dict[str, float] = {}
        for alias, percent in self.traffic.items():
            if percent and (version := self.aliases.get(alias)) is not None:
                shares[version] = shares.get(version, 0) + percent
        return shares if shares.keys() - {self.aliases[CHAMPION]} else {}

    @property
    def canary(self) -> str:
        """The identifier of the canary that may be rolled back automatically; empty without a canary."""
        return canary_id(self.traffic, self.aliases) if self.rollback and self.split else ""

    def aliases_of(self, version: str) -> list[str]:
        """The aliases of a version, `champion` first."""
        return [alias for alias, number in self.aliases.items() if number == version]

    @cached_property
    def _traffic_split(self) -> TrafficSplit:
        return TrafficSplit(self.name, self.aliases[CHAMPION], self.split)

    def version_for(self, key: bytes) -> ServedModel:
        """The version for a request without a version. key: the key of its client or row."""
        return self.versions[self._traffic_split.version(key)] if self.split else self.champion

    def find(self, version: str | None = None, alias: str | None = None) -> ServedModel:
        """The version by number or alias, by default the champion. Raises NotFound."""
        if alias is not None:
            if alias not in self.aliases:
                raise NotFound(f"model {self.name!r} has no alias {truncate(alias)!r}")
            version = self.aliases[alias]
        if not version:
            return self.champion
        served = self.versions.get(version)
        if served is None:
            versions = ", ".join(self.versions)
            raise NotFound(f"model {self.name!r} has no version {truncate(version)!r}; served versions: {versions}")
        return served


@dataclass(frozen=True)
class Snapshot:
    """The models that are served at one time. `generation` counts snapshots; `loading` contains the models that are not
    ready yet."""

    entries: Mapping[str, ModelEntry] = field(default_factory=dict)
    generation: int = 0
    loading: Mapping[str, TabularModel] = field(default_factory=dict)

    @classmethod
    def of(
        cls, models: Iterable[ServedModel], generation: int = 1, aliases: Mapping[str, str] | None = None
    ) -> "Snapshot":
        """A snapshot of these versions. aliases: the champion by model name; by default the last version."""
        versions: dict[str, dict[str, ServedModel]] = {}
        for served in models:
            versions.setdefault(served.name, {})[served.version] = served
        champions = {name: next(reversed(own)) for name, own in versions.items()} | dict(aliases or {})
        entries = {
            name: ModelEntry(name, MappingProxyType(own), MappingProxyType({CHAMPION: champions[name]}))
            for name, own in versions.items()
        }
        return cls(MappingProxyType(entries), generation)

    def entry(self, name: str) -> ModelEntry:
        """The entry of a model. Raises NotFound, or NotReady while the model is loading."""
        entry = self.entries.get(name)
        if entry is None:
            if name in self.loading:
                raise NotReady(f"model {name!r} is not loaded yet")
            hint = did_you_mean(name, self.entries) or f"; served models: {', '.join(self.entries)}"
            raise NotFound(f"there is no model {truncate(name)!r}{hint}")
        return entry

    def find(self, name: str, version: str | None = None, alias: str | None = None) -> ServedModel:
        """A version of a model, by default the champion. Raises NotFound or NotReady."""
        return self.entry(name).find(version, alias)

    @property
    def names(self) -> list[str]:
        """The names of all models, including those that are loading."""
        return [*self.entries, *self.loading]

    @property
    def champions(self) -> list[TabularModel]:
        """The champion of each model, including models that are loading."""
        return [*(entry.champion.model for entry in self.entries.values()), *self.loading.values()]

    @property
    def served(self) -> list[ServedModel]:
        """All versions of all models."""
        return [served for entry in self.entries.values() for served in entry.versions.values()]


class Registry:
    """Contains the current snapshot. Assign `snapshot` to replace it. No other object refers to served models."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
