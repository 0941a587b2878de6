"""Translating a frame for another version gives the frame that the other version creates from the same rows."""

from typing import Any

import numpy as np
import pytest

from models.feature import MISSING, Feature, TrainingRange
from models.frame_translation import FrameTranslation
from models.schema import FeatureSchema

AGE = Feature(name="age", kind="number", nullable=True, seen=TrainingRange(min=0, max=9))
FLAG = Feature(name="flag", kind="boolean", nullable=True)


def category(*levels: str, **more: Any) -> Feature:
    return Feature(name="job", kind="category", nullable=True, seen=TrainingRange(levels=[*levels], **more))


def schema(*features: Feature) -> FeatureSchema:
    return FeatureSchema(name="x", task="regression", target="y", features=[*features])


ROWS: list[dict[str, Any]] = [
    {"age": 1, "flag": True, "job": "a"},
    {"age": None, "flag": None, "job": "b"},
    {"age": 3, "job": None},
]


@pytest.mark.parametrize(
    "target",
    [
        schema(AGE, FLAG, category("a", "b")),
        schema(category("a", "b"), FLAG, AGE),
        schema(FLAG, AGE, category("b", "c", "a")),
        schema(AGE, category("c")),
    ],
    ids=["the same", "another order", "other levels", "fewer columns"],
)
def test_translated_frame_equals_the_frame_of_the_same_rows(target: FeatureSchema) -> None:
    source = schema(AGE, FLAG, category("a", "b"))
    translated = FrameTranslation(source, target).translate(source.frames.from_rows(ROWS))
    expected = target.frames.from_rows(ROWS)
    np.testing.assert_array_equal(translated.numbers, expected.numbers)
    np.testing.assert_array_equal(translated.codes, expected.codes)


def test_columns_that_only_the_target_schema_has_are_missing() -> None:
    source = schema(AGE)
    translated = FrameTranslation(source, schema(AGE, FLAG, category("a"))).translate(source.frames.from_rows(ROWS))
    assert np.isnan(translated.numbers[:, 1]).all()
    assert (translated.codes == MISSING).all()


def test_incompatible_columns_cannot_be_translated() -> None:
    with pytest.raises(ValueError, match="'age' has a different kind"):
        FrameTranslation(schema(AGE), schema(Feature(name="age", kind="boolean", nullable=True)))
    with pytest.raises(ValueError, match="'job' has a different encoding"):
        FrameTranslation(schema(category("a")), schema(category("a", hashed=16)))
