"""What the columns of a table are: numbers, true/false, dates, categories, or nothing to learn from; and why.

Each column is looked at by its distinct values, so a million rows cost little more than their reading.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as arrow
from pydantic import ValidationError
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from models.encoding.parts import stable_moments
from models.feature import HASH_BUCKETS, MAX_LISTED_LEVELS, Feature, Ignored, Kind, LevelType, Scalar, Seen
from models.schema import MISSING_TOKENS, FeatureSchema, SchemaError
from models.text import render, truncate
from training import data
from training.config import DataOptions
from training.data import Table
from training.errors import UsageError

MAX_ODD_SHARE = 0.01  # of the cells of a column that may be of another kind than the rest
NEARLY_DISTINCT = 0.9  # share of distinct values from which text tells rows apart instead of grouping them
LONG_TEXT = 40  # characters a value on average, from which half as many distinct values suffice
MIN_ROWS = 50
MAX_CLASSES = 1000
MAX_INFERRED_CLASSES = 20  # of an integer target
MIN_CLASS_ROWS = 5
LEAK_SCORE = 0.98
LEAK_SAMPLE = 4000  # rows
LEAK_COLUMNS = 500  # of a wider table a tenth of these rows is looked at, to stay within seconds
DATE_SAMPLE = 300

NUMBER = {
    ".": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    ",": re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?"),
}
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)  # a dotless i is none to float()
LEADING_ZERO = re.compile(r"[+-]?0\d+")
ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?")
IDENTIFIER_NAME = re.compile(
    r"(?i:ids?|uuid|guid|key|index|idx|row|rowid|row[ _.-]?(nr|no|num|number)|nr|no|unnamed: \d+)"
    r"|.*(?i:[ _.-](id|uuid|guid|key|index))|.*[a-z](Id|ID)"
)
DAYS = (  # where two fit alike, the first is taken
    *("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d %b %Y"),
    *("%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%y"),
    *("%Y-%m", "%Y/%m", "%b %Y", "%B %Y"),
)
TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
FORMATS = tuple(day + clock for day in (*DAYS, "%Y-%m-%d") for clock in TIMES)

Vector = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Written = Literal["untyped", "text", "number", "boolean", "moment", "other"]


class Decision(NamedTuple):
    """What became of a column and why, with what a person wants to see beside it."""

    column: str
    kind: Kind | Literal["ignored"]
    why: str
    missing: int
    distinct: int
    span: str
    example: str


@dataclass(frozen=True)
class Dataset:
    """A table made ready: what its columns are, and the n rows that have a target.

    columns: for each feature (n,): float64 with NaN (number, boolean as 0/1, date as seconds since 1970) or object, the
    level or None (category), as `FrameBuilder.from_columns` takes them. Infinities are NaN already.
    target: (n,) float64 (regression), or int64, the position in `schema.classes`.
    row_numbers: (n,) where each row stood in the table, from 0.
    split_key: (n,) what `--split` goes by: float64 times, int64 groups, object "train" "validation" "test", or None.
    """

    schema: FeatureSchema
    columns: dict[str, npt.NDArray[Any]]
    target: npt.NDArray[Any]
    row_numbers: npt.NDArray[np.intp]
    split_key: npt.NDArray[Any] | None
    notices: list[str]
    decisions: list[Decision]
    fingerprint: str
    rows_read: int
    rows_used: int


def load(options: DataOptions) -> Dataset:
    """Read and understand the table that the options name. Raises UsageError with one line when that cannot be done."""
    return understand(data.read(options), options)


def understand(table: Table, options: DataOptions) -> Dataset:
    """Decide on each column of a table by its values, the options, and an edited schema where there is one."""
    schema = _declared(options)
    target_name = _target_name(table, options, schema)
    _check_columns(table, options, schema, target_name)
    name = data.check_name(options.name or (schema.name if schema else data.model_name(options.data)))
    missing = _missing_tokens(options, schema)
    notices = list(table.notices)

    target = _target(cells_of(table, target_name, missing), options, schema)
    used = np.flatnonzero(target.usable)
    notices += target.notices
    if len(used) < MIN_ROWS:
        raise UsageError(f"{len(used)} usable rows (with a target); at least {MIN_ROWS} are needed")

    key = _split_key(table, options, missing, target_name)
    columns = [
        _Judge(cells_of(table, column, missing), options, schema).verdict()
        for column in table.names
        if column != target_name
    ]
    features = _in_order([column for column in columns if column.feature], schema)
    if not features:
        raise UsageError(f"no usable feature: {_told_ignored(columns) or 'the table holds only the target'}")
    for column in columns:
        notices += column.notices
    if ignored := _told_ignored(columns):
        notices.append(f"left out: {ignored}")
    try:
        made = FeatureSchema(
            name=name,
            task=target.task,
            target=target_name,
            classes=target.classes,
            missing=missing,
            features=[column.feature for column in features if column.feature],
            ignored=[
                Ignored(name=column.decision.column, reason=column.decision.why)
                for column in columns
                if not column.feature
            ],
        )
    except ValidationError as error:
        raise UsageError(f"{options.schema or options.data}: {error.errors()[0]['msg']}") from None
    dataset = Dataset(
        schema=made,
        columns={column.decision.column: column.values[used] for column in features},
        target=target.values[used],
        row_numbers=used,
        split_key=None if key is None else key[used],
        notices=notices,
        decisions=[column.decision for column in columns],
        fingerprint=table.fingerprint,
        rows_read=table.rows,
        rows_used=len(used),
    )
    return replace(dataset, notices=notices + leaks(dataset, np.random.default_rng(options.seed)))


# What a person said


def _declared(options: DataOptions) -> FeatureSchema | None:
    """The schema of `--schema`. Raises UsageError."""
    if options.schema is None:
        return None
    flags = {"drop": options.drop, "categorical": options.categorical, "number": options.number, "date": options.date}
    said = next((flag for flag, value in {**flags, "na": options.na}.items() if value), None)
    if said:
        raise UsageError(f"--schema says all about the columns: leave out --{said} and edit {options.schema}")
    try:
        return FeatureSchema.from_json(_without_learned(Path(options.schema).read_bytes()))
    except OSError as error:
        raise UsageError(f"--schema {options.schema} cannot be read: {error.strerror or error}") from None
    except SchemaError as error:
        raise UsageError(f"--schema {options.schema}: {error}") from None


def _without_learned(text: bytes) -> bytes:
    """An edited schema without what is learned from the table anyway, and may no longer fit an edited kind.

    A category keeps its levels, for their type.
    """
    try:
        schema = json.loads(text)
        for feature in schema["features"]:
            feature.pop("example", None)
            if feature.get("kind") != "category" or not {"levels", "type"} & set(feature.get("seen", ())):
                feature.pop("seen", None)
            else:
                feature["seen"].pop("hashed", None)
        return json.dumps(schema).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return text  # `from_json` tells what is wrong


def _target_name(table: Table, options: DataOptions, schema: FeatureSchema | None) -> str:
    if schema and options.target and options.target != schema.target:
        raise UsageError(
            f"--target {truncate(options.target)!r} is not {schema.target!r}, the target in {options.schema}"
        )
    target = options.target or (schema.target if schema else None)
    if not target:
        raise UsageError(f"say --target COLUMN, the column to predict; there are {_list(table.names)}")
    if target not in table.names:
        hint = data.did_you_mean(target, table.names) or f"; there are {_list(table.names)}"
        raise UsageError(f"the table has no column {truncate(target)!r} to predict{hint}")
    return target


def _check_columns(table: Table, options: DataOptions, schema: FeatureSchema | None, target: str) -> None:
    """Every column that is named must be there, and be named for one thing."""
    said: dict[str, str] = {}
    for flag in ("drop", "categorical", "number", "date"):
        for column in getattr(options, flag):
            if column not in table.names:
                near = data.did_you_mean(column, table.names)
                raise UsageError(f"--{flag}: the table has no column {truncate(column)!r}{near}")
            if column == target:
                raise UsageError(f"--{flag}: {column!r} is the target" + (" (see --task)" if flag != "drop" else ""))
            if said.setdefault(column, flag) != flag:
                raise UsageError(f"column {column!r} is named by --{said[column]} and by --{flag}")
    for feature in schema.features if schema else []:
        if feature.name not in table.names:
            near = data.did_you_mean(feature.name, table.names)
            raise UsageError(f"{options.schema}: the table has no column {truncate(feature.name)!r}{near}")


def _missing_tokens(options: DataOptions, schema: FeatureSchema | None) -> list[str]:
    if schema:
        return schema.missing
    return list(MISSING_TOKENS) if options.na is None else list(dict.fromkeys(("", *options.na)))


def _list(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(truncate(name)) for name in names[:limit]) + more


# Cells: one column by its distinct values


@dataclass(frozen=True)
class Cells:
    """One column, factorised: row i holds `values[codes[i]]`, or nothing where the code is -1.

    values: the distinct ones, without the missing; text where the table is untyped, else as JSON has them (moments as
    ISO 8601 text). counts: how often each stands in the table.
    """

    name: str
    codes: npt.NDArray[np.int32]  # (rows,)
    values: list[Any]
    counts: Integers
    written: Written
    decimal: str = "."
    categorical: bool = False  # the table itself says so
    type_name: str = ""

    @property
    def present(self) -> int:
        return int(self.counts.sum())

    @property
    def missing(self) -> int:
        return len(self.codes) - self.present

    def share(self, right: npt.NDArray[np.bool_]) -> float:
        """The share of the cells, missing ones aside, whose value is marked."""
        return float(self.counts[right].sum() / max(self.present, 1))

    def spread(self, values: Sequence[Any] | npt.NDArray[Any], missing: Any, dtype: Any) -> npt.NDArray[Any]:
        """(rows,): one value for each cell, from one for each distinct value."""
        table = np.empty(len(values) + 1, dtype=dtype)
        table[:-1] = values
        table[-1] = missing  # code -1
        return table[self.codes]

    def some(self, marked: npt.NDArray[np.bool_], limit: int = 3) -> str:
        """A few of the marked values, the most frequent ones, for a message."""
        where = np.flatnonzero(marked)
        where = where[np.argsort(-self.counts[where], kind="stable")][:limit]
        return ", ".join(render(self.values[index]) for index in where)


def cells_of(table: Table, name: str, missing: Sequence[str]) -> Cells:
    """Factorise one column. Blanks around the cells of a CSV are removed."""
    column = table.columns[table.names.index(name)]
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = str(column.type)
    categorical = pa.types.is_dictionary(column.type) or name in table.categorical
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    written, column = _jsonable(column, typed=table.typed)
    if written == "other":
        return Cells(name, np.full(table.rows, -1, np.int32), [], np.zeros(0, np.int64), "other", type_name=kind)
    coded = column.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    values = coded.dictionary.to_pylist()
    if written == "moment":
        values = _iso_texts(values)
    gone = _is_missing(values, written, frozenset(missing))
    if gone.any():
        new = np.where(gone, -1, np.cumsum(~gone) - 1)
        codes = np.append(new, -1)[codes]
        values = [value for value, absent in zip(values, gone.tolist(), strict=True) if not absent]
    counts = np.bincount(codes[codes >= 0], minlength=len(values)).astype(np.int64)
    return Cells(name, codes.astype(np.int32), values, counts, written, table.decimal, categorical, kind)


def _jsonable(column: Any, *, typed: bool) -> tuple[Written, Any]:
    """How a column's cells are written, and the column in a type whose values JSON has."""
    kind, is_a = column.type, pa.types
    if is_a.is_null(kind):
        return "text", column.cast(pa.string())
    if is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind):
        column = column.cast(pa.large_string())
        return ("text", column) if typed else ("untyped", arrow.utf8_trim_whitespace(column))
    if is_a.is_boolean(kind):
        return "boolean", column
    if is_a.is_integer(kind):
        return "number", column
    if is_a.is_floating(kind) or is_a.is_decimal(kind):
        return "number", column.cast(pa.float64())
    if is_a.is_timestamp(kind):
        return "moment", column.cast(pa.timestamp("us", kind.tz), safe=False)
    if is_a.is_date(kind):
        return "moment", column
    return "other", column


