"""The rules that decide the type of a column: number, boolean, date, category, or ignored; each with its reason."""

import re
from typing import Literal, NamedTuple

import numpy as np

from models.feature import Kind
from models.schema import FeatureSchema
from models.text import render
from models.text_score import MAX_CHARACTERS
from training.cell_values import (
    MAX_INVALID_FRACTION,
    Vector,
    is_numeric_column,
    parse_booleans,
    parse_numbers,
    swap_decimal,
)
from training.cells import FactorizedColumn
from training.column_options import TYPE_FLAGS
from training.config import DataOptions
from training.date_formats import detect_date_format
from training.number_notation import unit_kind
from training.split_rule import parse_split_rule

NEARLY_DISTINCT = 0.9  # text with this fraction of distinct values identifies rows instead of grouping them
LONG_TEXT = 40  # average length from which the fraction LONG_TEXT_DISTINCT is sufficient
LONG_TEXT_DISTINCT = 0.5
LENGTH_SAMPLE = 10_000
WORD = re.compile(
    r"[^\W\d_]{2,}|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)  # a single Chinese, Japanese or Korean character
MIN_WORDS, MIN_WORDY_FRACTION = 2, 0.5  # free text has at least this many words in this fraction of its values
TRIED_TEXT = "free text: training tries it"
EPOCH_SECONDS = 946_684_800, 2_051_222_400  # 2000 to 2034
COMPACT_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
MANY_VALUES = 50  # with more distinct texts, unrecognised numbers or dates are more likely than levels
UNREAD = (
    (
        re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d).*\d|\d:\d\d"),
        "dates or times in an unknown format; see --date-format",
    ),
    (re.compile(r"^[^\w]{0,3}\d[\d.,]*\W{0,2}[^\W\d]{0,4}\W{0,2}$"), "numbers with other text"),
    (re.compile(r"^[\d\W]*\d[\d\W]*$"), "digits and signs that are not read as numbers"),
)
FIRST_YEAR, LAST_YEAR = 1500, 2100  # consecutive integers in this range are years, not row numbers
IDENTIFIER_NAME = re.compile(
    r"(?i:ids?|identifier|uuid|guid|key|index|idx|row|rowid|row[ _.-]?(nr|no|num|number)|nr|no|unnamed: \d+)"
    r"|.*(?i:[ _.-](id|uuid|guid|key|index))|.*[a-z](Id|ID)"
)


class ColumnType(NamedTuple):
    """The type of a column, and the reason for it."""

    type: Kind | Literal["ignored"]
    reason: str
    candidate: bool = False  # whether training tries the column and uses it only if it lowers the validation loss


def decide_type(column: FactorizedColumn, options: DataOptions, schema: FeatureSchema | None) -> ColumnType:
    """Decide the type of a column from the edited schema and the flags, otherwise from its values."""
    in_schema = schema is not None and column.name in schema.by_name
    if column.cell_type == "other" and not in_schema:
        return ColumnType("ignored", f"cells of type {column.arrow_type} cannot be used")
    if reason := _exclusion_reason(column.name, options, schema):
        return ColumnType("ignored", reason)
    if not column.values:
        return ColumnType("ignored", "empty")
    found = _requested_type(column.name, options, schema) or infer_type(column, options.date_format)
    if schema and not in_schema and found.type not in ("ignored", "text"):
        return ColumnType("ignored", f"not a feature in {options.schema}, and no free text")
    return found


def _exclusion_reason(name: str, options: DataOptions, schema: FeatureSchema | None) -> str | None:
    """Why the options exclude this column regardless of its values, or None."""
    if schema:
        reasons = {column.name: column.reason for column in schema.ignored}
        if name in schema.by_name or reasons.get(name) == TRIED_TEXT:
            return None
        return reasons.get(name, f"not a feature in {options.schema}")
    if name in options.drop:
        return "dropped by --drop"
    rule = parse_split_rule(options.split)
    if rule.column == name and rule.method != "time" and not _requested_type(name, options, schema):
        return "used to split"
    if name.startswith("__index_level_"):
        return "the index of a pandas table"
    return "without a name" if not name else None


def _requested_type(name: str, options: DataOptions, schema: FeatureSchema | None) -> ColumnType | None:
    if schema and name in schema.by_name:
        return ColumnType(schema.by_name[name].kind, f"set in {options.schema}")
    flag = next((flag for flag in TYPE_FLAGS if name in getattr(options, flag)), None)
    return ColumnType(TYPE_FLAGS[flag], f"set by --{flag}") if flag else None


def infer_type(column: FactorizedColumn, date_format: str | None = None) -> ColumnType:
    """Decide the type from the values only; there must be at least one value. date_format: the value of
    `--date-format`."""
    numbers = parse_numbers(column)
    if np.isinf(numbers).all():
        return ColumnType("ignored", "empty except for infinities" if column.missing else "all infinite")
    if len(column.values) == 1 and not column.missing:
        return ColumnType("ignored", "constant")
    if column.categorical:
        return ColumnType("category", "categorical in the table")
    if np.isfinite(numbers).any() and is_numeric_column(column, numbers):
        return _numeric_type(column, numbers)
    if column.cell_type == "boolean" or not np.isnan(parse_booleans(column)).any():
        words = [*column.cells.true, *column.cells.false] or ["true", "false"]
        return ColumnType("boolean", f"{' and '.join(words)} only")
    if found := detect_date_format(column, date_format):
        return ColumnType("date", "dates" if found.text == "iso" else f"dates like {found.text}")
    return _text_type(column)


