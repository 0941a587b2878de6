"""Each part of the encoder compared with hand-calculated values; the network's inputs are finite for any values.

This file has more than 400 lines: the property tests at its end use the encoders that the earlier tests build.
"""

import json
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.encoding.column_encodings import (
    DAY,
    MAX_Z,
    MIN_DEVIATION,
    MIN_LEVEL_ROWS,
    BooleanEncoding,
    CategoryEncoding,
    DateEncoding,
    NumberEncoding,
    QuantileEncoding,
    Vector,
    stable_moments,
)
from models.encoding.encoder import Encoder
from models.encoding.target_scaling import LogScaling, TargetScaling
from models.encoding.vectorised_encodings import CLIP, FEW_INTERPOLATED
from models.feature import MISSING, UNSEEN, Feature, TrainingRange
from models.frame import Frame
from models.schema import FeatureSchema, SchemaError

LEVELS: list[bool | int | float | str] = [f"level {number:02}" for number in range(30)]
SCHEMA = FeatureSchema(
    name="t",
    task="regression",
    target="y",
    features=[
        Feature(name="n", kind="number", nullable=True),
        Feature(name="m", kind="number", nullable=False),
        Feature(name="b", kind="boolean", nullable=True),
        Feature(name="d", kind="date", nullable=True),
        Feature(name="few", kind="category", nullable=True, seen=TrainingRange(levels=["a", "b", "c"])),
        Feature(name="many", kind="category", nullable=True, seen=TrainingRange(levels=LEVELS)),
        Feature(
            name="hashed", kind="category", nullable=True, seen=TrainingRange(hashed=64, count=90_000, type="text")
        ),
    ],
)


def random_frame(rows: int, seed: int = 0, *, missing: bool = True) -> Frame:
    rng = np.random.default_rng(seed)
    numbers = np.column_stack(
        [
            rng.normal(50, 9, rows),
            rng.exponential(2, rows),
            rng.integers(0, 2, rows),
            rng.uniform(1e9, 1.5e9, rows).round(),
        ]
    )
    codes = np.column_stack([rng.integers(0, 3, rows), rng.integers(0, 30, rows), rng.integers(0, 64, rows)])
    if missing:
        for column in (0, 2, 3):
            numbers[rng.random(rows) < 0.1, column] = np.nan
        codes[rng.random((rows, 3)) < 0.1] = MISSING
    return Frame(numbers, codes)


def numbers(values: Any, bins: int = 0) -> tuple[Encoder, Any]:
    """An encoder of one column of numbers, and the matrix of the values it was fitted to."""
    frame = Frame(np.array(values, dtype=np.float64)[:, None], np.empty((len(values), 0), np.int64))
    encoder = Encoder(numbers=[NumberEncoding.fit("x", frame.numbers[:, 0], bins)], categories=[])
    return encoder, encoder.encode(frame)


def encoded(encoder: Encoder, *values: float) -> Any:
    return encoder.encode(Frame(np.array(values, dtype=np.float64)[:, None], np.empty((len(values), 0), np.int64)))


# Numbers


def test_a_number_is_scaled_to_mean_0_and_deviation_1() -> None:
    _, x = numbers([1, 3, 5, 7])
    np.testing.assert_allclose(x[:, 0], (np.array([1, 3, 5, 7]) - 4) / math.sqrt(5), rtol=1e-6)


def test_missing_value_becomes_the_median_and_sets_its_indicator_column() -> None:
    encoder, x = numbers([1, 2, 9, np.nan])
    assert x.shape == (4, 2)
    assert x[3, 0] == x[1, 0]
    assert x[:, 1].tolist() == [0, 0, 0, 1]
    assert encoder.width == 2


def test_missing_value_without_missing_training_values_is_filled() -> None:
    encoder, x = numbers([1, 2, 9])
    np.testing.assert_array_equal(encoded(encoder, np.nan), x[1:2])


def test_piecewise_linear_bins_fill_in_order() -> None:
    encoder, _ = numbers(range(101), bins=4)
    [part] = encoder.numbers
    assert isinstance(part, NumberEncoding)
    assert part.edges == [0, 25, 50, 75, 100]
    expected = np.array([[0, 0, 0, 0], [0.4, 0, 0, 0], [1, 1, 0.4, 0], [1, 1, 1, 1]])
    np.testing.assert_allclose(encoded(encoder, -5, 10, 60, 1000)[:, 1:], expected)


