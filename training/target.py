"""Reads the target column: regression or classification, its values, and the rows that have a value."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from models.architecture import Task
from models.feature import Scalar
from models.schema import FeatureSchema
from models.text import counted, render
from training.cell_values import (
    MAX_INVALID_FRACTION,
    Vector,
    has_leading_zeros,
    invalid_cell_notices,
    is_numeric_column,
    numeric_level,
    parse_booleans,
    parse_levels,
    parse_numbers,
    swap_decimal,
)
from training.cells import FactorizedColumn, Mask
from training.config import DataOptions
from training.date_formats import detect_date_format
from training.errors import UsageError

MAX_CLASSES = 1000
MAX_INFERRED_CLASSES = 20  # maximum for an integer target
MIN_CLASS_ROWS = 5

TaskOption = Literal["regression", "classification"]


@dataclass(frozen=True)
class TargetColumn:
    """The target of a table; `usable` marks the rows that have a value."""

    task: Task
    classes: list[Scalar] | None
    values: npt.NDArray[Any]  # (rows,)
    usable: Mask  # (rows,)
    notices: list[str]


def read_target(column: FactorizedColumn, options: DataOptions, schema: FeatureSchema | None) -> TargetColumn:
    """Decide on the task and read the target's values. schema: the edited schema. Raises UsageError."""
    name = column.name
    if column.cell_type == "other":
        raise UsageError(f"target {name!r} of type {column.arrow_type} can be neither a number nor a class")
    if not column.values:
        raise UsageError(f"target {name!r} is missing in every row")
    _check_not_dates(column, options)
    numbers = parse_numbers(column)
    infinite = int(column.counts[np.isinf(numbers)].sum())
    numeric = is_numeric_column(column, numbers)
    if infinite and numeric:
        raise UsageError(f"target {name!r} is infinite in {counted(infinite, 'row')}")
    if not numeric and not (schema or options.task == "classification"):
        _check_decimal_mark(column, numbers)
        _check_words_among_numbers(column, numbers)
    task, reason = _decide_task(column, numbers if numeric else None, options, schema)
    if task == "regression":
        target = _read_values(column, numbers)
    else:
        target = _read_classes(column, numbers if numeric else None, schema)
    notices = [f"target {name!r}: {target.task}, {reason}", *target.notices]
    if dropped := int((~target.usable).sum()):
        notices.append(f"{counted(dropped, 'row without a target is', 'rows without a target are')} left out")
    return replace(target, notices=notices)


def _check_not_dates(column: FactorizedColumn, options: DataOptions) -> None:
    """Raises UsageError for a target of dates. With --task classification they are classes, like text."""
    is_text = column.cell_type in ("untyped", "text")
    if (is_text and options.task == "classification") or detect_date_format(column) is None:
        return
    raise UsageError(
        f"target {column.name!r} contains dates, e.g. {render(column.values[0])}, which are neither numbers nor "
        "classes: predict a number computed from them, such as the days since another date"
        + ("; if they are names, --task classification" if is_text else "")
    )


def _check_words_among_numbers(column: FactorizedColumn, numbers: Vector) -> None:
    """Raises UsageError for words among many different numbers: they could be classes or missing values."""
    valid = ~np.isnan(numbers)
    if column.cell_type != "untyped" or has_leading_zeros(column).any():
        return
    if column.fraction(valid) > 0.5 and valid.sum() > MAX_INFERRED_CLASSES:
        example = column.examples(~valid, 1)
        raise UsageError(
            f"target {column.name!r} contains numbers, but {1 - column.fraction(valid):.0%} of its cells are not, e.g. "
            f"{column.examples(~valid)}: use --na to leave such rows out (--na {example}), or --task classification"
        )


def _check_decimal_mark(column: FactorizedColumn, numbers: Vector) -> None:
    """Raises UsageError if a target would be text only because of its decimal mark."""
    swapped = swap_decimal(column)
    reads = (
        column.cell_type == "untyped"
        and swapped.fraction(~np.isnan(parse_numbers(swapped))) >= 1 - MAX_INVALID_FRACTION
    )
    if reads and column.fraction(~np.isnan(numbers)) < 1 - MAX_INVALID_FRACTION:
        mark = swapped.cells.decimal
        raise UsageError(
            f"target {column.name!r} contains numbers with a decimal {mark!r},  "
            f"e.g. {column.examples(np.isnan(numbers), 1)}: "
            f"use --decimal {mark!r}; if they are names, --task classification"
        )


