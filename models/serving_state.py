"""The content of `serving.json`: which versions are served. For a model without an entry, the newest valid version is
served."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_serializer,
    model_validator,
)

from models.aliases import AFTER_ROWS, ALIAS_PATTERN, CHAMPION
from models.schema import NAME
from models.validation_problem import first_problem

PERCENT_TOLERANCE = 1e-6

Alias = Annotated[str, StringConstraints(pattern=ALIAS_PATTERN)]
ModelName = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
VersionNumber = Annotated[int, Field(ge=1)]
Percent = Annotated[int | float, Field(ge=0, le=100, allow_inf_nan=False)]


class ServingStateError(Exception):
    """The serving state cannot be read or changed. The message contains the reason in one line."""


class InvalidServingState(ServingStateError):  # noqa: N818 - the name describes the error
    """The content of `serving.json` is invalid."""


class ChangeRefused(ServingStateError):  # noqa: N818 - the name describes the error
    """A change contradicts the state. Nothing was changed."""


class ServingDocument(BaseModel):
    """A part of `serving.json`. Immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AutomaticRollback(ServingDocument):
    """Returns all traffic to the champion if the challenger is worse, after a minimum number of challenger rows."""

    after_rows: Annotated[int, Field(ge=1)] = AFTER_ROWS
    feedback: bool = True
    """Whether the true values that clients report can end the canary. Written to the file only if false."""

    @model_serializer
    def _without_default(self) -> dict[str, Any]:
        return {"after_rows": self.after_rows} | ({} if self.feedback else {"feedback": False})


class Traffic(ServingDocument):
    """The share of requests of each alias in percent, written as `{"champion": 95, "challenger": 5}`.

    With the share 0 a version is loaded but receives no requests. An alias `rollback` cannot have a share, because this
    name is another field in the file.
    """

    shares: dict[Alias, Percent]
    rollback: AutomaticRollback | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or isinstance(value.get("shares"), Mapping):
            return value
        flat = {"shares": {alias: share for alias, share in value.items() if alias != "rollback"}}
        return flat | ({"rollback": value["rollback"]} if value.get("rollback") is not None else {})

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if "rollback" in self.shares:
            raise ValueError("the alias 'rollback' cannot have a share; choose another name")
        if CHAMPION not in self.shares:
            raise ValueError("the share of the champion is missing")
        total = sum(self.shares.values())
        if abs(total - 100) > PERCENT_TOLERANCE:
            raise ValueError(f"the shares add up to {total:g}, expected 100")
        return self

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        rollback = {} if self.rollback is None else {"rollback": self.rollback.model_dump()}
        return {**self.shares, **rollback}


class Shadow(ServingDocument):
    """A second version also predicts a share of the rows. Its predictions are compared but never returned."""

    alias: Alias
    share: Annotated[int | float, Field(gt=0, le=1, allow_inf_nan=False)]


class ModelState(ServingDocument):
    """The served versions of one model."""

    champion: VersionNumber | None = None
    """The champion; None for the newest valid version."""
    history: tuple[VersionNumber, ...] = ()
    """Earlier champions; a rollback returns to the last of them."""
    rolled_back: VersionNumber | None = None
    """The champion that the last rollback replaced, until the next promotion."""
    chosen_by_person: bool = False
    """Whether a person chose the champion. A training run then replaces it only with --promote."""
    aliases: dict[Alias, VersionNumber] = {}
    """All aliases except `champion`."""
    traffic: Traffic | None = None
    """The shares of the requests; None if the champion receives all of them."""
    shadow: Shadow | None = None
    served: bool = True

    @model_validator(mode="before")
    @classmethod
    def _history_from_json(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(history := value.get("history"), list):
            return {**value, "history": tuple(history)}
        return value

    @model_validator(mode="after")
    def _check_aliases(self) -> Self:
        if CHAMPION in self.aliases:
            raise ValueError("aliases: the champion is written as the field `champion`")
        for alias in self.traffic.shares if self.traffic else ():
            if alias != CHAMPION and alias not in self.aliases:
                raise ValueError(f"traffic: there is no alias {alias!r}")
        if self.shadow and self.shadow.alias not in self.aliases:
            raise ValueError(f"shadow: there is no alias {self.shadow.alias!r} besides the champion")
        return self

    def aliases_of(self, version: int) -> list[str]:
        """The aliases of a version, `champion` first."""
        champion = [CHAMPION] if version == self.champion else []
        return champion + [alias for alias, number in self.aliases.items() if number == version]


class ServingState(ServingDocument):
    """The content of `serving.json`. `generation` increases with each change."""

    format: Literal[1] = 1
    generation: Annotated[int, Field(ge=0)] = 0
    models: dict[ModelName, ModelState] = {}

    def model(self, name: str) -> ModelState:
        """The state of a model; the default state if the file has none."""
        return self.models.get(name, ModelState())

    def with_model(self, name: str, model: ModelState, generation: int) -> "ServingState":
        """The same state with a new state of one model. A default state is not stored."""
        others = {other: state for other, state in self.models.items() if other != name}
        return ServingState(generation=generation, models=others if model == ModelState() else {**others, name: model})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse `serving.json`. Raises InvalidServingState with the place of the first error."""
        try:
            return cls.model_validate(json.loads(text))
        except ValidationError as error:
            raise InvalidServingState(first_problem(error)) from error
        except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
            raise InvalidServingState(f"not JSON: {' '.join(str(error).split())}") from error

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