def test_extreme_numbers_are_clipped_hard_without_bins_and_smoothly_with_bins() -> None:
    plain, _ = numbers(range(101))
    binned, _ = numbers(range(101), bins=4)
    assert encoded(plain, 1e300, -1e300)[:, 0].tolist() == [CLIP, -CLIP]
    assert encoded(binned, 1e300)[0, 0] == pytest.approx(3, abs=0.01)


def test_constant_and_empty_columns_are_encoded_as_zero() -> None:
    assert numbers([7, 7, 7], bins=4)[1].tolist() == [[0]] * 3
    assert numbers([np.nan, np.nan])[1].tolist() == [[0, 1]] * 2


# Quantile-encoded numbers


def quantile_encoding(values: Any, most: int = 1024) -> QuantileEncoding:
    return QuantileEncoding.fit("x", np.array(values, dtype=np.float64), most)


def test_rank_is_the_mean_of_row_rank_and_value_rank() -> None:
    part = quantile_encoding([0, 0, 0, 5])  # the ranks among rows are 1.5/4 and 3.5/4, among values 0.5/2 and 1.5/2
    z = np.array([NormalDist().inv_cdf((0.375 + 0.25) / 2), NormalDist().inv_cdf((0.875 + 0.75) / 2)])
    assert part.knots == [0, 5]
    np.testing.assert_allclose(part.z, z / np.std(z[[0, 0, 0, 1]]), atol=1e-6)


def test_quantile_encoding_is_linear_between_knots_and_flat_outside() -> None:
    part = quantile_encoding([1, 2, 4, 8])
    low, high = part.curve(2), part.curve(4)
    assert part.curve(2.5) == pytest.approx(low + (high - low) / 4)
    assert part.curve(-1e308) == part.curve(1) == part.z[0]
    assert part.curve(math.inf) == part.curve(8) == part.z[-1]


@pytest.mark.parametrize("draw", ["normal", "exponential", "standard_cauchy"])
def test_quantile_encoding_is_nearly_normal_for_any_distribution(draw: str) -> None:
    values = getattr(np.random.default_rng(0), draw)(size=20_000)
    part = quantile_encoding(values)
    z = np.interp(values, *part.points)
    assert len(part.knots) <= 1024
    assert z.std() == pytest.approx(1, abs=1e-4)
    for share in (0.05, 0.3, 0.5, 0.9):
        assert np.quantile(z, share) == pytest.approx(NormalDist().inv_cdf(share), abs=0.02)


def test_encoding_of_an_outlier_is_limited() -> None:
    assert max(quantile_encoding([0.0] * 100_000 + [1.0]).z) < 50


@pytest.mark.parametrize("values", [[7, 7, 7], [math.nan, math.nan]])
def test_constant_and_empty_columns_have_rank_0(values: list[float]) -> None:
    assert quantile_encoding(values).z == [0]
    assert quantile_encoding(values).curve(3) == 0


def test_quantile_encoded_numbers_come_first_then_their_missing_indicators() -> None:
    frame = random_frame(500)
    encoder = Encoder.fit(SCHEMA, frame, numbers="quantile")
    x = encoder.encode(frame)
    assert encoder.quantile_count == 2  # n and m
    assert encoder.width == x.shape[1] == Encoder.fit(SCHEMA, frame, bins=0).width
    np.testing.assert_array_equal(x[:, 2], np.isnan(frame.numbers[:, 0]))  # m has no missing values
    for column, part in enumerate(encoder.numbers[:2]):
        assert isinstance(part, QuantileEncoding)
        known = np.where(np.isnan(frame.numbers[:, column]), part.fill, frame.numbers[:, column])
        np.testing.assert_array_equal(x[:, column], [np.float32(part.curve(value)) for value in known])


def test_500_columns_share_the_knots() -> None:
    names = [f"c{column}" for column in range(500)]
    schema = FeatureSchema(
        name="t",
        task="regression",
        target="y",
        features=[Feature(name=name, kind="number", nullable=False) for name in names],
    )
    frame = Frame(np.random.default_rng(0).normal(size=(300, 500)), np.empty((300, 0), np.int64))
    encoder = Encoder.fit(schema, frame, numbers="quantile")
    assert sum(len(part.knots) for part in encoder.numbers if isinstance(part, QuantileEncoding)) < 70_000
    assert np.isfinite(encoder.encode(frame)).all()