def _decide_task(
    column: FactorizedColumn, numbers: Vector | None, options: DataOptions, schema: FeatureSchema | None
) -> tuple[TaskOption, str]:
    """The task, and the reason for it. `numbers` is None if the target is text or true/false."""
    requested = options.task
    if requested is None and schema is not None:
        requested = "regression" if schema.task == "regression" else "classification"
    if requested == "regression" and numbers is None:
        raise UsageError(
            f"target {column.name!r} cannot be a regression: it does not contain numbers, "
            f"e.g. {render(column.values[0])}"
        )
    if requested:
        return requested, "as requested"
    if numbers is None:
        return (
            "classification",
            f"because it contains {'text' if np.isnan(parse_booleans(column)).any() else 'true/false'}",
        )
    return _infer_task(column, numbers)


def _infer_task(column: FactorizedColumn, numbers: Vector) -> tuple[TaskOption, str]:
    """A few different whole numbers are classes if each is frequent enough."""
    valid = ~np.isnan(numbers)
    values = numbers[valid]
    if (values != np.round(values)).any():
        what = "numbers with decimals"
    else:
        distinct, position = np.unique(values, return_inverse=True)
        whole = "integers" if np.abs(values).max() < 2**53 else "numbers"  # above this limit every float is whole
        what = f"{len(distinct)} different {whole}"
        rows = np.bincount(position, weights=column.counts[valid].astype(float))
        if len(distinct) <= MAX_INFERRED_CLASSES and rows.min() >= MIN_CLASS_ROWS:
            each = f"each at least {counted(int(rows.min()), 'time')}"
            return "classification", f"because it contains {what}, {each} (--task regression overrides)"
    overrides = " (--task classification overrides)" if len(values) <= MAX_CLASSES else ""
    return "regression", f"because it contains {what}{overrides}"


def _read_values(column: FactorizedColumn, numbers: Vector) -> TargetColumn:
    """Read the values of a regression."""
    valid = numbers[~np.isnan(numbers)]
    if not len(valid):
        raise UsageError(f"target {column.name!r} is missing in every row")
    if valid.min() == valid.max():
        raise UsageError(f"target {column.name!r} is {render(float(valid[0]))} in every row: there is nothing to learn")
    values = column.broadcast(numbers, np.nan, np.float64)
    notices = invalid_cell_notices(column, np.isnan(numbers), "a number")
    return TargetColumn("regression", None, values, ~np.isnan(values), notices)


def _read_classes(column: FactorizedColumn, numbers: Vector | None, schema: FeatureSchema | None) -> TargetColumn:
    """Read the classes as their positions. `numbers` is None if the target is text or true/false."""
    labels = _labels(column, numbers)
    classes = sorted({label for label in labels if label is not None})
    _check_classes(column.name, classes, numeric=numbers is not None)
    if schema and schema.classes:
        if set(schema.classes) != set(classes):
            differing = sorted(map(str, set(schema.classes) ^ set(classes)))[0]
            raise UsageError(
                f"the classes of the schema are not those of target {column.name!r}: {differing!r} differs"
            )
        classes = list(schema.classes)
    position = {label: index for index, label in enumerate(classes)}
    codes = np.array([-1 if label is None else position[label] for label in labels])
    values = column.broadcast(codes, -1, np.int64)
    notices = invalid_cell_notices(column, codes < 0, "a number")
    return TargetColumn("binary" if len(classes) == 2 else "multiclass", classes, values, values >= 0, notices)


def _labels(column: FactorizedColumn, numbers: Vector | None) -> list[Scalar | None]:
    """(distinct,): the classes; None for a value that is not a number in a column of numbers."""
    if numbers is None or column.cell_type != "untyped":
        return [*parse_levels(column)[0]]
    return [
        None if invalid else numeric_level(value, column.cells)
        for value, invalid in zip(column.values, np.isnan(numbers).tolist(), strict=True)
    ]


def _check_classes(name: str, classes: list[Scalar], *, numeric: bool) -> None:
    if len(classes) == 1:
        raise UsageError(f"target {name!r} has one class only, {render(classes[0])}: there is nothing to learn")
    if len(classes) > MAX_CLASSES:
        hint = "; for numbers use --task regression" if numeric else ""
        raise UsageError(f"target {name!r} has {len(classes):,} classes, at most {MAX_CLASSES:,} can be learned{hint}")
