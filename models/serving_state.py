"""Which versions are served: the content of `serving.json`. No entry for a model: its newest good version."""

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
    """The serving state cannot be read or changed; the message is one line with the reason."""


class InvalidServingState(ServingStateError):  # noqa: N818 - the name describes the error
    """A `serving.json` that is not valid."""


class ChangeRefused(ServingStateError):  # noqa: N818 - the name describes the error
    """A change that contradicts the state: nothing was changed."""


class ServingDocument(BaseModel):
    """A part of `serving.json`. Immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AutomaticRollback(ServingDocument):
    """Returns all traffic to the champion when the challenger is worse, after this many rows of the challenger."""

    after_rows: Annotated[int, Field(ge=1)] = AFTER_ROWS
    feedback: bool = True
    """Whether the truth that clients report can end the canary. Written to the file only if false."""

    @model_serializer
    def _without_default(self) -> dict[str, Any]:
        return {"after_rows": self.after_rows} | ({} if self.feedback else {"feedback": False})


class Traffic(ServingDocument):
    """The share of requests of each alias in percent, written as `{"champion": 95, "challenger": 5}`.

    0: the version is loaded and receives no requests. An alias `rollback` has no share: in the file, this name is
    another field.
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
    def _adds_up(self) -> Self:
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
    """A share of the rows is predicted by a second version, too; its answers are compared and never returned."""

    alias: Alias
    share: Annotated[int | float, Field(gt=0, le=1, allow_inf_nan=False)]


class ModelState(ServingDocument):
    """Which versions of one model are served."""

    champion: VersionNumber | None = None
    """None: the newest good version."""
    history: tuple[VersionNumber, ...] = ()
    """Earlier champions, the last one before the present one at the end. A rollback returns to it."""
    rolled_back: VersionNumber | None = None
    """The champion that the last rollback replaced, until the next promotion."""
    chosen_by_person: bool = False
    """Whether a person chose the champion: a training run replaces it only with --promote."""
    aliases: dict[Alias, VersionNumber] = {}
    """Aliases besides `champion`."""
    traffic: Traffic | None = None
    """None: all requests to the champion."""
    shadow: Shadow | None = None
    served: bool = True

    @model_validator(mode="before")
    @classmethod
    def _history_from_json(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(history := value.get("history"), list):
            return {**value, "history": tuple(history)}
        return value

    @model_validator(mode="after")
    def _aliases_are_known(self) -> Self:
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
    """The content of `serving.json`. `generation` grows with each change."""

    format: Literal[1] = 1
    generation: Annotated[int, Field(ge=0)] = 0
    models: dict[ModelName, ModelState] = {}

    def model(self, name: str) -> ModelState:
        """The state of a model, the default state if the file has none."""
        return self.models.get(name, ModelState())

    def with_model(self, name: str, model: ModelState, generation: int) -> "ServingState":
        """This state with a new state of one model. A default state is not stored."""
        others = {other: state for other, state in self.models.items() if other != name}
        return ServingState(generation=generation, models=others if model == ModelState() else {**others, name: model})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read `serving.json`. Raises InvalidServingState with the place of the first error."""
        try:
            return cls.model_validate(json.loads(text))
        except ValidationError as error:
            raise InvalidServingState(first_problem(error)) from error
        except (ValueError, RecursionError) as error:  # no JSON, or no UTF-8
            raise InvalidServingState(f"not JSON: {' '.join(str(error).split())}") from error

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
