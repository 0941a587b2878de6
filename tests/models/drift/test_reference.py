"""The reference of a version: bins, levels, missing values, and the schema that it belongs to."""

import numpy as np
import pytest

from models.drift.counter import DriftCounter
from models.drift.histograms import number_cells
from models.drift.reference import (
    CategoryReference,
    DriftReference,
    NumberReference,
    QualityEstimate,
    category_reference,
    choose_bins,
    number_reference,
)
from models.feature import MISSING, UNSEEN, Feature, TrainingRange
from models.frame import Frame
from models.outputs import Outputs
from models.schema import FeatureSchema, SchemaError

LEVELS = ["a", "b", "c", "d"]


def schema(levels: list[str] = LEVELS) -> FeatureSchema:
    return FeatureSchema(
        name="fares",
        task="binary",
        target="paid",
        classes=["no", "yes"],
        features=[
            Feature(name="km", kind="number", nullable=True),
            Feature(name="by_card", kind="boolean", nullable=True),
            Feature(name="zone", kind="category", nullable=True, seen=TrainingRange(levels=list(levels))),
        ],
    )


def rows(count: int = 500, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    numbers = np.column_stack([rng.normal(size=count), rng.random(count) < 0.5])
    numbers[: count // 10, 0] = np.nan
    return Frame(numbers, rng.integers(0, len(LEVELS), (count, 1)))


def test_numbers_have_ten_bins_with_equal_counts() -> None:
    found = number_reference("km", np.random.default_rng(0).normal(size=10_000))
    assert found.counts == pytest.approx([1000] * 10, abs=2), "edges are rounded to nine digits"
    assert found.own == []


def test_frequent_values_have_their_own_bins() -> None:
    values = np.concatenate([np.zeros(900), np.arange(1, 101)]).astype(float)
    found = number_reference("gain", values)
    assert found.own == [0.0]
    assert found.counts[np.searchsorted(found.bounds, 0.0)] == 900
    assert found.counts[np.searchsorted(found.bounds, -0.001)] == 0
    assert sum(found.counts) == 1000


def test_reference_of_few_or_no_values_is_complete() -> None:
    assert choose_bins(np.array([])) == ([], [])
    assert number_reference("empty", np.array([np.nan, np.nan])).missing == 2
    constant = number_reference("constant", np.full(50, 3.0))
    assert sorted(constant.counts) == [0, 0, 50]
    assert number_reference("few", np.array([1.0, 2.0, 3.0])).fits()


def test_reference_is_read_with_the_same_bin_edges() -> None:
    values = np.random.default_rng(0).normal(1e9, 1 / 3, 2000)
    whole = DriftReference(rows=2000, columns=[number_reference("km", values)])
    read = DriftReference.from_json(whole.to_json())
    assert read == whole
    assert (read.columns[0].bounds == whole.columns[0].bounds).all()  # type: ignore[union-attr]


def test_levels_that_occur_once_count_as_unseen() -> None:
    feature = Feature(
        name="city", kind="category", nullable=True, seen=TrainingRange(levels=[f"c{i}" for i in range(70)])
    )
    codes = np.concatenate([np.zeros(50), np.ones(20), np.arange(2, 12), [12, 12, 13, 13], [MISSING] * 5, [UNSEEN]])
    found = category_reference("city", codes.astype(np.int64), feature)
    assert (found.codes, found.counts) == ([0, 1], [50, 20])
    assert (found.unseen, found.other, found.missing) == (11, 4, 5)


def test_reference_of_a_category_lists_fifty_levels() -> None:
    feature = Feature(
        name="city", kind="category", nullable=True, seen=TrainingRange(levels=[f"c{i}" for i in range(70)])
    )
    found = category_reference("city", np.repeat(np.arange(70), 20), feature)
    assert len(found.codes) == 50
    assert found.other == 20 * 20


def test_reference_of_eight_columns_has_a_small_file() -> None:
    columns: list[NumberReference | CategoryReference] = [
        number_reference(f"column{i}", np.random.default_rng(i).lognormal(size=5000)) for i in range(8)
    ]
    assert 1000 < len(DriftReference(rows=5000, columns=columns).to_json()) < 6000


def test_counts_of_the_reference_rows_equal_the_reference() -> None:
    """No level of these rows occurs only once, because the reference would count such a level as unseen."""
    reference, frame = DriftReference.fit(schema(), rows()), rows()
    outputs = Outputs(np.column_stack([1 - np.linspace(0, 1, 500), np.linspace(0, 1, 500)]).astype(np.float32))
    reference = reference.with_predictions(
        schema(), outputs, QualityEstimate(metric="accuracy", value=0.75, measured=0.8)
    )
    counter = DriftCounter(schema(), reference)
    found = counter.read(counter.count(frame, outputs, 700))
    assert (found.answered, found.counted, found.estimated) == (700, 500, 500)
    assert found.estimate == pytest.approx(0.75, abs=0.001)
    for column, counted in zip(
        [*reference.columns, reference.prediction], [*found.columns, found.prediction], strict=True
    ):
        assert column is not None
        assert counted is not None
        assert counted.cells.tolist() == column.cells.tolist()
        assert counted.outside == 0


def test_values_beyond_the_range_and_unknown_codes_are_counted() -> None:
    reference = DriftReference.fit(schema(), rows())
    counter = DriftCounter(schema(), reference)
    frame = Frame(np.array([[1e6, 1.0], [-1e6, 0.0], [np.nan, np.nan]]), np.array([[UNSEEN], [MISSING], [10_000]]))
    km, by_card, zone = counter.read(counter.count(frame)).columns
    assert (km.outside, km.cells[0], km.cells[-2], km.cells[-1]) == (2, 1, 1, 1)
    assert by_card.cells.tolist() == [1, 1, 1]
    assert zone.cells[-3:].tolist() == [1, 1, 1]


def test_counts_of_parts_add_up_to_those_of_the_whole() -> None:
    reference = DriftReference.fit(schema(), rows())
    counter, frame = DriftCounter(schema(), reference), rows(101, seed=3)
    parts = [counter.count(frame.take(slice(start, start + 7))) for start in range(0, 101, 7)]
    assert np.sum(parts, axis=0).tolist() == counter.count(frame).tolist()


def test_zero_rows_have_zero_counts() -> None:
    counter = DriftCounter(schema(), DriftReference.fit(schema(), rows()))
    assert not counter.count(rows().take(slice(0, 0))).any()


@pytest.mark.parametrize(
    "change",
    [
        {"columns": []},
        {"prediction": category_reference("paid", np.array([0, 1]))},
        {"estimate": QualityEstimate(metric="mae", value=1.0, measured=1.0)},
    ],
)
def test_a_reference_of_another_schema_is_refused(change: dict[str, object]) -> None:
    reference = DriftReference.fit(schema(), rows())
    reference.check(schema())
    with pytest.raises(SchemaError, match=r"reference\.json does not belong"):
        reference.model_copy(update=change).check(schema())
    with pytest.raises(SchemaError, match=r"reference\.json does not belong"):
        reference.check(schema(["a", "b"]))


@pytest.mark.parametrize("text", ["", "[]", '{"format":2,"rows":1,"columns":[]}', '{"rows":-1,"columns":[]}'])
def test_invalid_drift_reference_is_refused(text: str) -> None:
    with pytest.raises(SchemaError):
        DriftReference.from_json(text)


def test_values_with_separate_bins_bound_the_neighbouring_bins() -> None:
    values = np.array([0.0] * 50 + [float(value) for value in range(-50, 51)])
    column = number_reference("x", values)
    assert 0.0 in column.own
    cells = number_cells(column, "number")
    place = cells.index({"value": 0.0})
    assert (cells[place - 1]["to"], cells[place + 1]["above"]) == (0.0, 0.0)
    assert len(cells) == len(column.counts)