def _numeric_type(column: FactorizedColumn, numbers: Vector) -> ColumnType:
    """The type of a column of numbers: a number, unless the column only identifies the rows."""
    finite = numbers[np.isfinite(numbers)]
    whole = bool((finite == np.round(finite)).all())
    if whole and len(finite) == len(numbers):
        are_years = finite.min() >= FIRST_YEAR and finite.max() <= LAST_YEAR
        if not column.missing and (np.diff(numbers[column.codes]) == 1).all() and not are_years:
            return ColumnType("ignored", "counts the rows")
        if len(np.unique(numbers)) == column.present and IDENTIFIER_NAME.fullmatch(column.name):
            return ColumnType("ignored", "different in every row")
    hint = _date_hint(column, finite) if whole else ""
    return ColumnType("number", ("whole numbers" if whole else "numbers") + hint)


def _date_hint(column: FactorizedColumn, numbers: Vector) -> str:
    """A hint if all numbers could be dates of this century."""
    if all(map(COMPACT_DATE.fullmatch, map(str, column.values))):
        return f" (dates like {column.values[0]}? --date {column.name} reads them as dates)"
    low, high = EPOCH_SECONDS
    for unit, factor in (("seconds", 1), ("milliseconds", 1000)):
        if numbers.min() >= low * factor and numbers.max() <= high * factor:
            return f" ({unit} since 1970? --date {column.name} reads them as dates)"
    return ""


def _text_type(column: FactorizedColumn) -> ColumnType:
    """The type of a column of text: a category, unless nearly every cell is different."""
    share = len(column.values) / column.present
    hint = _text_hint(column) or (_unknown_format_hint(column) if len(column.values) > MANY_VALUES else "")
    if is_free_text(column, share):
        return ColumnType("text", TRIED_TEXT, candidate=True)
    if share == 1:
        return ColumnType("ignored", f"different in every row{hint}")
    if share >= NEARLY_DISTINCT:
        counts = f"{len(column.values)} values in {column.present} cells"
        return ColumnType("ignored", f"different in nearly every row, {counts}{hint}")
    if share >= LONG_TEXT_DISTINCT and (length := mean_length(column)) > LONG_TEXT:
        return ColumnType("ignored", f"{len(column.values)} values of {length:.0f} characters on average{hint}")
    return ColumnType("category", f"text{hint}")


def is_free_text(column: FactorizedColumn, share: float) -> bool:
    """Whether the values are texts of several words. share: distinct values / cells."""
    sample = column.values[:LENGTH_SAMPLE]
    if share < LONG_TEXT_DISTINCT or max(map(len, column.values)) > MAX_CHARACTERS:
        return False
    if share < NEARLY_DISTINCT and mean_length(column) <= LONG_TEXT:
        return False
    return sum(len(WORD.findall(text)) >= MIN_WORDS for text in sample) >= MIN_WORDY_FRACTION * len(sample)


def mean_length(column: FactorizedColumn) -> float:
    """The average number of characters of a value."""
    sample = column.values[:LENGTH_SAMPLE]
    return sum(map(len, sample)) / len(sample)


def _text_hint(column: FactorizedColumn) -> str:
    """A hint at another possible type of a text column, or an empty string."""
    numbers = parse_numbers(column)
    share = column.fraction(~np.isnan(numbers))
    if column.cell_type == "text":
        return f" (numbers kept as text; --number {column.name} reads them as numbers)" if share > 0.99 else ""
    if share <= 0.5:
        swapped = swap_decimal(column)
        reads = swapped.fraction(~np.isnan(parse_numbers(swapped))) > 0.9
        return (
            f" (numbers with a decimal {swapped.cells.decimal!r}? see --decimal)" if reads else _notation_hint(column)
        )
    if share < 1 - MAX_INVALID_FRACTION:
        examples = column.examples(np.isnan(numbers))
        return f" ({1 - share:.0%} of the cells are not numbers, e.g. {examples}; see --na, --number)"
    return ", numbers with leading zeros"


def _notation_hint(column: FactorizedColumn) -> str:
    """A hint if most cells are numbers with unknown characters around them."""
    sample = column.values[:LENGTH_SAMPLE]
    kinds = [unit_kind(text) for text in sample]
    if kinds.count("none") > 0.1 * len(sample) or "unit" not in kinds:
        return ""
    examples = ", ".join(map(render, sample[:3]))
    return f" (numbers whose units or notation differ, e.g. {examples}?)"


def _unknown_format_hint(column: FactorizedColumn) -> str:
    """A hint if nearly all cells look like dates, times or numbers in an unknown format."""
    sample = column.values[:LENGTH_SAMPLE]
    for pattern, meaning in UNREAD:
        if sum(bool(pattern.search(text)) for text in sample) >= 0.9 * len(sample):
            return f" ({meaning}, e.g. {render(sample[0])})"
    return ""
