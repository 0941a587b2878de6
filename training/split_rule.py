"""Parses the option `--split`, and reads the key column of the split."""

import difflib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from models.text import did_you_mean, render, truncate
from training.cell_values import MAX_INVALID_FRACTION, Vector, parse_numbers
from training.cells import FactorizedColumn
from training.content_hash import Hashes, text_hash
from training.date_formats import detect_date_format, parse_dates
from training.errors import UsageError

SplitMethod = Literal["random", "hash", "time", "group", "column"]
WITHOUT_COLUMN: dict[str, SplitMethod] = {"random": "random", "hash": "hash"}
COLUMN_METHODS: dict[str, SplitMethod] = {"time": "time", "group": "group", "column": "column"}
SET_NAMES = {  # the accepted cells of a split by column
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


class SplitRule(NamedTuple):
    """The method of a split, and the column that this method needs."""

    method: SplitMethod
    column: str | None = None


def parse_split_rule(text: str | None) -> SplitRule:
    """The rule of `--split`, by default random; for large tables `splitting` chooses hash. Raises UsageError."""
    method, _, column = (text or "random").partition(":")
    if method in WITHOUT_COLUMN and not column:
        return SplitRule(WITHOUT_COLUMN[method])
    if column and method in COLUMN_METHODS:
        return SplitRule(COLUMN_METHODS[method], column)
    close = difflib.get_close_matches(method, [*WITHOUT_COLUMN, *COLUMN_METHODS], n=1)
    suggestion = f", did you mean {close[0]}{'' if close[0] in WITHOUT_COLUMN else ':COLUMN'}?" if close else ""
    raise UsageError(
        f"--split {truncate(text or '')!r} is none of random, hash, time:COLUMN, group:COLUMN, column:COLUMN"
        f"{suggestion}"
    )


def check_split_column(names: Sequence[str], rule: SplitRule, target: str) -> None:
    """Raises UsageError if the table has no such column, or if it is the target."""
    if rule.column is None:
        return
    if rule.column not in names:
        raise UsageError(
            f"--split: the table has no column {truncate(rule.column)!r}{did_you_mean(rule.column, names)}"
        )
    if rule.column == target:
        raise UsageError(f"--split: {rule.column!r} is the target")


def read_split_key(column: FactorizedColumn, method: SplitMethod, date_format: str | None = None) -> npt.NDArray[Any]:
    """(rows,): the key of the split, from its column, read in the format of its cells. Raises UsageError.

    float64 times (NaN where missing), uint64 hashes of groups, or the objects "train", "validation" and "test".
    date_format: from the flag or an edited schema.
    """
    if method == "time":
        return _times(column, date_format)
    return _groups(column) if method == "group" else _set_names(column)


def _groups(column: FactorizedColumn) -> Hashes:
    """The hash of each row's group. Each row without a group is a separate group, after all others."""
    known = [text_hash(str(value).encode("utf-8", "surrogatepass")) for value in column.values]
    own_group = np.uint64(2**64 - 1) - np.arange(len(column.codes), dtype=np.uint64)
    return np.where(column.codes < 0, own_group, np.array([*known, 0], np.uint64)[column.codes])


def _times(column: FactorizedColumn, date_format: str | None) -> Vector:
    numbers = parse_numbers(column)
    found = detect_date_format(column, date_format)
    is_declared = found is not None and found.text == date_format  # 31122023 is also a number
    if column.fraction(np.isfinite(numbers)) >= 1 - MAX_INVALID_FRACTION and column.values and not is_declared:
        return column.broadcast(np.where(np.isinf(numbers), np.nan, numbers), np.nan, np.float64)
    if found is None:
        raise UsageError(f"--split time: column {column.name!r} contains neither dates nor numbers")
    return column.broadcast(parse_dates(column.values, found.text), np.nan, np.float64)


def _set_names(column: FactorizedColumn) -> npt.NDArray[Any]:
    names = [SET_NAMES.get(str(value).casefold()) for value in column.values]
    unknown = next((value for value, name in zip(column.values, names, strict=True) if name is None), None)
    if unknown is not None or column.missing:
        what = "an empty cell" if unknown is None else render(unknown)
        raise UsageError(f"--split column: {column.name!r} must have train, validation or test in each row, not {what}")
    return column.broadcast(names, None, object)
