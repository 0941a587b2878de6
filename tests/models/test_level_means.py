"""Level means are smoothed means of the target; every way of encoding a row gives the same columns."""

from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import TargetEncoder

from models.encoding.column_encodings import CategoryEncoding
from models.encoding.encoder import Encoder
from models.encoding.level_means import MAX_PRIOR_ROWS, MIN_PRIOR_ROWS, PRIOR_ROWS, LevelMeans, estimate_prior_rows
from models.fast.row_encoder import RowEncoder, can_encode
from models.feature import MISSING, UNSEEN, Feature, TrainingRange
from models.frame import Frame
from models.schema import FeatureSchema, SchemaError

ROWS = 600
SHOPS: list[bool | int | float | str] = [f"shop {number}" for number in range(40)]
SCHEMA = FeatureSchema(
    name="t",
    task="regression",
    target="y",
    features=[
        Feature(name="n", kind="number", nullable=False, seen=TrainingRange(min=-9.0, max=9.0)),
        Feature(name="shop", kind="category", nullable=True, seen=TrainingRange(levels=SHOPS)),
        Feature(name="few", kind="category", nullable=False, seen=TrainingRange(levels=["a", "b", "c"])),
        Feature(name="zip", kind="category", nullable=False, seen=TrainingRange(hashed=64, count=90_000, type="text")),
    ],
)


