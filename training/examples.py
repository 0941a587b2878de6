"""Rows to show and to test with, mixed column by column from held-out values: valid, realistic, and nobody's row."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from models.features import Feature, FeatureSchema, Scalar

Columns = dict[str, npt.NDArray[Any]]
GOLDEN_ROWS = 32


def rows(
    schema: FeatureSchema,
    columns: Columns,
    held_out: npt.NDArray[np.intp],
    rng: np.random.Generator,
    *,
    real: bool = False,
    count: int = GOLDEN_ROWS,
) -> list[dict[str, Any]]:
    """As many rows as JSON objects, the first ones without missing values where there are such. `real`: whole rows."""
    count = min(count, max(len(held_out), 1)) if real else count
    drawn = rng.choice(held_out, size=count, replace=not real)
    made: list[dict[str, Any]] = [{} for _ in range(count)]
    for feature in schema.features:
        values = columns[feature.name]
        known = held_out[[not _missing(value) for value in values[held_out]]]
        picks = drawn if real else rng.choice(held_out, size=count)
        for number, (row, pick) in enumerate(zip(made, picks, strict=True)):
            if not real and number < 3 and len(known):
                pick = rng.choice(known)
            row[feature.name] = as_json(feature, values[pick])
    return [row for row in made if not schema.check([row]).errors]


def with_examples(schema: FeatureSchema, row: dict[str, Any]) -> FeatureSchema:
    """The schema with an example for each feature, taken from a row."""
    features = [feature.model_copy(update={"example": row[feature.name]}) for feature in schema.features]
    return schema.model_copy(update={"features": features})


def as_json(feature: Feature, value: Any) -> Scalar | None:
    """A value of a column of `Dataset.columns` as a client would write it."""
    if _missing(value):
        return None
    if feature.kind == "boolean":
        return bool(value)
    if feature.kind == "date":
        return _date(feature, float(value))
    if feature.kind == "number":
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    level: Scalar = value.item() if isinstance(value, np.generic) else value
    return level


def _date(feature: Feature, seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    if feature.date_format not in (None, "iso"):
        return moment.strftime(str(feature.date_format))
    midnight = (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0)
    return moment.date().isoformat() if midnight else moment.isoformat()


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)
