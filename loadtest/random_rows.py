"""Random rows for a schema: valid rows within the range of the training data, and rows with a deliberate error."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from models.date_parsing import format_date
from models.feature import Feature
from models.schema import FeatureSchema

Row = dict[str, Any]
MISSING_SHARE = 0.05  # fraction of missing values in columns that may have them
UNKNOWN_COLUMN = "no such column"


def valid_row(schema: FeatureSchema, examples: Sequence[Row], rng: np.random.Generator) -> Row:
    """A row that the schema accepts. A feature without a known range gets the value of an example."""
    example = examples[int(rng.integers(len(examples)))] if examples else {}
    row: Row = {}
    for feature in schema.features:
        fallback = example.get(feature.name, feature.example)
        value = None if feature.nullable and rng.random() < MISSING_SHARE else random_value(feature, fallback, rng)
        row[feature.name] = fallback if value is not None and feature.problem(value) else value
    return row


def invalid_row(schema: FeatureSchema, examples: Sequence[Row], rng: np.random.Generator) -> Row:
    """A row that every schema rejects: an unknown column, an array as a value, or a missing required value."""
    row = valid_row(schema, examples, rng)
    name = schema.features[rng.integers(len(schema.features))].name
    required = [feature.name for feature in schema.features if not feature.nullable]
    error = rng.integers(3 if required else 2)
    if error == 0:
        row[UNKNOWN_COLUMN] = 1
    elif error == 1:
        row[name] = []
    else:
        del row[required[rng.integers(len(required))]]
    return row


def random_value(feature: Feature, fallback: Any, rng: np.random.Generator) -> Any:
    """A value within the range of the training data; `fallback` if the schema has no range."""
    if feature.kind == "boolean":
        return bool(rng.integers(2))
    if feature.kind == "category":
        levels = feature.seen.levels
        return levels[rng.integers(len(levels))] if levels else fallback
    if feature.kind == "number":
        low, high = feature.seen.min, feature.seen.max
        return random_number(low, high, fallback, rng) if is_number(low) and is_number(high) else fallback
    if isinstance(feature.seen.min, str) and isinstance(feature.seen.max, str):
        return random_date(feature, feature.seen.min, feature.seen.max, rng)
    return fallback


def is_number(bound: Any) -> bool:
    return isinstance(bound, int | float) and math.isfinite(bound)


def random_number(low: Any, high: Any, example: Any, rng: np.random.Generator) -> float | int:
    """A number from low to high; a whole number if the example is a whole number."""
    value = float(rng.uniform(low, high))
    if isinstance(example, int) and math.ceil(low) <= math.floor(high):
        return int(min(max(round(value), math.ceil(low)), math.floor(high)))
    return float(f"{value:.6g}") if low <= float(f"{value:.6g}") <= high else value


def random_date(feature: Feature, low: str, high: str, rng: np.random.Generator) -> str:
    """A date from low to high, in the column's format."""
    seconds = rng.uniform(feature.parse_date(low), feature.parse_date(high))
    if feature.date_format not in (None, "iso"):
        return format_date(seconds, feature.date_format)
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.date().isoformat() if len(low) == len("2001-01-01") else moment.strftime("%Y-%m-%dT%H:%M:%S")