@pytest.mark.parametrize(
    "points", ['"knots": [1, 1], "z": [0, 1]', '"knots": [1, 2], "z": [0]', '"knots": [], "z": []']
)
def test_knots_that_do_not_increase_are_refused(points: str) -> None:
    text = '{"numbers": [{"name": "x", "kind": "quantile", "fill": 0, "missing": false, %s}], "categories": []}'
    with pytest.raises(SchemaError, match=r"numbers\.0"):
        Encoder.from_json(text % points)


# Arbitrary numbers


EXTREME = [0.0, -0.0, 1.0, 5e-324, -5e-324, 1e-310, 1e-300, 1e-12, 1e15, 1e300, -1e300, 1.7e308, -1.7e308]
ANY = st.one_of(st.sampled_from(EXTREME), st.floats(allow_nan=True, allow_infinity=False))


@settings(max_examples=300, deadline=None)
@example([-1.7e308, 1.5e308, 1.7e308], [1.7e308], 8)  # a bin wider than any float
@example([1.7e308, 1.6e308], [math.nan], 0)  # a median of two values that is above both because of rounding
@example([0.0, 1e-303, 2e-303, 3e-303], [0.0], 8)
@given(st.lists(ANY, min_size=1, max_size=40), st.lists(ANY, min_size=1, max_size=5), st.sampled_from([0, 2, 8]))
def test_matrix_is_finite_for_any_training_and_request_numbers(
    fitted: list[float], later_values: list[float], bins: int
) -> None:
    encoder, x = numbers(fitted, bins)
    assert np.isfinite(x).all()
    again = Encoder.from_json(encoder.to_json())
    later = encoded(again, *later_values)
    assert np.isfinite(later).all()
    assert np.abs(later).max() <= CLIP
    np.testing.assert_array_equal(later, encoded(encoder, *later_values))


