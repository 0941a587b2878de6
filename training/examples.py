"""Rows to show and to test with, mixed column by column from held-out values: valid, realistic, and nobody's row."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from models.dates import iso
from models.feature import Feature, Scalar, whole_if_exact
from models.rows import validate_rows
from models.schema import FeatureSchema
from training.errors import UsageError

Columns = dict[str, npt.NDArray[Any]]
GOLDEN_ROWS = 32
WITHOUT_GAPS = 3  # rows that are shown to people
LOOKED_AT = 10_000  # held-out values of a column, at most


def rows(
    schema: FeatureSchema,
    columns: Columns,
    held_out: npt.NDArray[np.intp],
    rng: np.random.Generator,
    *,
    real: bool = False,
    count: int = GOLDEN_ROWS,
) -> list[dict[str, Any]]:
    """Valid rows as JSON objects, the first ones without missing values where that can be.

    real: whole rows of the table, fewer where there are not so many. Raises UsageError where a person declared limits
    that no held-out value keeps.
    """
    if real:
        picks = rng.permutation(held_out)[:LOOKED_AT].tolist()
        whole = [{f.name: as_json(f, columns[f.name][pick]) for f in schema.features} for pick in picks]
        if valid := [row for row in whole if not validate_rows(schema, [row]).errors][:count]:
            return valid
        raise UsageError("--real-examples: no held-out row is valid by the limits that the schema declares")
    mixed = [_drawn(feature, columns[feature.name][held_out], rng, count) for feature in schema.features]
    names = [feature.name for feature in schema.features]
    return [dict(zip(names, values, strict=True)) for values in zip(*mixed, strict=True)]


def _drawn(feature: Feature, values: npt.NDArray[Any], rng: np.random.Generator, count: int) -> list[Scalar | None]:
    """Valid values of one column."""
    looked_at = [as_json(feature, value) for value in rng.permutation(values)[:LOOKED_AT]]
    valid = [value for value in looked_at if feature.problem(value) is None]
    if not valid:
        if not feature.nullable:
            raise UsageError(f"column {feature.name!r}: no held-out value is valid by what the schema declares")
        valid = [None]
    known = [value for value in valid if value is not None] or valid
    pools = [known if number < WITHOUT_GAPS else valid for number in range(count)]
    return [pool[rng.integers(len(pool))] for pool in pools]


def with_examples(schema: FeatureSchema, row: dict[str, Any]) -> FeatureSchema:
    """The schema with an example for each feature, taken from a row; where that holds none, as it was."""
    features = [
        feature if row[feature.name] is None else feature.model_copy(update={"example": row[feature.name]})
        for feature in schema.features
    ]
    return FeatureSchema(**schema.model_dump(exclude={"features"}), features=features)


def as_json(feature: Feature, value: Any) -> Scalar | None:
    """A value of a column of `Dataset.columns` as a client would write it."""
    if _missing(value):
        return None
    if feature.kind == "boolean":
        return bool(value)
    if feature.kind == "date":
        return _date(feature, float(value))
    if feature.kind == "number":
        return whole_if_exact(float(value))
    level: Scalar = value.item() if isinstance(value, np.generic) else value
    return level


def _date(feature: Feature, seconds: float) -> str:
    if feature.date_format in (None, "iso"):
        return iso(seconds)
    return datetime.fromtimestamp(seconds, UTC).strftime(str(feature.date_format))


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)
