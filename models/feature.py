"""One column of a table: its type, its declared limits, its values in training, and the rules for a value."""

import math
import zlib
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StringConstraints, model_validator

from models.cell_format import NUMBER, PLAIN, CellFormat
from models.date_parsing import describe_format, parse_date
from models.normal_form import normal_form
from models.text import render
from models.text_score import MAX_CHARACTERS, TextScore
from models.visible_text import visible_text

MAX_LISTED_LEVELS = 10_000  # a category with more levels is hashed
HASH_BUCKETS = 4096
UNSEEN = -1  # the code of an unseen level
MISSING = -2  # the code of a missing category
Kind = Literal["number", "boolean", "category", "date", "text"]
LevelType = Literal["text", "number", "boolean"]
Scalar = str | bool | int | float
End = StrictInt | StrictFloat | str | None  # one end of a range; a boolean is not a number here


class TrainingRange(BaseModel):
    """The values of a column in training: a range, or the levels. Other values get a warning, never an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    min: End = None
    max: End = None
    levels: list[bool | int | float | str] | None = None
    count: int | None = None
    type: LevelType | None = None
    hashed: int | None = Field(
        default=None, ge=1, description="number of buckets, when there are too many levels to list"
    )


class Feature(BaseModel):
    """One column that the model uses."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    name: Annotated[str, StringConstraints(min_length=1)]
    kind: Kind
    nullable: bool
    minimum: End = None
    maximum: End = None
    unseen: Literal["warn", "error"] | None = None
    date_format: str | None = None
    cells: CellFormat = PLAIN
    seen: TrainingRange = TrainingRange()
    example: bool | int | float | str | None = None
    score: TextScore | None = None  # the score of free text; None only in edited schemas

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        ends = {"minimum": self.minimum, "maximum": self.maximum, "seen.min": self.seen.min, "seen.max": self.seen.max}
        for end, value in ends.items():
            if value is None:
                continue
            if self.kind == "number" and (isinstance(value, str) or not math.isfinite(as_float(value))):
                raise ValueError(f"feature {self.name!r}: {end} {render(value)} is not a number")
            if self.kind == "date" and self.to_number(value) is None:
                raise ValueError(f"feature {self.name!r}: {end} {render(value)} is not {self._expected_date}")
            if self.kind in ("boolean", "category", "text"):
                raise ValueError(f"feature {self.name!r}: a {self.kind} has no {end}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"feature {self.name!r}: minimum {self.minimum} is above maximum {self.maximum}")
        if self.unseen is not None and self.kind != "category":
            raise ValueError(f"feature {self.name!r}: 'unseen' is for categories, but this is a {self.kind}")
        if self.score is not None and self.kind != "text":
            raise ValueError(f"feature {self.name!r}: 'score' is for text, but this is a {self.kind}")
        if self.unseen == "error" and self.seen.hashed:
            raise ValueError(f"feature {self.name!r}: its levels are hashed, so unseen levels cannot be refused")
        return self

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        levels = self.seen.levels or []
        invalid = next((level for level in levels if level_type_of(level) != self.level_type), None)
        if invalid is not None:
            raise ValueError(
                f"feature {self.name!r}: its levels have the type {self.level_type}, but {render(invalid)} does not"
            )
        if len(self.positions) < len(levels):
            repeated = next(level for position, level in enumerate(levels) if self.positions[level] != position)
            raise ValueError(f"feature {self.name!r}: the level {render(repeated)} is listed twice")
        return self

    def _limit(self, value: float | str | None) -> float | None:
        if value is None:
            return None
        return self.to_number(value) if self.kind == "date" else as_float(value)

    @cached_property
    def low(self) -> float | None:
        """The declared minimum as a number (dates: seconds since 1970)."""
        return self._limit(self.minimum)

    @cached_property
    def high(self) -> float | None:
        """The declared maximum as a number (dates: seconds since 1970)."""
        return self._limit(self.maximum)

    @cached_property
    def seen_range(self) -> tuple[float, float]:
        """The range of values without a warning. It has no upper end for dates, because dates after training are
        normal."""
        if self.kind not in ("number", "date") or self.seen.min is None or self.seen.max is None:
            return -math.inf, math.inf
        low, high = self._limit(self.seen.min), self._limit(self.seen.max)
        assert low is not None
        assert high is not None
        return low, math.inf if self.kind == "date" else high

    @cached_property
    def level_type(self) -> LevelType:
        """The JSON type of a category's levels."""
        if self.seen.type is not None:
            return self.seen.type
        return level_type_of(self.seen.levels[0]) if self.seen.levels else "text"

    @cached_property
    def positions(self) -> dict[Scalar, int]:
        """The code of each listed level. 1 and 1.0 are the same level, since equal numbers have equal hashes."""
        return {level: code for code, level in enumerate(self.seen.levels or ())}

    @property
    def levels(self) -> int:
        """The number of codes: listed levels, or buckets."""
        return self.seen.hashed or len(self.seen.levels or ())

    def code(self, level: Scalar | None) -> int:
        """The code of a level: its position, its bucket, `UNSEEN` or `MISSING`."""
        if level is None:
            return MISSING
        if level not in self.positions:
            level = self.normal_level(level)
        if self.seen.hashed:
            return bucket(level, self.seen.hashed)
        return self.positions.get(level, UNSEEN)

    def normal_level(self, level: Scalar) -> Scalar:
        """A level as training reads it: without surrounding blanks if they were removed, without invisible characters,
        in the normal form if one is set."""
        if isinstance(level, str):
            level = level.strip() if self.cells.trimmed else level
            level = normal_form("NFC", level) if self.cells.unicode else level
            return visible_text(level) if self.cells.visible else level
        return level

    def parse_date(self, value: str | float) -> float:
        """Parse a date or time in this column's format as seconds since 1970. Raises ValueError."""
        return parse_date(value, self.date_format)

    def score_text(self, text: str) -> float:
        """The score of a text. Raises ValueError if no score was fitted."""
        if self.score is None:
            raise ValueError(f"feature {self.name!r}: the text has no fitted score")
        return self.score.score(visible_text(text) if self.cells.visible else text)

    def score_texts(self, texts: Iterable[str | None]) -> list[float]:
        """The scores of texts, NaN for a missing text."""
        return [math.nan if text is None else self.score_text(text) for text in texts]

    def to_number(self, value: object) -> float | None:
        """Convert a JSON value to its number in `Frame.numbers`: a number to a float, infinite if it is too large; a
        boolean to 0 or 1; a date to seconds since 1970; a text to its score. None if the value has another type or is
        too long a text."""
        if self.kind == "boolean":
            return float(value) if isinstance(value, bool) else None
        if self.kind == "number":
            return as_float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        if self.kind == "text":
            return self.score_text(value) if isinstance(value, str) and len(value) <= MAX_CHARACTERS else None
        try:
            dated = isinstance(value, str | int | float) and not isinstance(value, bool)
            return self.parse_date(value) if dated else None  # type: ignore[arg-type]
        except (ValueError, OverflowError):
            return None

    @property
    def _expected_date(self) -> str:
        return describe_format(self.date_format)

    def problem(self, value: object) -> tuple[str, str] | None:
        """Why a JSON value is invalid in this column, as (code, message); None if it is valid.

        This method defines the rules. Compiled validators (`models.validators`) and the validation of whole columns
        (`models.column_validation`) apply the same rules faster; tests compare them with this method.
        """
        if value is None:
            return None if self.nullable else ("null_not_allowed", "is null, and it was never missing in training")
        if self.kind == "category":
            return self._level_problem(value)
        if self.kind == "text":
            return text_problem(value)
        number = self.to_number(value)
        if self.kind == "number":
            return self._number_problem(value, number)
        if self.kind == "date":
            return self._date_problem(value, number)
        return None if number is not None else ("wrong_type", f"{render(value)} is not true or false")

    def _number_problem(self, value: object, number: float | None) -> tuple[str, str] | None:
        if number is None:
            if self._is_quoted_number(value):
                return "wrong_type", f"{render(value)} is text, not a number: send a number, in JSON without quotes"
            return "wrong_type", f"{render(value)} is not a number"
        if not math.isfinite(number):
            return "not_finite", "is not a finite number"
        return self.limit_problem(number, render(number))

    def _is_quoted_number(self, value: object) -> bool:
        return isinstance(value, str) and self.cells.plain and NUMBER["."].fullmatch(value.strip()) is not None

    def _date_problem(self, value: object, seconds: float | None) -> tuple[str, str] | None:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return "wrong_type", f"{render(value)} is not text with {self._expected_date}"
        return self.date_format_problem(value) if seconds is None else self.limit_problem(seconds, render(value))

    def date_format_problem(self, value: str | float) -> tuple[str, str]:
        hint = "" if isinstance(value, str) else ", nor a date in seconds (1973 to 2099) or milliseconds since 1970"
        return "bad_date", f"{render(value)} is not {self._expected_date}{hint}"

    @property
    def absence_problem(self) -> tuple[str, str]:
        """The problem of a row without this column, if a value is required."""
        return "missing_field", "is absent, and it was never missing in training"

    def limit_problem(self, number: float, text: str) -> tuple[str, str] | None:
        if self.low is not None and number < self.low:
            return "below_minimum", f"{text} is below {self.minimum}"
        if self.high is not None and number > self.high:
            return "above_maximum", f"{text} is above {self.maximum}"
        return None

    def _level_problem(self, value: object) -> tuple[str, str] | None:
        of_type: dict[LevelType, bool] = {
            "text": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "number": isinstance(value, int | float) and not isinstance(value, bool),
        }
        if not of_type[self.level_type]:
            if self.level_type == "number" and self._is_quoted_number(value):
                message = f"{render(value)} is text, and the levels of this category are numbers: send a number"
                return "wrong_type", f"{message}, in JSON without quotes"
            words = {"text": "text", "boolean": "true or false", "number": "a number"}
            return "wrong_type", f"{render(value)} is not {words[self.level_type]}, as the levels of this category are"
        if self.level_type == "number" and not math.isfinite(as_float(value)):
            return "not_finite", "is not a finite number"
        if self.unseen == "error" and self.code(value) == UNSEEN:  # type: ignore[arg-type]
            number = len(self.positions)
            known = "not the one level" if number == 1 else f"none of the {number} levels"
            return "unseen_level", f"{render(value)} is {known} seen in training"
        return None

    def ensure_valid(self, value: Scalar) -> Scalar:
        """The value itself. Raises ValueError if it is invalid in this column."""
        if found := self.problem(value):
            raise ValueError(found[1])
        return value


class Ignored(BaseModel):
    """A column of the table that the model does not use, and the reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    reason: str


class LevelCodes(dict[Scalar | None, int]):
    """`Feature.code` as a dictionary, which is faster than the method."""

    def __init__(self, feature: Feature, missing: Iterable[str] = ()) -> None:
        """missing: texts that mean a missing level."""
        super().__init__([*feature.positions.items(), *((text, MISSING) for text in missing), (None, MISSING)])
        cells = feature.cells
        self._normal = feature.normal_level if cells.trimmed or cells.unicode or cells.visible else None
        self._buckets = feature.seen.hashed

    def __missing__(self, level: Scalar) -> int:
        if self._normal is not None and (normal := self._normal(level)) != level:
            return self[normal]
        return bucket(level, self._buckets) if self._buckets else UNSEEN


def text_problem(value: object) -> tuple[str, str] | None:
    """Why a JSON value is not a valid text; None if it is valid."""
    if not isinstance(value, str):
        return "wrong_type", f"{render(value)} is not text"
    if len(value) > MAX_CHARACTERS:
        return "too_long", f"has {len(value):,} characters, more than {MAX_CHARACTERS:,}"
    return None


def bucket(level: Scalar, buckets: int) -> int:
    """The hash bucket of a level, the same on every machine and in every run; 1 and 1.0 have the same bucket."""
    if isinstance(level, float) and level.is_integer():
        level = int(level)
    return zlib.crc32(str(level).encode("utf-8", "surrogatepass")) % buckets


def as_float(value: Any) -> float:
    """A JSON number as a float, infinite if it is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def integer_if_exact(number: int | float) -> int | float:
    """A whole number as an integer if it is small enough that a float represents it exactly; otherwise unchanged."""
    return int(number) if abs(number) < 2**53 and number == int(number) else number


def level_type_of(level: Scalar) -> LevelType:
    return "boolean" if isinstance(level, bool) else "text" if isinstance(level, str) else "number"