def _iso_texts(moments: list[Any]) -> list[str]:
    """ISO 8601, without the time where no value has one."""
    plain = all(
        not isinstance(moment, datetime) or (moment.time() == time() and moment.tzinfo is None) for moment in moments
    )
    return [(moment.date() if plain and isinstance(moment, datetime) else moment).isoformat() for moment in moments]


def _is_missing(values: list[Any], written: Written, tokens: frozenset[str]) -> npt.NDArray[np.bool_]:
    if written in ("untyped", "text"):
        return np.array([value in tokens for value in values], dtype=bool)
    if written == "number":
        return np.array([value != value for value in values], dtype=bool)  # NaN
    return np.zeros(len(values), dtype=bool)


# Readings: the distinct values as one kind


def as_numbers(cells: Cells) -> Vector:
    """(distinct,): the values as numbers, infinities included, NaN where one is no number."""
    if cells.written == "number":
        return np.array(cells.values, dtype=np.float64)
    if cells.written not in ("untyped", "text"):
        return np.full(len(cells.values), np.nan)
    return np.array([_number(value, cells.decimal) for value in cells.values], dtype=np.float64)


def _number(text: str, decimal: str) -> float:
    if NUMBER[decimal].fullmatch(text) or INFINITE.fullmatch(text):
        return float(text.replace(decimal, "."))
    return math.nan


