"""The schema of a model's table: its columns, target and classes; read from and written to `features.json`."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from operator import getitem
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import SchemaValidator, core_schema

from models.architecture import Task
from models.feature import UNSEEN, Feature, Ignored, LevelCodes, Scalar, iso, type_of, whole_if_exact
from models.frame import FloatMatrix, Frame, Row, any_of, picker
from models.rows import MAX_LISTED_ERRORS, Checked, RowError, RowWarning, Unreadable
from models.text import nearest, render, truncate
from models.validators import LONG, LONG_COLUMN, body_validator, piece_validator

MISSING_TOKENS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")
NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


class SchemaError(ValueError):
    """A schema that contradicts itself or cannot be read; the message says where."""


class FeatureSchema(BaseModel):
    """The columns of a table as one model sees them. Immutable; `features.json` is its JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    name: Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
    task: Task
    target: str
    classes: list[bool | int | float | str] | None = None
    missing: list[str] = list(MISSING_TOKENS)
    features: Annotated[list[Feature], Field(min_length=1)]
    ignored: list[Ignored] = []

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [feature.name for feature in self.features]
        names += [column.name for column in self.ignored] + [self.target]
        twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
        if twice:
            raise ValueError(f"column {sorted(twice)[0]!r} is named twice among features, ignored and target")
        return self

    @model_validator(mode="after")
    def _classes_fit_the_task(self) -> Self:
        if (self.task == "regression") != (self.classes is None):
            raise ValueError("a classification has classes, a regression has none")
        classes = self.classes or []
        if (self.task == "binary") != (len(classes) == 2) and classes:
            raise ValueError(f"a {self.task} task does not have {len(classes)} classes")
        if len(set(classes)) < len(classes) or len({type_of(label) for label in classes}) > 1:
            raise ValueError("the classes must be distinct and of one type")
        return self

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read `features.json`. Raises SchemaError with one line that says what is wrong where."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SchemaError(_wrong_where(error, text)) from error

    def to_json(self) -> str:
        """The JSON of `features.json`, one feature a line, without what is not set."""
        whole = self.model_dump(mode="json", exclude_none=True)
        for written, feature in zip(whole["features"], self.features, strict=True):
            seen = written["seen"]
            if not written["seen"]:
                del written["seen"]
            if feature.kind == "number":
                for place, key in ((written, "minimum"), (written, "maximum"), (seen, "min"), (seen, "max")):
                    if key in place:
                        place[key] = whole_if_exact(place[key])
        lists = {key: whole.pop(key) for key in ("features", "ignored")}
        head = json.dumps(whole, ensure_ascii=False)[1:-1]
        parts = []
        for key, entries in lists.items():
            lines = ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
            parts.append(f' "{key}": [\n  {lines}]' if entries else f' "{key}": []')
        return "{" + head + ",\n" + ",\n".join(parts) + "}\n"

    @cached_property
    def numeric(self) -> list[Feature]:
        """The features of `Frame.numbers`, in order."""
        return [feature for feature in self.features if feature.kind != "category"]

    @cached_property
    def categorical(self) -> list[Feature]:
        """The features of `Frame.codes`, in order."""
        return [feature for feature in self.features if feature.kind == "category"]

    @cached_property
    def by_name(self) -> dict[str, Feature]:
        return {feature.name: feature for feature in self.features}

    @cached_property
    def accepted(self) -> frozenset[str]:
        """Columns that a row may carry although the model does not use them: of one's own table, target included."""
        return frozenset([column.name for column in self.ignored] + [self.target])

    @cached_property
    def limits(self) -> tuple[FloatMatrix, FloatMatrix, npt.NDArray[np.bool_]]:
        """(numeric features,) each: the lowest and the highest valid number, all finite ones where nothing is declared,
        and whether none at all is valid too."""
        most = np.finfo(np.float64).max
        low = [-most if feature.low is None else feature.low for feature in self.numeric]
        high = [most if feature.high is None else feature.high for feature in self.numeric]
        return np.array(low), np.array(high), np.array([feature.nullable for feature in self.numeric], dtype=bool)

    @cached_property
    def missing_tokens(self) -> frozenset[str]:
        """The cells of a CSV that count as missing."""
        return frozenset(self.missing)

    @cached_property
    def tokens_are_numbers(self) -> bool:
        """Whether a missing cell may look like a number."""
        return any(math.isfinite(number) for number in map(_float_or_nan, self.missing))

    # Checking rows

    @cached_property
    def _row_fields(self) -> core_schema.CoreSchema:
        fields = {
            feature.name: core_schema.typed_dict_field(feature.validator(), required=not feature.nullable)
            for feature in self.features
        }
        for name in self.accepted:
            fields[name] = core_schema.typed_dict_field(core_schema.any_schema(), required=False)
        return core_schema.typed_dict_schema(fields, extra_behavior="forbid")

    @cached_property
    def _rows_validator(self) -> SchemaValidator:
        return body_validator(self._row_fields)

    @cached_property
    def _all_numbers(self) -> core_schema.CoreSchema | None:
        """Twice as fast, where all there is are numbers that are never missing and have no limits. It lets absent ones
        pass, and takes no columns that the model does not use."""
        for feature in self.features:
            if feature.kind != "number" or feature.nullable or feature.low is not None or feature.high is not None:
                return None
        names = core_schema.literal_schema([feature.name for feature in self.features])
        return core_schema.dict_schema(names, self.features[0].validator(), fail_fast=True)

    @cached_property
    def _numbers_validator(self) -> SchemaValidator | None:
        return None if self._all_numbers is None else body_validator(self._all_numbers)

    @cached_property
    def _named(self) -> tuple[SchemaValidator, SchemaValidator]:
        """For a body and for a piece: whether rows hold known columns only, whatever is in them.

        To be asked first of a long text. It gives up at once, where the check itself gathers an error for each column.
        """
        names = core_schema.literal_schema([*self.by_name, *self.accepted])
        row = core_schema.dict_schema(names, core_schema.any_schema(), fail_fast=True)
        return body_validator(row), piece_validator(row)

    @cached_property
    def _piece_validators(self) -> tuple[SchemaValidator | None, SchemaValidator]:
        numbers = None if self._all_numbers is None else piece_validator(self._all_numbers)
        return numbers, piece_validator(self._row_fields)

    @cached_property
    def _row_validator(self) -> SchemaValidator:
        return SchemaValidator(self._row_fields)

    def accept_lines(self, lines: Sequence[bytes]) -> list[dict[str, Any]] | None:
        """The rows of lines that each hold one as JSON, or None where `check` must say what is wrong."""
        longest = LONG + LONG_COLUMN * len(self.features)
        if any(b"NaN" in line or b"Infinity" in line or len(line) > longest for line in lines):
            return None
        try:
            return [*map(self._row_validator.validate_json, lines)]
        except ValidationError:
            return None

    def accept_json(self, body: bytes) -> list[dict[str, Any]] | None:
        """The rows of a body `{"rows": [...]}` in one compiled pass, or None where `check` must say what is wrong."""
        return self._accept(body, self._numbers_validator, self._rows_validator, 0, "rows")

    def accept_piece(self, piece: bytes) -> list[dict[str, Any]] | None:
        """The same of `[[...]]`, which is as deep."""
        return self._accept(piece, *self._piece_validators, 1, 0)

    def _accept(
        self, text: bytes, numbers: SchemaValidator | None, rows: SchemaValidator, form: int, place: str | int
    ) -> list[dict[str, Any]] | None:
        if b"NaN" in text or b"Infinity" in text:  # an ignored column would let these pass
            return None
        accepted: list[dict[str, Any]]
        if numbers:
            try:
                accepted = numbers.validate_json(text)[place]
            except ValidationError:
                pass
            else:
                return accepted if min(map(len, accepted)) == len(self.features) else None
        try:
            if len(text) > LONG:
                self._named[form].validate_json(text)
            accepted = rows.validate_json(text)[place]
        except ValidationError:
            return None
        return accepted

    def accept_rows(self, rows: Sequence[object]) -> list[dict[str, Any]] | None:
        """The same for rows that are JSON values already."""
        most = len(self.features) + len(self.accepted)
        if any(isinstance(row, dict) and len(row) > most for row in rows):
            return None
        try:
            accepted: list[dict[str, Any]] = self._rows_validator.validate_python({"rows": rows})["rows"]
        except ValidationError:
            return None
        return accepted

    def check(self, rows: Sequence[object], *, first_row: int = 0, most: int = MAX_LISTED_ERRORS) -> Checked:
        """Check every row by the rules of the schema and tell all that is wrong, the first `most` errors in full.

        first_row: the number that errors call the first one. Of a single row at most MAX_LISTED_ERRORS are told.
        """
        checked = Checked(rows=[], count=len(rows))
        good: list[Row] = []
        valid: list[int] = []
        for number, row in enumerate(rows):
            before, told = len(checked.errors) + checked.omitted, len(checked.errors)
            for place, error in enumerate(self._row_errors(first_row + number, row)):
                if len(checked.errors) < most and place < MAX_LISTED_ERRORS:
                    checked.errors.append(error)
                else:
                    checked.omitted += 1
            unknown = self._unknown_fields(row)
            room = min(most, told + MAX_LISTED_ERRORS) - len(checked.errors)
            for name in unknown[:room]:
                checked.errors.append(self.unknown_field(first_row + number, name, self.nearest_hint(name)))
            checked.omitted += len(unknown[room:])
            if len(checked.errors) + checked.omitted == before:
                assert isinstance(row, dict)
                good.append(row)
                valid.append(number)
        checked.rows = good
        checked.valid = None if len(valid) == len(rows) else valid
        return checked

    def _row_errors(self, number: int, row: object) -> Iterable[RowError]:
        if isinstance(row, Unreadable):
            yield RowError(number, None, row.code, f"row {number}: {row.message}")
            return
        if not isinstance(row, dict):
            yield RowError(number, None, "wrong_type", f"row {number}: {render(row)} is not an object of columns")
            return
        for feature in self.features:
            if feature.name in row:
                found = feature.problem(row[feature.name])
            elif feature.nullable:
                found = None
            else:
                found = feature.absent
            if found:
                yield self.error(number, feature, *found)

    def _unknown_fields(self, row: object) -> list[str]:
        if not isinstance(row, dict):
            return []
        return [name for name in row if name not in self.by_name and name not in self.accepted]

    def error(self, number: int, feature: Feature, code: str, message: str) -> RowError:
        return RowError(number, feature.name, code, f"row {number}, feature {feature.name!r}: {message}")

    def unknown_field(self, number: int, name: str, hint: str) -> RowError:
        message = f"row {number}, field {truncate(name)!r}: the table has no such column{hint}"
        return RowError(number, truncate(name), "unknown_field", message)

    def nearest_hint(self, name: str) -> str:
        near = nearest(name, self.by_name)
        return f", did you mean {near!r}?" if near else ""

    # Rows and columns to frames

    @cached_property
    def _pick_numbers(self) -> Callable[[Row], Sequence[Any]]:
        """All numeric values of a row as numbers or None."""
        if not any(feature.kind == "date" for feature in self.numeric):
            return picker(self.numeric)
        readers = [(feature.name, feature.parse_date if feature.kind == "date" else None) for feature in self.numeric]

        def parsed(row: Row) -> list[Any]:
            get = row.get
            return [
                parse(value) if parse and (value := get(name)) is not None else get(name) for name, parse in readers
            ]

        return parsed

    @cached_property
    def _pick_levels(self) -> Callable[[Row], Sequence[Any]]:
        return picker(self.categorical)

    @cached_property
    def codes(self) -> list["LevelCodes"]:
        """For each categorical feature the code of any level."""
        return [LevelCodes(feature) for feature in self.categorical]

    def frame(self, rows: Sequence[Row]) -> Frame:
        """Checked rows as matrices."""
        numbers = np.array([*map(self._pick_numbers, rows)], dtype=np.float64)  # None becomes NaN
        if numbers.ndim != 2:  # no rows
            numbers = numbers.reshape(len(rows), len(self.numeric))
        if not self.categorical:
            return Frame(numbers, np.empty((len(rows), 0), dtype=np.int64))
        of = self.codes
        codes = [[*map(getitem, of, levels)] for levels in map(self._pick_levels, rows)]
        return Frame(numbers, np.array(codes, dtype=np.int64).reshape(len(rows), len(of)))

    def frame_of_columns(self, columns: Mapping[str, npt.NDArray[Any]]) -> Frame:
        """Whole columns as matrices.

        columns: for each feature an array of n values. Numbers, booleans (0/1) and dates (seconds since 1970): float64,
        NaN where missing. Categories: object, the level or None where missing.
        """
        rows = len(columns[self.features[0].name])
        numbers = np.empty((rows, len(self.numeric)))
        for index, feature in enumerate(self.numeric):
            numbers[:, index] = columns[feature.name]
        codes = np.empty((rows, len(self.categorical)), dtype=np.int64)
        for index, feature in enumerate(self.categorical):
            known = self.codes[index]
            codes[:, index] = [known[level] for level in columns[feature.name]]
        return Frame(numbers, codes)

    # Warnings

    @cached_property
    def only_numbers(self) -> bool:
        return all(feature.kind == "number" for feature in self.features)

    @cached_property
    def _usual_ranges(self) -> tuple[FloatMatrix, FloatMatrix]:
        """(numeric features,) each: the lowest and the highest number that is valid and within the range seen."""
        low, high, _ = self.limits
        seen_low, seen_high = self._seen_ranges
        return np.maximum(low, seen_low[0]), np.minimum(high, seen_high[0])

    def usual(self, frame: Frame) -> bool:
        """Whether no number is missing, not valid or outside the range seen, and no level is unseen. Fast where columns
        lie whole in memory."""
        numbers, codes = frame
        if not len(numbers) or (codes == UNSEEN).any():
            return False
        low, high = self._usual_ranges
        return bool((numbers.min(axis=0) >= low).all() and (numbers.max(axis=0) <= high).all())  # NaN is not

    @cached_property
    def _seen_ranges(self) -> tuple[FloatMatrix, FloatMatrix]:
        """The lowest and the highest value seen, (1, numeric features) each: with one row nothing is broadcast."""
        low, high = zip(*[feature.seen_range for feature in self.numeric], strict=True) if self.numeric else ((), ())
        return np.array([low], dtype=np.float64), np.array([high], dtype=np.float64)

    def warnings(self, frame: Frame, rows: Sequence[Row] | None = None) -> dict[int, list[RowWarning]]:
        """What is unusual in checked rows, by row number: values outside the range seen, levels never seen."""
        found: dict[int, list[RowWarning]] = {}
        low, high = self._seen_ranges
        if np.minimum(np.maximum(frame.numbers, low), high).tobytes() != frame.numbers.tobytes():
            outside = (frame.numbers < low) | (frame.numbers > high)  # NaN is neither
            for row, column in np.argwhere(outside).tolist():
                feature, value = self.numeric[column], frame.numbers[row, column]
                raw: Scalar = float(value)
                if feature.kind == "date":
                    raw = rows[row][feature.name] if rows is not None else iso(value)
                span = f"{render(feature.seen.min, bare=True)}..{render(feature.seen.max, bare=True)}"
                message = f"feature {feature.name!r}: {render(raw)} is outside {span}, the range seen in training"
                found.setdefault(row, []).append(RowWarning(feature.name, "outside_seen", message))
        if self.categorical and any_of(unseen := frame.codes == UNSEEN):
            for row, column in np.argwhere(unseen).tolist():
                feature = self.categorical[column]
                level = f"{render(rows[row][feature.name])} is a level" if rows is not None else "holds a level"
                message = f"feature {feature.name!r}: {level} never seen in training"
                found.setdefault(row, []).append(RowWarning(feature.name, "unseen_level", message))
        return found


def _wrong_where(error: ValidationError, text: str | bytes) -> str:
    """What is wrong first in a `features.json`, and where: a feature by its name, not its number."""
    found = error.errors()
    place = _without_types(found[0]["loc"])
    alternatives = [other["msg"] for other in found if _without_types(other["loc"]) == place]  # of a union
    message = " or ".join([alternatives[0], *(other.removeprefix("Input should be ") for other in alternatives[1:])])
    message = message.removeprefix("Value error, ")
    if len(place) > 1 and place[0] == "features":
        if len(place) == 2 and message.startswith("feature "):  # a validator of ours has named it
            return message
        feature = json.loads(text)["features"][place[1]]
        if isinstance(feature, dict) and isinstance(name := feature.get("name"), str) and name:
            return ": ".join([f"feature {truncate(name)!r}", *filter(None, [".".join(map(str, place[2:]))]), message])
    where = ".".join(map(str, place))
    return f"{where}: {message}" if where else message


def _without_types(place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where an error is, without the member of a union that pydantic tried."""
    return place[:-1] if place and place[-1] in ("int", "float", "str", "bool") else place


def _float_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
