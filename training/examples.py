"""Draws example rows column by column from the test set, so that they are valid and realistic, but not real rows.

The examples are the golden rows, with which a version is tested at load, and the examples in the schema.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.date_parsing import format_date
from models.feature import Feature, Scalar, integer_if_exact
from models.schema import FeatureSchema
from training.errors import UsageError

ColumnArrays = Mapping[str, npt.NDArray[Any]]
GOLDEN_ROWS = 32
COMPLETE_ROWS = 3  # examples without missing values, to show to users
MAX_SAMPLE = 10_000  # maximum number of values drawn from a column


def draw_rows(
    schema: FeatureSchema,
    columns: ColumnArrays,
    test: npt.NDArray[np.intp],
    rng: np.random.Generator,
    *,
    real: bool = False,
    count: int = GOLDEN_ROWS,
) -> list[dict[str, Any]]:
    """Valid rows as JSON objects, the first ones without missing values if possible.

    test: the rows to draw from. real: draw whole rows, all if there are fewer than `count`. Raises UsageError
    if no value is within the limits that the edited schema declares.
    """
    if real:
        picks = rng.permutation(test)[:MAX_SAMPLE].tolist()
        whole = [{f.name: to_json_value(f, columns[f.name][pick]) for f in schema.features} for pick in picks]
        problems = {feature.name: feature.problem for feature in schema.features}  # a text may have no score yet
        if valid := [row for row in whole if not any(problems[name](row[name]) for name in row)][:count]:
            return valid
        raise UsageError("--real-examples: no held-out row is within the limits that the schema declares")
    drawn = [_draw_values(feature, columns[feature.name][test], rng, count) for feature in schema.features]
    names = [feature.name for feature in schema.features]
    return [dict(zip(names, values, strict=True)) for values in zip(*drawn, strict=True)]


def _draw_values(
    feature: Feature, values: npt.NDArray[Any], rng: np.random.Generator, count: int
) -> list[Scalar | None]:
    """Draw `count` valid values of a column."""
    sample = [to_json_value(feature, value) for value in rng.permutation(values)[:MAX_SAMPLE]]
    valid = [value for value in sample if feature.problem(value) is None]
    if not valid:
        if not feature.nullable:
            raise UsageError(
                f"column {feature.name!r}: no held-out value is within the limits that the schema declares"
            )
        valid = [None]
    present = [value for value in valid if value is not None] or valid
    pools = [present if number < COMPLETE_ROWS else valid for number in range(count)]
    return [pool[rng.integers(len(pool))] for pool in pools]


def with_examples(schema: FeatureSchema, row: dict[str, Any]) -> FeatureSchema:
    """The schema with the values of a row as examples; where the row has none, the example does not change."""
    features = [
        feature if row[feature.name] is None else feature.model_copy(update={"example": row[feature.name]})
        for feature in schema.features
    ]
    return FeatureSchema(**schema.model_dump(exclude={"features"}), features=features)


def to_json_value(feature: Feature, value: Any) -> Scalar | None:
    """A value of `Dataset.columns` as a client writes it in JSON."""
    if _is_missing(value):
        return None
    if feature.kind == "boolean":
        return bool(value)
    if feature.kind == "date":
        return format_date(float(value), feature.date_format)
    if feature.kind == "number":
        return integer_if_exact(float(value))
    level: Scalar = value.item() if isinstance(value, np.generic) else value
    return level


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)