def as_booleans(cells: Cells) -> Vector:
    """(distinct,): 1 for true, 0 for false (any case), NaN for anything else."""
    if cells.written == "boolean":
        return np.array(cells.values, dtype=np.float64)
    if cells.written != "untyped":
        return np.full(len(cells.values), np.nan)
    words = {"true": 1.0, "false": 0.0}
    return np.array([words.get(value.casefold(), math.nan) for value in cells.values], dtype=np.float64)


def as_dates(values: Sequence[str], date_format: str) -> Vector:
    """(distinct,): seconds since 1970, UTC where a value names no zone, NaN where it is no date of this format."""
    if date_format == "iso":
        parse = Feature(name="x", kind="date", nullable=False, date_format="iso").parse_date
        return np.array([_or_nan(parse, value) for value in values], dtype=np.float64)
    texts = pd.Series(list(values), dtype="str")
    moments = pd.to_datetime(texts, format=date_format, errors="coerce", utc=True)
    seconds = moments.dt.as_unit("us").astype("int64").to_numpy() / 1e6
    return np.where(moments.isna().to_numpy(), np.nan, seconds)


def _or_nan(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except (ValueError, OverflowError):
        return math.nan


class DateFormat(NamedTuple):
    """A format, and another one that fits the same values as well and means other days."""

    text: str
    rival: str | None = None


def date_format_of(cells: Cells) -> DateFormat | None:
    """The format that fits at least 99 % of the cells, or None. 03/04/2024 is decided by the other cells."""
    if cells.written not in ("untyped", "text", "moment") or not cells.values:
        return None
    step = max(1, len(cells.values) // DATE_SAMPLE)
    sample = cells.values[::step]
    if cells.written == "moment" or np.mean([bool(ISO_DATE.fullmatch(value)) for value in sample]) >= 1 - MAX_ODD_SHARE:
        return DateFormat("iso") if _fit(cells, "iso") >= 1 - MAX_ODD_SHARE else None
    possible = [form for form in FORMATS if any(_parses(value, form) for value in sample[:3])]
    possible = [
        form for form in possible if np.mean([_parses(value, form) for value in sample]) >= 1 - 2 * MAX_ODD_SHARE
    ]
    fits = {form: _fit(cells, form) for form in possible}
    best = sorted((form for form in fits if fits[form] >= 1 - MAX_ODD_SHARE), key=lambda form: -fits[form])
    if not best:
        return None
    return DateFormat(best[0], best[1] if len(best) > 1 and fits[best[0]] == fits[best[1]] else None)


def _parses(text: str, date_format: str) -> bool:
    try:
        datetime.strptime(text, date_format)
    except ValueError:
        return False
    return True


def _fit(cells: Cells, date_format: str) -> float:
    return cells.share(~np.isnan(as_dates(cells.values, date_format)))


def as_levels(cells: Cells, level_type: LevelType | None = None) -> tuple[list[Scalar], LevelType]:
    """The values as levels of one JSON type: numbers only where all are and none has leading zeros.

    Whole floats become integers.
    """
    values = cells.values
    if level_type is None:
        level_type = _level_type(cells)
    if level_type == "boolean":
        return [value if isinstance(value, bool) else value.casefold() == "true" for value in values], level_type
    if level_type == "number":
        return [_level(value, cells.decimal) for value in values], level_type
    return [value if isinstance(value, str) else str(_level(value, ".")) for value in values], level_type


def _level_type(cells: Cells) -> LevelType:
    if cells.written in ("number", "boolean"):
        return cells.written
    if cells.written != "untyped":
        return "text"
    if not np.isnan(as_booleans(cells)).any():
        return "boolean"
    padded = any(LEADING_ZERO.fullmatch(value) for value in cells.values)
    return "text" if padded or not np.isfinite(as_numbers(cells)).all() else "number"


def _level(value: Any, decimal: str) -> Scalar:
    if isinstance(value, str):
        if re.fullmatch(r"[+-]?\d+", value):
            return int(value)
        value = float(value.replace(decimal, "."))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value  # type: ignore[no-any-return]  # a bool, int or float of the table


# The target


@dataclass(frozen=True)
class _Target:
    task: Literal["regression", "binary", "multiclass"]
    classes: list[Scalar] | None
    values: npt.NDArray[Any]  # (rows,)
    usable: npt.NDArray[np.bool_]  # (rows,)
    notices: list[str]


def _target(cells: Cells, options: DataOptions, schema: FeatureSchema | None) -> _Target:
    name = cells.name
    if cells.written in ("other", "moment"):
        raise UsageError(f"target {name!r} of type {cells.type_name} can be neither a number nor a class")
    if not cells.values:
        raise UsageError(f"target {name!r} is missing in every row")
    numbers = as_numbers(cells)
    infinite = int(cells.counts[np.isinf(numbers)].sum())
    numeric = cells.written == "number" or (cells.written == "untyped" and _is_number(cells, numbers))
    if infinite and numeric:
        raise UsageError(f"target {name!r} is infinite in {infinite} rows")
    if not numeric and not (schema or options.task == "classification"):
        _check_decimal_mark(cells, numbers)
    task, why = _task(cells, numbers if numeric else None, options, schema)
    made = _regression(cells, numbers) if task == "regression" else _classification(cells, numbers, numeric, schema)
    notices = [f"target {name!r}: {made.task}, {why}", *made.notices]
    if dropped := int((~made.usable).sum()):
        notices.append(f"{dropped} rows without a target are left out")
    return replace(made, notices=notices)


def _check_decimal_mark(cells: Cells, numbers: Vector) -> None:
    """Raises UsageError where a target would be text only because of its decimal mark."""
    other = _other_mark(cells)
    swapped = as_numbers(replace(cells, decimal=other))
    reads = cells.written == "untyped" and cells.share(~np.isnan(swapped)) >= 1 - MAX_ODD_SHARE
    if reads and cells.share(~np.isnan(numbers)) < 1 - MAX_ODD_SHARE:
        raise UsageError(
            f"target {cells.name!r} holds numbers with a decimal {other!r}, e.g. {cells.some(np.isnan(numbers), 1)}: "
            f"say --decimal {other!r}; where they are names, --task classification"
        )


def _other_mark(cells: Cells) -> Literal[".", ","]:
    return "," if cells.decimal == "." else "."


def _is_number(cells: Cells, numbers: Vector) -> bool:
    padded = np.array([bool(LEADING_ZERO.fullmatch(value)) for value in cells.values], dtype=bool)
    return cells.share(~np.isnan(numbers)) >= 1 - MAX_ODD_SHARE and cells.share(padded) <= MAX_ODD_SHARE


def _task(
    cells: Cells, numbers: Vector | None, options: DataOptions, schema: FeatureSchema | None
) -> tuple[Literal["regression", "classification"], str]:
    """The kind of task and why. `numbers` is None where the target is text or true/false."""
    said = options.task or (
        None if schema is None else "regression" if schema.task == "regression" else "classification"
    )
    if said:
        if said == "regression" and numbers is None:
            raise UsageError(
                f"target {cells.name!r} cannot be a regression: it does not hold numbers, "
                f"e.g. {render(cells.values[0])}"
            )
        return ("regression" if said == "regression" else "classification"), "as said"
    if numbers is None:
        return "classification", f"as it holds {'true/false' if not np.isnan(as_booleans(cells)).any() else 'text'}"
    real = numbers[~np.isnan(numbers)]
    if (real == np.round(real)).all():
        distinct, where = np.unique(real, return_inverse=True)
        whole = "integers" if np.abs(real).max() < 2**53 else "numbers"  # above, every float is whole
        rows = np.bincount(where, weights=cells.counts[~np.isnan(numbers)].astype(float))
        if len(distinct) <= MAX_INFERRED_CLASSES and rows.min() >= MIN_CLASS_ROWS:
            return "classification", (
                f"as it holds {len(distinct)} different {whole}, each at least {int(rows.min())} times "
                f"(--task regression overrules)"
            )
        what = f"{len(distinct)} different {whole}"
    else:
        what = "numbers with decimals"
    overrules = " (--task classification overrules)" if len(real) <= MAX_CLASSES else ""
    return "regression", f"as it holds {what}{overrules}"


def _regression(cells: Cells, numbers: Vector) -> _Target:
    real = numbers[~np.isnan(numbers)]
    if not len(real):
        raise UsageError(f"target {cells.name!r} is missing in every row")
    if real.min() == real.max():
        raise UsageError(f"target {cells.name!r} is {render(float(real[0]))} in every row: there is nothing to learn")
    values = cells.spread(numbers, np.nan, np.float64)
    return _Target("regression", None, values, ~np.isnan(values), _odd_notices(cells, np.isnan(numbers), "a number"))


def _classification(cells: Cells, numbers: Vector, numeric: bool, schema: FeatureSchema | None) -> _Target:
    odd = np.isnan(numbers) if numeric else np.zeros(len(cells.values), dtype=bool)
    if numeric and cells.written == "untyped":
        labels: list[Scalar] = [
            0 if strange else _level(value, cells.decimal) for value, strange in zip(cells.values, odd, strict=True)
        ]
    else:
        labels, _ = as_levels(cells)
    classes = sorted({label for label, strange in zip(labels, odd.tolist(), strict=True) if not strange})
    if len(classes) == 1:
        raise UsageError(f"target {cells.name!r} has one class only, {render(classes[0])}: there is nothing to learn")
    if len(classes) > MAX_CLASSES:
        hint = "; for numbers say --task regression" if numeric else ""
        raise UsageError(
            f"target {cells.name!r} has {len(classes):,} classes, at most {MAX_CLASSES:,} can be learned{hint}"
        )
    if schema and schema.classes:
        if set(schema.classes) != set(classes):
            differing = sorted(map(str, set(schema.classes) ^ set(classes)))[0]
            raise UsageError(f"the classes of the schema are not those of target {cells.name!r}: {differing!r} differs")
        classes = list(schema.classes)
    position = {label: index for index, label in enumerate(classes)}
    codes = np.array([-1 if strange else position[label] for label, strange in zip(labels, odd, strict=True)])
    values = cells.spread(codes, -1, np.int64)
    task: Literal["binary", "multiclass"] = "binary" if len(classes) == 2 else "multiclass"
    return _Target(task, classes, values, values >= 0, _odd_notices(cells, odd, "a number"))


def _odd_notices(cells: Cells, odd: npt.NDArray[np.bool_], expected: str) -> list[str]:
    count = int(cells.counts[odd].sum())
    if not count:
        return []
    return [f"column {cells.name!r}: {count} cells are not {expected} and count as missing, e.g. {cells.some(odd)}"]


# The features


@dataclass(frozen=True)
class _Column:
    decision: Decision
    feature: Feature | None
    values: npt.NDArray[Any]  # (rows,)
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Judge:
    """Decides what one column is."""

    cells: Cells
    options: DataOptions
    schema: FeatureSchema | None

    @property
    def name(self) -> str:
        return self.cells.name

    @property
    def said(self) -> Feature | None:
        """What an edited schema says about this column."""
        return self.schema.by_name.get(self.name) if self.schema else None

    def verdict(self) -> _Column:
        if self.cells.written == "other" and not self.said:
            return self.ignore(f"cells of type {self.cells.type_name} cannot be used")
        if reason := self.left_out():
            return self.ignore(reason)
        if not self.cells.values:
            return self.ignore("empty")
        kind, why = self.kind_said() or self.kind_inferred()
        if kind == "ignored":
            return self.ignore(why)
        build = {"number": self.number, "boolean": self.boolean, "date": self.date, "category": self.category}
        return build[kind](why)

    def left_out(self) -> str | None:
        """Why a person wants this column left out, if one does."""
        if self.schema:
            reasons = {column.name: column.reason for column in self.schema.ignored}
            return None if self.said else reasons.get(self.name, f"not a feature in {self.options.schema}")
        if self.name in self.options.drop:
            return "dropped by --drop"
        way, column = data.split_rule(self.options.split)
        if column == self.name and way != "time" and not self.kind_said():
            return "used to split"
        if self.name.startswith("__index_level_"):
            return "the index of a pandas table"
        return "without a name" if not self.name else None

    def kind_said(self) -> tuple[Kind, str] | None:
        if self.said:
            return self.said.kind, f"as {self.options.schema} says"
        for flag, kind in _FLAGS.items():
            if self.name in getattr(self.options, flag):
                return kind, f"as --{flag} says"
        return None

    def kind_inferred(self) -> tuple[Kind | Literal["ignored"], str]:
        cells = self.cells
        numbers = as_numbers(cells)
        if np.isinf(numbers).all():
            return "ignored", "empty but for infinities" if cells.missing else "all infinite"
        if len(cells.values) == 1 and not cells.missing:
            return "ignored", "constant"
        if cells.categorical:
            return "category", "the table says it is categorical"
        if np.isfinite(numbers).any() and (
            cells.written == "number" or (cells.written == "untyped" and _is_number(cells, numbers))
        ):
            identifier = self.identifier(numbers)
            return ("ignored", identifier) if identifier else ("number", self.number_reason(numbers))
        if cells.written == "boolean" or not np.isnan(as_booleans(cells)).any():
            return "boolean", "true and false only"
        if found := date_format_of(cells):
            return "date", "dates" if found.text == "iso" else f"dates like {found.text}"
        return self.text_inferred()

    def number_reason(self, numbers: Vector) -> str:
        finite = numbers[np.isfinite(numbers)]
        return "whole numbers" if (finite == np.round(finite)).all() else "numbers"

    def identifier(self, numbers: Vector) -> str | None:
        """Why a column of numbers tells rows apart and says nothing, or None."""
        cells = self.cells
        if np.isnan(numbers).any() or (numbers != np.round(numbers)).any() or np.isinf(numbers).any():
            return None
        if not cells.missing and (np.diff(numbers[cells.codes]) == 1).all():
            return "counts the rows"
        if len(np.unique(numbers)) == cells.present and IDENTIFIER_NAME.fullmatch(self.name):
            return "different in every row"
        return None

    def text_inferred(self) -> tuple[Kind | Literal["ignored"], str]:
        cells = self.cells
        share = len(cells.values) / cells.present
        hint = self.hint()
        if share == 1:
            return "ignored", f"different in every row{hint}"
        if share >= NEARLY_DISTINCT:
            return (
                "ignored",
                f"nearly different in every row, {len(cells.values)} values in {cells.present} cells{hint}",
            )
        length = sum(map(len, cells.values[:10_000])) / min(len(cells.values), 10_000)
        if length > LONG_TEXT and share >= 0.5:
            return "ignored", f"free text, {len(cells.values)} values of {length:.0f} characters on average"
        return "category", f"text{hint}"

    def hint(self) -> str:
        """What else a column of text might be meant to be."""
        cells = self.cells
        numbers = as_numbers(cells)
        share = cells.share(~np.isnan(numbers))
        if cells.written == "text":
            return f" (numbers kept as text; --number {self.name} reads them as numbers)" if share > 0.99 else ""
        if share <= 0.5:
            other = _other_mark(cells)
            swapped = as_numbers(replace(cells, decimal=other))
            return (
                f" (numbers with a decimal {other!r}? see --decimal)" if cells.share(~np.isnan(swapped)) > 0.9 else ""
            )
        if share < 1 - MAX_ODD_SHARE:
            odd = np.isnan(numbers)
            return f" ({1 - share:.0%} of the cells are not numbers, e.g. {cells.some(odd)}; see --na, --number)"
        return ", numbers with leading zeros"

    # One method for each kind

    def ignore(self, reason: str) -> _Column:
        cells = self.cells
        example = render(cells.values[int(np.argmax(cells.counts))]) if cells.values else ""
        decision = Decision(self.name, "ignored", reason, cells.missing, len(cells.values), "", example)
        return _Column(decision, None, np.empty(0))

    def number(self, why: str) -> _Column:
        numbers = as_numbers(self.cells)
        infinite = np.isinf(numbers)
        notices = _odd_notices(self.cells, np.isnan(numbers), "a number")
        if infinite.any():
            count = int(self.cells.counts[infinite].sum())
            notices.append(f"column {self.name!r}: {count} cells are infinite and count as missing")
        numbers = np.where(infinite, np.nan, numbers)
        typical = self.typical(numbers, "a number")
        low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
        return self.numeric(
            "number",
            why,
            numbers,
            seen=Seen(min=_whole(low), max=_whole(high)),
            span=f"{low:g} to {high:g}",
            example=_whole(float(numbers[typical])),
            notices=notices,
        )

    def boolean(self, why: str) -> _Column:
        truths = as_booleans(self.cells)
        typical = self.typical(truths, "true or false")
        notices = _odd_notices(self.cells, np.isnan(truths), "true or false")
        example = bool(truths[typical])
        return self.numeric("boolean", why, truths, seen=Seen(), span="", example=example, notices=notices)

    def date(self, why: str) -> _Column:
        date_format, notices = self.date_format()
        texts = [str(value) for value in self.cells.values]
        seconds = as_dates(texts, date_format)
        typical = self.typical(seconds, f"a date ({date_format})")
        low, high = texts[int(np.nanargmin(seconds))], texts[int(np.nanargmax(seconds))]
        notices += _odd_notices(self.cells, np.isnan(seconds), f"a date ({date_format})")
        return self.numeric(
            "date",
            why,
            seconds,
            seen=Seen(min=low, max=high),
            span=f"{low} to {high}",
            example=texts[typical],
            notices=notices,
            date_format=date_format,
        )

    def date_format(self) -> tuple[str, list[str]]:
        if self.said and self.said.date_format:
            return self.said.date_format, []
        found = date_format_of(self.cells)
        if found is None:  # a person said that it is a date: take what fits at all
            texts = [str(value) for value in self.cells.values[:DATE_SAMPLE]]
            fits = {form: sum(_parses(text, form) for text in texts) for form in FORMATS}
            fits["iso"] = int((~np.isnan(as_dates(texts, "iso"))).sum())
            return max(fits, key=lambda form: (fits[form], form == "iso")), []
        if found.rival is None:
            return found.text, []
        return found.text, [
            f"column {self.name!r}: its dates fit {found.text} and {found.rival}; the first is taken "
            "(inspect --out, edit date_format, --schema overrules)"
        ]

    def typical(self, numbers: Vector, expected: str) -> int:
        """The position of the median among the distinct values. Raises UsageError where none is of the kind."""
        real = np.flatnonzero(~np.isnan(numbers))
        if not len(real):
            raise UsageError(f"column {self.name!r}: no cell is {expected}, e.g. {render(self.cells.values[0])}")
        order = real[np.argsort(numbers[real], kind="stable")]
        reached = np.cumsum(self.cells.counts[order])
        return int(order[np.searchsorted(reached, reached[-1] / 2)])

    def numeric(
        self,
        kind: Kind,
        why: str,
        numbers: Vector,
        *,
        seen: Seen,
        span: str,
        example: Scalar,
        notices: list[str],
        date_format: str | None = None,
    ) -> _Column:
        values = self.cells.spread(numbers, np.nan, np.float64)
        missing = int(np.isnan(values).sum())
        feature = self.feature(kind, nullable=missing > 0, seen=seen, example=example, date_format=date_format)
        notices = notices + self.declared_notices(feature, values, missing)
        decision = Decision(
            self.name, kind, why, missing, len(np.unique(numbers[~np.isnan(numbers)])), span, render(example)
        )
        return _Column(decision, feature, values, notices)

    def category(self, why: str) -> _Column:
        cells = self.cells
        declared = None
        if self.said and (self.said.seen.type or self.said.seen.levels):
            declared = self.said.level_type
            if declared == "number" and not np.isfinite(as_numbers(cells)).all():
                odd = cells.some(~np.isfinite(as_numbers(cells)))
                raise UsageError(f"column {self.name!r}: the schema's levels are numbers, the table holds {odd}")
        if cells.written == "number" and np.isinf(as_numbers(cells)).any():
            finite = np.isfinite(as_numbers(cells))
            cells = _without(cells, ~finite)
        levels, level_type = as_levels(cells, declared)
        example = levels[int(np.argmax(cells.counts))]
        distinct: list[Scalar] = sorted(set(levels))
        if len(distinct) > MAX_LISTED_LEVELS:
            seen = Seen(hashed=HASH_BUCKETS, count=len(distinct), type=level_type)
            span = f"{len(distinct):,} levels, hashed"
        else:
            seen = Seen(levels=distinct, count=len(distinct))
            span = ", ".join(str(level) for level in distinct[:4]) + (", …" if len(distinct) > 4 else "")
        feature = self.feature("category", nullable=cells.missing > 0, seen=seen, example=example, unseen="warn")
        values = cells.spread(_objects(levels), None, object)
        decision = Decision(self.name, "category", why, cells.missing, len(distinct), span, render(example))
        return _Column(decision, feature, values, self.declared_notices(feature, None, cells.missing))

    def feature(self, kind: Kind, **learned: Any) -> Feature:
        """The feature as the table shows it, with what a person declared on top. Raises UsageError."""
        made: dict[str, Any] = {"name": self.name, "kind": kind, **learned}
        if self.said:
            kept = ("nullable", "minimum", "maximum", "unseen")
            made |= {key: getattr(self.said, key) for key in kept if getattr(self.said, key) is not None}
            if self.said.example is not None and self.said.problem(self.said.example) is None:
                made["example"] = self.said.example
        try:
            return Feature(**made)
        except ValidationError as error:
            raise UsageError(
                f"{self.options.schema}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
            ) from None

    def declared_notices(self, feature: Feature, values: Vector | None, missing: int) -> list[str]:
        """Where the table goes beyond what a person declared."""
        notices = []
        if self.said and missing and not feature.nullable:
            notices.append(
                f"column {self.name!r}: {missing} cells are missing, requests may not leave them out (nullable)"
            )
        if values is not None and (feature.low is not None or feature.high is not None):
            low = -math.inf if feature.low is None else feature.low
            high = math.inf if feature.high is None else feature.high
            outside = int(((values < low) | (values > high)).sum())
            if outside:
                notices.append(
                    f"column {self.name!r}: {outside} cells are outside the declared limits, and learned from"
                )
        return notices


_FLAGS: dict[str, Kind] = {"categorical": "category", "number": "number", "date": "date"}


def _whole(number: float) -> int | float:
    """A number as a person would write it in JSON: without .0 where it is whole."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _without(cells: Cells, gone: npt.NDArray[np.bool_]) -> Cells:
    """The same cells, some values counted as missing."""
    new = np.append(np.where(gone, -1, np.cumsum(~gone) - 1), -1)
    values = [value for value, absent in zip(cells.values, gone.tolist(), strict=True) if not absent]
    return replace(cells, codes=new[cells.codes].astype(np.int32), values=values, counts=cells.counts[~gone])


def _objects(levels: Sequence[Scalar]) -> npt.NDArray[Any]:
    made = np.empty(len(levels), dtype=object)
    made[:] = levels
    return made


def _in_order(columns: list[_Column], schema: FeatureSchema | None) -> list[_Column]:
    """The order of the table, or of an edited schema."""
    if schema is None:
        return columns
    position = {feature.name: index for index, feature in enumerate(schema.features)}
    return sorted(columns, key=lambda column: position[column.decision.column])


def _told_ignored(columns: list[_Column]) -> str:
    by_reason: dict[str, list[str]] = {}
    for column in columns:
        if not column.feature:
            by_reason.setdefault(column.decision.why, []).append(column.decision.column)
    return "; ".join(f"{_list(names)} ({reason})" for reason, names in by_reason.items())


# The split column and leaks


def _split_key(table: Table, options: DataOptions, missing: Sequence[str], target: str) -> npt.NDArray[Any] | None:
    """(rows,): what `--split` goes by, None where it needs no column. Raises UsageError."""
    way, column = data.split_rule(options.split)
    if column is None:
        return None
    if column not in table.names:
        raise UsageError(
            f"--split: the table has no column {truncate(column)!r}{data.did_you_mean(column, table.names)}"
        )
    if column == target:
        raise UsageError(f"--split: {column!r} is the target")
    cells = cells_of(table, column, missing)
    if way == "group":
        lonely = len(cells.values) + np.arange(len(cells.codes))  # a row without a group is a group of its own
        return np.where(cells.codes < 0, lonely, cells.codes).astype(np.int64)
    return _times(cells) if way == "time" else _parts(cells)


def _times(cells: Cells) -> Vector:
    numbers = as_numbers(cells)
    if cells.share(np.isfinite(numbers)) >= 1 - MAX_ODD_SHARE and cells.values:
        return cells.spread(np.where(np.isinf(numbers), np.nan, numbers), np.nan, np.float64)
    found = date_format_of(cells)
    if found is None:
        raise UsageError(f"--split time: column {cells.name!r} holds neither dates nor numbers")
    return cells.spread(as_dates(cells.values, found.text), np.nan, np.float64)


def _parts(cells: Cells) -> npt.NDArray[Any]:
    words = {"train": "train", "training": "train", "validation": "validation", "valid": "validation"}
    words |= {"val": "validation", "dev": "validation", "test": "test", "testing": "test"}
    parts = [words.get(str(value).casefold()) for value in cells.values]
    unknown = next((value for value, part in zip(cells.values, parts, strict=True) if part is None), None)
    if unknown is not None or cells.missing:
        what = "an empty cell" if unknown is None else render(unknown)
        raise UsageError(f"--split column: {cells.name!r} must say train, validation or test in each row, not {what}")
    return cells.spread(parts, None, object)


def leaks(dataset: Dataset, rng: np.random.Generator) -> list[str]:
    """A notice for each feature that predicts the target almost perfectly by itself, judged on a sample."""
    sample = LEAK_SAMPLE if len(dataset.columns) <= LEAK_COLUMNS else LEAK_SAMPLE // 10
    rows = rng.permutation(dataset.rows_used)[:sample]
    learned, judged = np.arange(len(rows) // 2), np.arange(len(rows) // 2, len(rows))
    classes = dataset.schema.classes is not None
    target = dataset.target[rows] if classes else _scaled(dataset.target[rows])
    notices = []
    for feature in dataset.schema.features:
        column = dataset.columns[feature.name][rows]
        if feature.kind == "category":
            column = _by_level(column, target, learned, classes=classes)
        score = _alone(_scaled(column).reshape(-1, 1), target, learned, judged, classes=classes)
        if score >= LEAK_SCORE:
            measure = "balanced accuracy" if classes else "R²"
            notices.append(
                f"column {feature.name!r} alone predicts the target almost perfectly ({measure} {score:.3f}): "
                f"is it known before the target is? (--drop {feature.name})"
            )
    return notices


def _by_level(
    column: npt.NDArray[Any], target: npt.NDArray[Any], learned: npt.NDArray[np.intp], *, classes: bool
) -> Vector:
    """(n,): a category as numbers, the target's mean or commonest class at each level, NaN where not learned."""
    codes, levels = pd.factorize(pd.Series(column, dtype=object), use_na_sentinel=False)
    counts = np.bincount(codes[learned], minlength=len(levels))
    if classes:
        width = int(target.max()) + 1
        table = np.bincount(codes[learned] * width + target[learned], minlength=len(levels) * width)
        told = table.reshape(len(levels), width).argmax(axis=1).astype(np.float64)
    else:
        told = np.bincount(codes[learned], target[learned], minlength=len(levels)) / np.maximum(counts, 1)
    return np.where(counts > 0, told, np.nan)[codes]


def _scaled(column: Vector) -> Vector:
    """(n,): on the column's own scale; scikit-learn takes no number above 1e38."""
    mean, deviation = stable_moments(column[~np.isnan(column)])
    return column / deviation - mean / deviation


def _alone(
    column: npt.NDArray[Any],
    target: npt.NDArray[Any],
    learned: npt.NDArray[np.intp],
    judged: npt.NDArray[np.intp],
    *,
    classes: bool,
) -> float:
    """How well a small tree on one column, learned from one half, does on the other."""
    if np.isnan(column[learned]).all():
        return 0.0
    if not classes:
        tree = DecisionTreeRegressor(max_depth=10, random_state=0)
        score = r2_score(target[judged], tree.fit(column[learned], target[learned]).predict(column[judged]))
        return max(float(score), _straight(column[judged, 0], target[judged]))  # a tree is poor at a line's ends
    known = judged[np.isin(target[judged], target[learned])]
    classes_seen = len(np.unique(target[known]))
    if classes_seen < 2 or 2 * len(np.unique(target[learned])) > len(learned) or 2 * classes_seen > len(known):
        return 0.0  # too few rows a class to judge by
    tree = DecisionTreeClassifier(max_depth=12, min_samples_leaf=3, class_weight="balanced", random_state=0)
    predicted = tree.fit(column[learned], target[learned]).predict(column[known])
    # Only classes that stand in the judged half count: scikit-learn warns of the others.
    seen = np.isin(predicted, target[known])
    return (
        float(balanced_accuracy_score(target[known][seen], predicted[seen])) * float(seen.mean()) if seen.any() else 0.0
    )


def _straight(column: Vector, target: Vector) -> float:
    """R² of the straight line through the rows where the column is not missing, times their share."""
    there = ~np.isnan(column)
    if not there.any() or np.ptp(column[there]) == 0 or np.ptp(target[there]) == 0:
        return 0.0
    return float(np.corrcoef(column[there], target[there])[0, 1] ** 2 * there.mean())