@settings(max_examples=300, deadline=None)
@example([0.0, 5e-324, 1e-310], [5e-324], 1024)
@given(
    st.lists(ANY, min_size=1, max_size=40), st.lists(st.floats(), min_size=1, max_size=8), st.sampled_from([2, 1024])
)
def test_quantile_encoding_is_finite_and_equal_for_few_and_many_rows(
    fitted: list[float], later_values: list[float], most: int
) -> None:
    encoder = Encoder(numbers=[quantile_encoding(fitted, most)], categories=[])
    again = Encoder.from_json(encoder.to_json())
    together = encoded(again, *later_values, *fitted, *[0.0] * FEW_INTERPOLATED)
    assert np.isfinite(together).all()
    assert np.abs(together).max() <= MAX_Z / MIN_DEVIATION + 1e-6
    np.testing.assert_array_equal(
        np.concatenate([encoded(encoder, value) for value in later_values]), together[: len(later_values)]
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_moments_never_overflow(values: list[float]) -> None:
    mean, deviation = stable_moments(np.array(values))
    assert math.isfinite(mean)
    assert 0 < deviation < math.inf


def test_moments_are_equal_to_those_of_numpy() -> None:
    values = np.array([1.0, 2.0, 4.0, -7.5])
    assert stable_moments(values) == pytest.approx((values.mean(), values.std()), rel=1e-14)
    assert stable_moments(values * 1e300) == pytest.approx((values.mean() * 1e300, values.std() * 1e300), rel=1e-14)


# Booleans and dates


def test_a_boolean_is_1_or_minus_1_and_0_where_missing() -> None:
    assert BooleanEncoding(name="b").encode(np.array([1.0, 0.0, np.nan]))[0].tolist() == [1, -1, 0]


def test_date_is_scaled_between_first_and_last_training_date() -> None:
    part = DateEncoding.fit("d", np.array([0.0, 10, 20]) * DAY)
    trend = part.encode(np.array([-99.0, 0, 5, 20, 999]) * DAY)[0]
    assert trend.tolist() == [-1, -1, -0.5, 1, 1]


def test_weekday_is_encoded_as_sine_and_cosine() -> None:
    part = DateEncoding.fit("d", np.arange(0, 30 * DAY, DAY))
    assert part.periods == [7 * DAY]
    # A Monday, the next Monday, and a quarter of a week after the first Monday.
    _, sine, cosine = part.encode(np.array([4.0, 11, 4 + 1.75]) * DAY)
    np.testing.assert_allclose(sine, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(cosine, [1, 1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("days", "periods"),
    [([0, 1, 5], 0), ([0, 7], 1), ([0, 0.5, 1], 1), ([0, 400], 2), ([0, 0.5, 400], 3), ([3, 3], 0)],
)
def test_only_periods_that_the_training_rows_cover_become_columns(days: list[float], periods: int) -> None:
    assert len(DateEncoding.fit("d", np.array(days, dtype=np.float64) * np.float64(DAY)).periods) == periods


def test_missing_date_has_an_indicator_only_if_training_had_missing_dates() -> None:
    with_missing, without = DateEncoding.fit("d", np.array([0, DAY, np.nan])), DateEncoding.fit("d", np.array([0, DAY]))
    assert with_missing.encode(np.array([np.nan]))[-1].tolist() == [1]
    assert len(with_missing.encode(np.zeros(1))) == len(without.encode(np.zeros(1))) + 1
    assert np.isfinite(without.encode(np.array([np.nan]))).all()
    assert np.isfinite(DateEncoding.fit("d", np.array([np.nan])).encode(np.array([np.nan, 5.0]))).all()


# Categories


def levels(codes: list[int], known: int) -> CategoryEncoding:
    return CategoryEncoding.fit(
        Feature(name="c", kind="category", nullable=True, seen=TrainingRange(levels=list(range(known)))),
        np.array(codes),
    )


def test_few_levels_are_one_hot_encoded_with_missing_as_a_level_and_unseen_as_zeros() -> None:
    part = levels([0, 1, 2, MISSING], 3)
    assert part.table[[0, 1, 2, MISSING, UNSEEN]].tolist() == [*np.eye(4).tolist(), [0] * 4]


def test_two_levels_share_one_column() -> None:
    assert levels([0, 1], 2).table[[0, 1, MISSING, UNSEEN]].tolist() == [[1], [-1], [0], [0]]


def test_zero_levels_and_one_level_have_one_column() -> None:
    assert levels([MISSING, MISSING], 0).table[[MISSING, UNSEEN]].tolist() == [[1], [0]]
    assert levels([0, 0], 1).table[[0, MISSING, UNSEEN]].tolist() == [[1], [0], [0]]


def test_level_without_training_rows_counts_as_unseen() -> None:
    assert levels([0, 1, 1], 3).table[[2]].tolist() == levels([0, 1, 1], 3).table[[UNSEEN]].tolist()


def test_rare_and_unseen_levels_share_a_group() -> None:
    frequent = [code for code in range(10) for _ in range(MIN_LEVEL_ROWS)]
    part = levels([*frequent, 10, 11], 12)
    assert part.rare == 10
    assert part.table[[10, 11, UNSEEN]].tolist() == [[10]] * 3
    assert part.table[[0, 9]].tolist() == [[0], [9]]
    assert part.table[[MISSING]].tolist() == [[part.size]]  # not in training: the last row of the network's table


def test_many_levels_become_group_numbers_for_an_embedding() -> None:
    encoder = Encoder.fit(SCHEMA, random_frame(2000), bins=0)
    assert encoder.tables == [(32, 7), (66, 10)]
    x = encoder.encode(random_frame(500, 1))
    assert (x[:, -2:] == x[:, -2:].astype(int)).all()
    assert x[:, -2].max() < 32
    assert x[:, -1].max() < 66


# The complete encoder


@pytest.mark.parametrize("numbers", ["scaled", "quantile"])
def test_single_row_is_encoded_as_in_a_batch(numbers: Any) -> None:
    encoder = Encoder.fit(SCHEMA, random_frame(2000), numbers=numbers)
    frame = random_frame(50, 1)
    together = encoder.encode(frame)
    assert together.shape == (50, encoder.width)
    assert together.dtype == np.float32
    for row in range(50):
        np.testing.assert_array_equal(encoder.encode(frame.take(slice(row, row + 1))), together[row : row + 1])


@pytest.mark.parametrize("numbers", ["scaled", "quantile"])
def test_an_encoder_written_and_read_gives_the_same_matrix(numbers: Any) -> None:
    target = np.random.default_rng(0).normal(3, 0.1, 2000)
    encoder = Encoder.fit(SCHEMA, random_frame(2000), target, numbers=numbers)
    encoder.check(SCHEMA)
    again = Encoder.from_json(encoder.to_json())
    assert again == encoder
    np.testing.assert_array_equal(again.encode(random_frame(50, 1)), encoder.encode(random_frame(50, 1)))


@pytest.mark.parametrize("numbers", ["scaled", "quantile"])
def test_missing_values_and_unseen_levels_absent_from_training_are_encoded(numbers: Any) -> None:
    encoder = Encoder.fit(SCHEMA, random_frame(2000, missing=False), numbers=numbers)
    row = Frame(np.array([[np.nan, 1, np.nan, np.nan]]), np.array([[MISSING, UNSEEN, MISSING]]))
    assert np.isfinite(encoder.encode(row)).all()


def test_number_of_bins_depends_on_the_number_of_rows() -> None:
    assert len(Encoder.fit(SCHEMA, random_frame(60)).numbers[0].edges) == 4  # type: ignore[union-attr]  # a NumberEncoding
    assert Encoder.fit(SCHEMA, random_frame(30)).numbers[0].edges == []  # type: ignore[union-attr]  # a NumberEncoding


def test_zero_rows_are_encoded_as_zero_rows() -> None:
    encoder = Encoder.fit(SCHEMA, random_frame(100))
    assert encoder.encode(random_frame(5).take(slice(0, 0))).shape == (0, encoder.width)


def edited(change: dict[str, Any]) -> FeatureSchema:
    features = [
        Feature(**(feature.model_dump() | change)) if feature.name == "few" else feature for feature in SCHEMA.features
    ]
    return FeatureSchema(name="t", task="regression", target="y", features=features)


@pytest.mark.parametrize(
    "change", [{"seen": {"levels": ["a", "b", "c", "new"]}}, {"name": "fewer"}, {"kind": "number", "seen": {}}]
)
def test_schema_changed_after_the_encoder_was_fitted_is_refused(change: dict[str, Any]) -> None:
    encoder = Encoder.fit(SCHEMA, random_frame(100))
    encoder.check(SCHEMA)
    with pytest.raises(SchemaError, match="has changed since the encoder was fitted"):
        encoder.check(edited(change))


@pytest.mark.parametrize("text", ["", "[]", '{"numbers": [{"kind": "word", "name": "x"}], "categories": []}'])
def test_invalid_encoder_json_raises_a_schema_error(text: str) -> None:
    with pytest.raises(SchemaError):
        Encoder.from_json(text)


# The target


def test_target_is_scaled_and_unscaled() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    target = TargetScaling.fit(values)
    np.testing.assert_allclose(target.unscale(target.apply(values).astype(np.float32)), values, atol=1e-6)


@settings(max_examples=300, deadline=None)
@given(
    st.floats(-1e300, 1e300),
    st.floats(1e-299, 1e300),
    st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=5),
)
def test_rounding_of_predictions_is_far_below_the_tolerance(mean: float, scale: float, outputs: list[float]) -> None:
    exact = np.array(outputs, dtype=np.float64) * scale + mean
    predictions = TargetScaling(mean=mean, scale=scale).unscale(np.array(outputs, dtype=np.float32))
    assert np.isfinite(predictions).all()
    assert (np.abs(predictions - exact) <= 1e-6 * np.maximum(np.abs(exact), scale)).all()


@given(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=5), st.sampled_from([0.0, 3.0, -2e6]))
def test_unscaling_few_rows_equals_many_rows_bit_for_bit(outputs: list[float], mean: float) -> None:
    for target in (TargetScaling(mean=mean, scale=3e5), TargetScaling(mean=mean, scale=1e9, low=-1.0, high=1.0)):
        few = np.array([outputs], np.float32).T
        many = target.unscale(np.resize(few, (100, 1)))
        assert target.unscale(few).tobytes() == many[: len(outputs)].tobytes()
    tiny = np.array([[-1e-12]], np.float32)
    assert (
        TargetScaling().unscale(np.repeat(tiny, 100, axis=0))[:1].tobytes() == TargetScaling().unscale(tiny).tobytes()
    )


def test_predictions_have_few_digits() -> None:
    assert TargetScaling(mean=2.0, scale=1.0).unscale(np.array([[0.1]], np.float32)).tolist() == [[2.1]]
    assert TargetScaling(mean=2e6, scale=3e5).unscale(np.array([[0.1]], np.float32)).tolist() == [[2030000.0]]


@pytest.mark.parametrize("rows", [1, 100])
def test_predictions_are_clipped_to_the_training_range_and_non_finite_ones_stay_non_finite(rows: int) -> None:
    target = TargetScaling.fit(np.array([1.0, 2.0, 9.0]), clip=True)
    outputs = np.resize(np.array([[-50.0], [50.0], [0.0], [np.nan], [np.inf], [-np.inf]], np.float32), (6 * rows, 1))
    values = target.unscale(outputs)[:6, 0].tolist()
    assert values[:3] == [1.0, 9.0, 4.0]
    assert np.isnan(values[3])
    assert values[4:] == [np.inf, -np.inf]
    again = TargetScaling.model_validate_json(target.model_dump_json())
    np.testing.assert_array_equal(again.unscale(outputs), target.unscale(outputs))


SKEWED = np.array([0.5, 2.0, 40.0, 3e5])


def log_target(values: Vector, factor: float = 1.0) -> TargetScaling:
    logarithm = LogScaling.fit(values).model_copy(update={"factor": factor})
    return TargetScaling.fit(values, clip=True).model_copy(update={"logarithm": logarithm})


@pytest.mark.parametrize("values", [SKEWED, np.append(SKEWED, 0.0)])
def test_logarithm_of_a_target_is_scaled_and_converted_back(values: Vector) -> None:
    target = TargetScaling.model_validate_json(log_target(values).model_dump_json())
    learned = target.apply(values)
    assert learned.mean() == pytest.approx(0, abs=1e-12)
    assert learned.std() == pytest.approx(1)
    np.testing.assert_allclose(target.unscale(learned[:, np.newaxis])[:, 0], values, atol=1e-6 * target.scale)
    np.testing.assert_allclose(target.errors(learned, values - 7.0), 7.0 / target.scale, atol=1e-9)


def test_errors_of_a_target_are_divided_by_its_scale() -> None:
    target = TargetScaling(mean=5.0, scale=2.0)
    np.testing.assert_allclose(target.errors(target.apply(SKEWED), SKEWED - 3.0), 1.5)


def test_negative_targets_of_test_rows_have_a_finite_logarithm() -> None:
    target = log_target(SKEWED)
    np.testing.assert_array_equal(target.apply(np.array([-1.0, 0.0, 0.5])), np.repeat(target.apply(SKEWED[:1]), 3))


@given(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=5), st.floats(0.5, 3.0))
def test_conversion_of_few_logarithms_equals_that_of_many_bit_for_bit(outputs: list[float], factor: float) -> None:
    target = log_target(SKEWED, factor)
    few = np.array([outputs], np.float32).T
    many = target.unscale(np.resize(few, (100, 1)))
    assert target.unscale(few).tobytes() == many[: len(outputs)].tobytes()
    low, high = SKEWED.min(), SKEWED.max()
    assert ((few < 20) | (many[: len(outputs)] == high)).all()
    assert ((many >= low) & (many <= high)).all()


