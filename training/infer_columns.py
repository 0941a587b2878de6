"""Converts a column of the table to a feature of the schema with its values, or ignores the column."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from models.cell_format import PLAIN, CellFormat
from models.feature import HASH_BUCKETS, MAX_LISTED_LEVELS, Feature, Kind, LevelType, Scalar, TrainingRange
from models.schema import FeatureSchema
from models.text import counted, render
from models.text_score import MAX_CHARACTERS
from models.validation_problem import first_message
from training.cell_values import Vector, parse_levels, parse_numbers
from training.cells import FactorizedColumn
from training.column_types import ColumnType, decide_type
from training.config import DataOptions
from training.errors import UsageError
from training.numeric_columns import NumericColumn, read_boolean_column, read_date_column, read_number_column

DECLARED_FIELDS = ("nullable", "minimum", "maximum", "unseen")
FREQUENT_TOKEN = 0.05  # a word read as missing is reported if at least this fraction of a column's cells contains it


class ColumnDecision(NamedTuple):
    """The type of a column, the reason for it, and the other columns of the `inspect` report."""

    column: str
    type: Kind | Literal["ignored"]
    reason: str
    missing: int
    distinct: int
    value_range: str
    example: str


@dataclass(frozen=True)
class InferredColumn:
    """A column with its decision. feature: None if the column is ignored, and then `values` is empty.

    candidate: the feature of a text column that training tries, which has values.
    """

    decision: ColumnDecision
    feature: Feature | None
    values: npt.NDArray[Any]  # (rows,)
    notices: list[str] = field(default_factory=list)
    candidate: Feature | None = None

    @property
    def without_values(self) -> "InferredColumn":
        return replace(self, values=np.empty(0))


def infer_column(column: FactorizedColumn, options: DataOptions, schema: FeatureSchema | None) -> InferredColumn:
    """Decide on the type of a column and build its feature. schema: the edited schema. Raises UsageError."""
    declared = schema.by_name.get(column.name) if schema else None
    decided = decide_type(column, options, schema)
    if decided.type == "ignored":
        return _ignored_column(column, decided.reason)
    try:
        if decided.type == "text":
            return _build_text(column, decided, declared)
        if decided.type == "category":
            return _build_category(column, decided.reason, declared)
        read = _read_numeric(column, decided.type, declared, options)
        return _build_numeric(column, decided.type, decided.reason, read, declared)
    except ValidationError as error:
        raise UsageError(f"{options.schema}: {first_message(error)}") from None


def _ignored_column(column: FactorizedColumn, reason: str) -> InferredColumn:
    example = render(column.values[int(np.argmax(column.counts))]) if column.values else ""
    decision = ColumnDecision(column.name, "ignored", reason, column.missing, len(column.values), "", example)
    return InferredColumn(decision, None, np.empty(0))


def _read_numeric(
    column: FactorizedColumn, kind: Kind, declared: Feature | None, options: DataOptions
) -> NumericColumn:
    if kind == "date":
        return read_date_column(column, declared.date_format if declared else None, options.date_format)
    return read_boolean_column(column) if kind == "boolean" else read_number_column(column)


def _build_numeric(
    column: FactorizedColumn, kind: Kind, reason: str, read: NumericColumn, declared: Feature | None
) -> InferredColumn:
    values = column.broadcast(read.numbers, np.nan, np.float64)
    missing = int(np.isnan(values).sum())
    feature = _build_feature(
        column.name,
        kind,
        declared,
        nullable=missing > 0,
        seen=read.seen,
        example=read.example,
        date_format=read.date_format,
        cells=_cells_of_kind(read.cells, kind, visible=column.visible),
    )
    distinct = len(np.unique(read.numbers[~np.isnan(read.numbers)]))
    decision = ColumnDecision(column.name, kind, reason, missing, distinct, read.value_range, render(read.example))
    notices = read.notices + _nullable_notices(feature, declared, missing) + _limit_notices(feature, values)
    return InferredColumn(decision, feature, values, notices)


def _build_text(column: FactorizedColumn, decided: ColumnType, declared: Feature | None) -> InferredColumn:
    if column.cell_type not in ("untyped", "text"):  # the server would reject such values in requests
        raise UsageError(f"column {column.name!r}: its cells are of type {column.cell_type}, not text")
    texts = column.values
    longest = max(map(len, texts))
    if longest > MAX_CHARACTERS:
        raise UsageError(f"column {column.name!r}: a text has {longest:,} characters, more than {MAX_CHARACTERS:,}")
    example = texts[int(np.argmax(column.counts))]
    feature = _build_feature(
        column.name,
        "text",
        declared,
        nullable=column.missing > 0,
        example=example,
        cells=CellFormat(trimmed=column.trimmed, visible=column.visible),
    )
    values = column.broadcast(_object_array([*texts]), None, object)
    about = f"{min(map(len, texts))} to {counted(longest, 'character')}"
    decision = ColumnDecision(
        column.name, "text", decided.reason, column.missing, len(texts), about, render(example, bare=True)
    )
    if decided.candidate:
        return InferredColumn(decision, None, values, candidate=feature)
    return InferredColumn(decision, feature, values, _nullable_notices(feature, declared, column.missing))


def _build_category(column: FactorizedColumn, reason: str, declared: Feature | None) -> InferredColumn:
    level_type = _declared_level_type(column, declared)
    if column.cell_type == "number" and np.isinf(parse_numbers(column)).any():
        column = column.without(~np.isfinite(parse_numbers(column)))
    levels, level_type = parse_levels(column, level_type)
    example = levels[int(np.argmax(column.counts))]
    distinct: list[Scalar] = sorted(set(levels))
    seen, value_range = _describe_levels(distinct, level_type)
    feature = _build_feature(
        column.name,
        "category",
        declared,
        nullable=column.missing > 0,
        seen=seen,
        example=example,
        unseen="warn",
        cells=_cells_of_levels(column, distinct, level_type),
    )
    values = column.broadcast(_object_array(levels), None, object)
    decision = ColumnDecision(
        column.name, "category", reason, column.missing, len(distinct), value_range, render(example)
    )
    notices = _nullable_notices(feature, declared, column.missing) + _token_notices(column, level_type, declared)
    return InferredColumn(decision, feature, values, notices)


def _cells_of_kind(cells: CellFormat, kind: Kind, *, visible: bool) -> CellFormat:
    """The part of a cell format that concerns cells of this type. visible: whether they had invisible characters."""
    if kind == "boolean":
        cells = CellFormat(missing=cells.missing, true=cells.true, false=cells.false)
    elif kind != "number":
        cells = CellFormat(missing=cells.missing)
    return cells.model_copy(update={"visible": True}) if visible else cells


def _cells_of_levels(column: FactorizedColumn, levels: list[Scalar], level_type: LevelType) -> CellFormat:
    if level_type == "text":
        normal = not all(level.isascii() for level in levels if isinstance(level, str))
        return CellFormat(trimmed=column.trimmed, visible=column.visible, unicode="NFC" if normal else None)
    return column.cells if level_type == "number" and column.cells.reads_text else PLAIN


def _token_notices(column: FactorizedColumn, level_type: LevelType, declared: Feature | None) -> list[str]:
    """A notice if a word that counts as missing is so frequent that it may be a level."""
    if level_type != "text" or declared:
        return []
    rows = len(column.codes)
    frequent = [(word, count) for word, count in column.tokens.items() if word and count >= FREQUENT_TOKEN * rows]
    return [_frequent_token_notice(column.name, word, count, count / rows) for word, count in frequent]


def _frequent_token_notice(name: str, word: str, count: int, share: float) -> str:
    cells = counted(count, f"cell ({share:.0%}) is {word!r} and counts", f"cells ({share:.0%}) are {word!r} and count")
    return f"column {name!r}: {cells} as missing; if it is a level, list the missing words without it (--na '')"


def _declared_level_type(column: FactorizedColumn, declared: Feature | None) -> LevelType | None:
    """The type of the levels in the edited schema. Raises UsageError if the table has other values."""
    if not declared or not (declared.seen.type or declared.seen.levels):
        return None
    if declared.level_type == "number":
        invalid = ~np.isfinite(parse_numbers(column))
        if invalid.any():
            examples = column.examples(invalid)
            raise UsageError(f"column {column.name!r}: the schema's levels are numbers, but the table has {examples}")
    return declared.level_type


def _describe_levels(distinct: list[Scalar], level_type: LevelType) -> tuple[TrainingRange, str]:
    """The distinct levels for the schema and `inspect`: a list of them, or their number if there are too many."""
    if len(distinct) > MAX_LISTED_LEVELS:
        seen = TrainingRange(hashed=HASH_BUCKETS, count=len(distinct), type=level_type)
        return seen, f"{len(distinct):,} levels, hashed"
    first = ", ".join(str(level) for level in distinct[:4])
    return TrainingRange(levels=distinct, count=len(distinct)), first + (", …" if len(distinct) > 4 else "")


def _object_array(levels: list[Scalar]) -> npt.NDArray[Any]:
    """The levels as objects: NumPy would convert a list of several types to text."""
    array = np.empty(len(levels), dtype=object)
    array[:] = levels
    return array


def _build_feature(name: str, kind: Kind, declared: Feature | None, **inferred: Any) -> Feature:
    """The inferred feature with the values that the edited schema declares. Raises ValidationError."""
    fields: dict[str, Any] = {"name": name, "kind": kind, **inferred}
    if declared:
        overruled = {key: getattr(declared, key) for key in DECLARED_FIELDS}
        fields |= {key: value for key, value in overruled.items() if value is not None}
        if declared.example is not None and declared.problem(declared.example) is None:
            fields["example"] = declared.example
    return Feature(**fields)


def _nullable_notices(feature: Feature, declared: Feature | None, missing: int) -> list[str]:
    if not declared or not missing or feature.nullable:
        return []
    cells = counted(missing, "cell is", "cells are")
    return [f"column {feature.name!r}: {cells} missing, but requests must have a value (nullable)"]


def _limit_notices(feature: Feature, values: Vector) -> list[str]:
    """A notice if cells are outside the declared limits."""
    low = -math.inf if feature.low is None else feature.low
    high = math.inf if feature.high is None else feature.high
    outside = int(((values < low) | (values > high)).sum())
    if not outside:
        return []
    cells = counted(outside, "cell is", "cells are")
    used = "it is used" if outside == 1 else "they are used"
    return [f"column {feature.name!r}: {cells} outside the declared limits; {used} for training"]
