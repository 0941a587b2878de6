"""A schema with a feature of every type, a valid row, and Hypothesis strategies for valid and invalid rows."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from models.feature import Feature, Ignored, TrainingRange
from models.rows import ValidatedRows
from models.schema import FeatureSchema

AGE = Feature(name="age", kind="number", nullable=False, minimum=0, maximum=120.0, seen=TrainingRange(min=17, max=90))
GAIN = Feature(name="capital gain", kind="number", nullable=True, seen=TrainingRange(min=0.5, max=99.0))
MEMBER = Feature(name="member", kind="boolean", nullable=False)
JOB = Feature(
    name="job", kind="category", nullable=True, unseen="warn", seen=TrainingRange(levels=["clerk", "cook", "1"])
)
ZIP = Feature(name="zip", kind="category", nullable=True, seen=TrainingRange(levels=[1, 2.5, 2**60 + 1]))
ROOM = Feature(name="room", kind="category", nullable=True, unseen="error", seen=TrainingRange(levels=[1, 2]))
HOT = Feature(name="hot", kind="category", nullable=True, seen=TrainingRange(levels=[False, True]))
SINCE = Feature(
    name="since",
    kind="date",
    nullable=True,
    minimum="1990-01-01",
    seen=TrainingRange(min="1999-01-04", max="2024-05-31"),
)
DAY = Feature(name="day", kind="date", nullable=True, date_format="%d.%m.%Y", maximum="31.12.2029")
HASHED = Feature(name="user", kind="category", nullable=True, seen=TrainingRange(hashed=64, count=20_000, type="text"))

FEATURES = [AGE, GAIN, MEMBER, JOB, ZIP, ROOM, HOT, SINCE, DAY, HASHED]
SCHEMA = FeatureSchema(
    name="income",
    task="binary",
    target="income",
    classes=["<=50K", ">50K"],
    features=FEATURES,
    ignored=[Ignored(name="id", reason="different in every row")],
)
GOOD: dict[str, Any] = {"age": 40, "member": True}

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**62, 2**66),
    st.floats(),
    st.text(),
    st.text(st.characters(categories=["Cs"]), max_size=3),
    st.just(10**400),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["clerk", "1", 1, 1.0, 2.5, 2**60 + 1, 0, 120, -0.0, "2020-01-01", "1989-01-01", "31.12.2029"]),
)
NAMES = st.sampled_from([feature.name for feature in FEATURES] + ["id", "income", "typo", ""])
ROWS = st.lists(
    st.one_of(VALUES, st.dictionaries(NAMES, VALUES, max_size=5).map(lambda more: GOOD | more)), min_size=1, max_size=4
)


def assert_same(ours: ValidatedRows, theirs: ValidatedRows) -> None:
    """Asserts that two results of validation are equal in every part."""
    np.testing.assert_array_equal(ours.frame.numbers, theirs.frame.numbers)
    np.testing.assert_array_equal(ours.frame.codes, theirs.frame.codes)
    assert (ours.count, ours.valid, ours.invalid_rows) == (theirs.count, theirs.valid, theirs.invalid_rows)
    assert [*ours.errors] == [*theirs.errors]
    assert (ours.omitted, type(ours.omitted)) == (theirs.omitted, int)
    assert ours.warnings == theirs.warnings