@pytest.mark.parametrize(
    "changed", [{"scale": 0}, {"scale": "NaN"}, {"offset": -1}, {"lowest": 0}, {"factor": -1}, {"factor": 1e200}]
)
def test_damaged_logarithm_is_refused(changed: dict[str, Any]) -> None:
    stored = LogScaling.fit(SKEWED).model_dump() | changed
    with pytest.raises(ValidationError):
        LogScaling.model_validate_json(json.dumps(stored))


@pytest.mark.parametrize("rows", [1, 100])
def test_conversion_of_a_logarithm_never_overflows(rows: int) -> None:
    logarithm = LogScaling(offset=0.0, mean=0.0, scale=1e300, lowest=1e-200, factor=1e100)
    target = TargetScaling(scale=1e-190, low=0.0, high=1.0, logarithm=logarithm)
    outputs = np.resize(np.array([[1000.0], [-1000.0]], np.float32), (2 * rows, 1))
    assert target.unscale(outputs)[:2, 0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("rows", [1, 100])
def test_logarithms_that_are_not_finite_are_predictions_that_are_not_finite(rows: int) -> None:
    outputs = np.resize(np.array([[np.nan], [np.inf], [-np.inf], [1e38]], np.float32), (4 * rows, 1))
    values = log_target(SKEWED).unscale(outputs)[:4, 0].tolist()
    assert np.isnan(values[0])
    assert values[1:] == [np.inf, -np.inf, 3e5]
