"""The caller of a request: its key's name, its scopes and the models that it may use."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Scope = Literal["predict", "metrics", "admin"]
"""The scope of a key: `predict` for predictions and the description of models, `metrics` for monitoring, `admin` for
changes of versions and everything that belongs to no other scope."""
Access = Literal["open", Scope]
"""What a route requires: the scope of a key, or nothing."""
SCOPES: tuple[Scope, ...] = ("predict", "metrics", "admin")


@dataclass(frozen=True, slots=True)
class Caller:
    """name: the name of the caller's key; empty without a key. models: the models that it may use; None for all."""

    name: str
    scopes: frozenset[Scope] = frozenset()
    models: frozenset[str] | None = None

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models

    def visible(self, models: Iterable[str]) -> list[str]:
        """The models that the caller may see."""
        return [model for model in models if self.may_use(model)]


EVERYBODY = Caller("", frozenset(SCOPES))
"""The sender of each request to a server without keys."""
ANYBODY = Caller("", frozenset({"predict", "metrics"}))
"""The sender of a request to a route that TABSERVE_OPEN_ROUTES opens."""
NOBODY = Caller("", models=frozenset())
"""The sender of a request without a valid key."""