def frame_of(rows: int, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    codes = [rng.integers(-2, 40, rows), rng.integers(0, 3, rows), rng.integers(0, 64, rows)]
    return Frame(rng.normal(size=(rows, 1)), np.column_stack(codes))


def encoders(numbers: Any = "quantile") -> tuple[Encoder, Encoder]:
    """An encoder without level means, and the same with the means of two categories."""
    rng, frame = np.random.default_rng(1), frame_of(ROWS)
    target = rng.normal(size=(ROWS, 2))
    plain = Encoder.fit(SCHEMA, frame, target[:, 0], bins=0, numbers=numbers)
    parts = list(plain.categories)
    for column, count in ((0, 40), (2, 64)):
        means = LevelMeans.fit(frame.codes[:, column], target, count, prior_rows=2.0)
        parts[column] = parts[column].model_copy(update={"means": means})
    return plain, plain.model_copy(update={"categories": parts})


def test_smoothed_means_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    codes, target = rng.integers(0, 20, 200), rng.normal(size=200)
    reference = TargetEncoder(smooth=7.0, target_type="continuous").fit(codes[:, np.newaxis], target)
    means = LevelMeans.fit(codes, target[:, np.newaxis], 20, prior_rows=7.0)
    np.testing.assert_allclose(means.columns[0], reference.encodings_[0] - target.mean(), atol=1e-6)


def test_unseen_missing_and_unused_levels_have_the_overall_mean() -> None:
    codes = np.array([0, 0, 1, MISSING, UNSEEN])
    target = np.array([[3.0], [5.0], [1.0], [100.0], [100.0]])
    means = LevelMeans.fit(codes, target, 3, prior_rows=1.0)  # the mean of the known rows is 3
    assert means.table[[0, 1, 2, MISSING, UNSEEN], 0].tolist() == pytest.approx([2 / 3, -1, 0, 0, 0], abs=1e-6)
    assert LevelMeans.fit(np.array([MISSING]), np.ones((1, 2)), 3).table.tolist() == [[0, 0]] * 5


@pytest.mark.parametrize("deviation", [0.3, 1.0])
def test_estimated_prior_rows_are_the_ratio_of_the_variances(deviation: float) -> None:
    """With levels of this standard deviation and noise of 1, the best prior is 1 / deviation² rows."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 500, 10_000)
    target = rng.normal(scale=deviation, size=500)[codes] + rng.normal(size=10_000)
    assert prior_rows(codes, target) == pytest.approx(deviation**-2, rel=0.2)


def test_estimated_prior_rows_have_limits() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(100) % 20
    assert prior_rows(codes, codes.astype(float)) == MIN_PRIOR_ROWS
    assert prior_rows(codes, rng.permutation(codes).astype(float)) > 50
    assert prior_rows(codes, np.arange(100) // 20 * 1.0) == MAX_PRIOR_ROWS  # all levels have the same mean
    assert prior_rows(np.arange(100), rng.normal(size=100)) == PRIOR_ROWS  # no level has two rows


def prior_rows(codes: Any, target: Any) -> float:
    rows = np.bincount(codes)
    y = target - target.mean()
    return estimate_prior_rows(rows, np.bincount(codes, y)[np.newaxis].astype(np.float64), y[:, np.newaxis])


@pytest.mark.parametrize("numbers", ["scaled", "quantile"])
def test_means_are_columns_before_the_embedded_categories(numbers: Any) -> None:
    plain, encoder = encoders(numbers)
    frame = frame_of(50, 2)
    x, before = encoder.encode(frame), plain.encode(frame)
    assert encoder.width == plain.width + 4 == x.shape[1]
    assert encoder.tables == plain.tables
    assert encoder.quantile_count == plain.quantile_count
    places = encoder.mean_columns
    np.testing.assert_array_equal(np.delete(x, places, axis=1), before)
    np.testing.assert_array_equal(np.delete(encoder.sources, places), plain.sources)
    assert encoder.sources[places].tolist() == [1, 1, 3, 3]
    assert plain.mean_columns.size == 0
    for column, part, two in ((0, encoder.categories[0], places[:2]), (2, encoder.categories[2], places[2:])):
        assert isinstance(part, CategoryEncoding)
        assert part.means is not None
        np.testing.assert_array_equal(x[:, two], part.means.table[frame.codes[:, column]])


@pytest.mark.parametrize("numbers", ["scaled", "quantile"])
def test_one_row_few_rows_and_many_rows_have_the_same_means(numbers: Any) -> None:
    _, encoder = encoders(numbers)
    assert can_encode(SCHEMA, encoder)
    encode_row = RowEncoder(SCHEMA, encoder)
    shops = [None, SHOPS[3], SHOPS[39], "new"] * 10
    rows = [{"n": number / 10, "shop": shop, "few": "b", "zip": f"z{number}"} for number, shop in enumerate(shops)]
    frame = SCHEMA.frames.from_rows(rows)
    together = encoder.encode(frame)  # more than FEW_ROWS
    for number, row in enumerate(rows):
        single = frame.take(slice(number, number + 1))
        np.testing.assert_allclose(encoder.encode(single)[0], together[number], atol=1e-6)
        np.testing.assert_array_equal(encoder.encode(single)[0, 1:], together[number, 1:])  # all but the number
        found = encode_row(row)
        assert (found is None) == (row["shop"] == "new")  # unseen levels get a warning, without the fast path
        if found is not None:
            np.testing.assert_array_equal(found, encoder.encode(single))


def test_stored_encoder_has_the_same_means_and_earlier_files_are_unchanged() -> None:
    plain, encoder = encoders()
    again = Encoder.from_json(encoder.to_json())
    again.check(SCHEMA)
    assert again == encoder
    np.testing.assert_array_equal(again.encode(frame_of(50, 2)), encoder.encode(frame_of(50, 2)))
    assert "means" not in plain.to_json()
    assert Encoder.from_json(plain.to_json()) == plain


@pytest.mark.parametrize(
    "columns",
    ["[]", "[[]]", "[[0.5]]", "[[0.5, NaN]]", "[[0.5, 1e300]]", "[[0.5, null]]", "[[1, 2], [1]]", '[["a", "b"]]'],
)
def test_invalid_means_are_refused(columns: str) -> None:
    part = '{"name": "c", "kind": "levels", "groups": [0, 1], "missing": -1, "rare": -1, "size": 2, "means": %s}'
    text = '{"numbers": [], "categories": [%s]}' % (part % '{"columns": %s}')
    assert Encoder.from_json(text % "[[0.5, -0.5]]").width == 2
    with pytest.raises(SchemaError):
        Encoder.from_json(text % columns)
