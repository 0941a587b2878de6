"""Rows to ask for, varied by the schema that the server gives: valid ones anywhere in the range that training saw, and
deliberately broken ones."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from models.feature import Feature
from models.schema import FeatureSchema

Row = dict[str, Any]
MISSING_SHARE = 0.05  # of the cells that may be missing
ABSENT_COLUMN = "no such column"


def valid_row(schema: FeatureSchema, examples: Sequence[Row], rng: np.random.Generator) -> Row:
    """A row that the schema accepts. Where a feature tells too little of its values, an example's is taken."""
    example = examples[int(rng.integers(len(examples)))] if examples else {}
    row: Row = {}
    for feature in schema.features:
        given = example.get(feature.name, feature.example)
        value = None if feature.nullable and rng.random() < MISSING_SHARE else value_of(feature, given, rng)
        row[feature.name] = given if value is not None and feature.problem(value) else value
    return row


def invalid_row(schema: FeatureSchema, examples: Sequence[Row], rng: np.random.Generator) -> Row:
    """A row that every schema refuses: a column that no table has, an array for a value, or a value not given."""
    row = valid_row(schema, examples, rng)
    name = schema.features[rng.integers(len(schema.features))].name
    required = [feature.name for feature in schema.features if not feature.nullable]
    way = rng.integers(3 if required else 2)
    if way == 0:
        row[ABSENT_COLUMN] = 1
    elif way == 1:
        row[name] = []
    else:
        del row[required[rng.integers(len(required))]]
    return row


def value_of(feature: Feature, given: Any, rng: np.random.Generator) -> Any:
    """A value that training may have seen; `given` where the schema does not say enough."""
    if feature.kind == "boolean":
        return bool(rng.integers(2))
    if feature.kind == "category":
        levels = feature.seen.levels
        return levels[rng.integers(len(levels))] if levels else given
    if feature.kind == "number":
        low, high = feature.seen.min, feature.seen.max
        return between(low, high, given, rng) if is_number(low) and is_number(high) else given
    if isinstance(feature.seen.min, str) and isinstance(feature.seen.max, str):
        return date_between(feature, feature.seen.min, feature.seen.max, rng)
    return given


def is_number(end: Any) -> bool:
    return isinstance(end, int | float) and math.isfinite(end)


def between(low: Any, high: Any, given: Any, rng: np.random.Generator) -> float | int:
    """Anywhere in the range; a whole number where the example is one."""
    value = float(rng.uniform(low, high))
    if isinstance(given, int) and math.ceil(low) <= math.floor(high):
        return int(min(max(round(value), math.ceil(low)), math.floor(high)))
    return float(f"{value:.6g}") if low <= float(f"{value:.6g}") <= high else value


def date_between(feature: Feature, low: str, high: str, rng: np.random.Generator) -> str:
    """A moment of the range, written as the column writes them."""
    moment = datetime.fromtimestamp(rng.uniform(feature.parse_date(low), feature.parse_date(high)), UTC)
    if feature.date_format not in (None, "iso"):
        return moment.strftime(str(feature.date_format))
    return moment.date().isoformat() if len(low) == len("2001-01-01") else moment.strftime("%Y-%m-%dT%H:%M:%S")
