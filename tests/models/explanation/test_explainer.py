"""Explanations compared with brute force and with known values, and their consistency."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.explanation.background import Background
from models.explanation.evaluation_counts import MAX_EXACT_COLUMNS, evaluations_if_all_differ, max_evaluations
from models.explanation.explainer import Explainer, Explanation
from models.feature import Feature, TrainingRange
from models.frame import Frame
from models.network.network import build
from models.schema import FeatureSchema
from models.tabular_model import TabularModel

Function = Callable[[np.ndarray], np.ndarray]


class FunctionEngine:
    """An engine whose outputs are a function of the encoded rows."""

    name = "function"
    reason = "a test"

    def __init__(self, function: Function) -> None:
        self._function = function

    def outputs(self, x: np.ndarray) -> np.ndarray:
        return self._function(x.astype(np.float64)).astype(np.float32)


def number_model(columns: int, function: Function) -> tuple[TabularModel, Background, Frame]:
    """A regression over standard normal numbers; the function receives the scaled numbers."""
    features = [
        Feature(name=f"c{i}", kind="number", nullable=False, seen=TrainingRange(min=-9, max=9)) for i in range(columns)
    ]
    schema = FeatureSchema(name="game", task="regression", target="y", features=features)
    frame = Frame.from_numbers(np.random.default_rng(1).normal(size=(500, columns)))
    encoder = Encoder.fit(schema, frame, bins=0)
    model = TabularModel("1", schema, encoder, FunctionEngine(function))
    return model, Background.fit(schema, frame, np.random.default_rng(2)), frame


def curved(x: np.ndarray) -> np.ndarray:
    """A function in which every column interacts with its neighbours."""
    y: np.ndarray = (np.sin(x).sum(axis=1) + (x[:, 1:] * x[:, :-1]).sum(axis=1) + x[:, 0] * x[:, -1] ** 2)[
        :, np.newaxis
    ]
    return y


def brute_force(model: TabularModel, background: Frame, row: Frame) -> np.ndarray:
    """Shapley values as the mean over all orders of the columns, computed on rows before encoding."""
    columns = row.numbers.shape[1]
    total = np.zeros(columns)
    for base in background.numbers:
        for order in itertools.permutations(range(columns)):
            rows = np.tile(base, (columns + 1, 1))
            for step, column in enumerate(order):
                rows[step + 1 :, column] = row.numbers[0, column]
            total[list(order)] += np.diff(model.predict(Frame.from_numbers(rows)).primary[:, 0])
    return total / math.factorial(columns) / len(background.numbers)


def explain_one(model: TabularModel, background: Background, row: Frame, *, typical: bool = False) -> Explanation:
    (explanation,) = Explainer(model, background, typical=typical).explain(row)
    return explanation


@pytest.mark.parametrize("typical", [False, True])
def test_contributions_of_few_columns_equal_brute_force(typical: bool) -> None:
    model, background, frame = number_model(5, curved)
    row = frame.take(slice(7, 8))
    explanation = explain_one(model, background, row, typical=typical)
    rows = background.typical if typical else background.rows
    assert explanation.exact
    assert explanation.error == 0
    np.testing.assert_allclose(explanation.contributions, brute_force(model, rows, row), atol=1e-5)
    assert explanation.baseline == pytest.approx(model.predict(rows).primary.mean(), abs=1e-6)


@pytest.mark.parametrize("columns", [8, 10])
def test_contributions_of_up_to_ten_columns_equal_the_definition(columns: int) -> None:
    """The definition of Shapley values is a weighted sum over all coalitions, here on rows before encoding."""
    model, background, frame = number_model(columns, curved)
    row = frame.take(slice(7, 8))
    base = background.rows.numbers
    joined = np.array([*itertools.product([False, True], repeat=columns)])
    payoffs = np.zeros(len(joined))
    for one in base:
        payoffs += model.predict(Frame.from_numbers(np.where(joined, row.numbers[0], one))).primary[:, 0] / len(base)
    by_coalition = dict(zip(map(tuple, joined.tolist()), payoffs, strict=True))
    expected = np.zeros(columns)
    for coalition, payoff in by_coalition.items():
        size = sum(coalition)
        for player in range(columns):
            if not coalition[player]:
                added = by_coalition[(*coalition[:player], True, *coalition[player + 1 :])] - payoff
                share = math.factorial(size) * math.factorial(columns - size - 1) / math.factorial(columns)
                expected[player] += share * added
    found = explain_one(model, background, row)
    assert found.exact
    np.testing.assert_allclose(found.contributions, expected, atol=1e-5)


@pytest.mark.parametrize("columns", [1, 2, 10, 11, 40])
def test_contributions_sum_to_the_difference_from_the_baseline(columns: int) -> None:
    model, background, frame = number_model(columns, curved if columns > 1 else np.sin)
    explainer = Explainer(model, background)
    rows = frame.take(slice(0, 5))
    predictions = model.predict(rows).primary[:, 0]
    for explanation, prediction in zip(explainer.explain(rows), predictions, strict=True):
        assert explanation.exact == (columns <= 10)
        assert explanation.contributions.sum() == pytest.approx(prediction - explanation.baseline, abs=1e-5)


def test_contributions_of_an_additive_function_are_its_terms() -> None:
    weights = np.linspace(-2, 2, 30)
    model, background, frame = number_model(30, lambda x: (x @ weights)[:, np.newaxis])
    row = frame.take(slice(3, 4))
    x, base = (model.encoder.encode(rows).astype(float) for rows in (row, background.rows))
    explanation = explain_one(model, background, row)
    np.testing.assert_allclose(explanation.contributions, weights * (x[0] - base.mean(axis=0)), atol=1e-5)
    assert not explanation.exact
    assert explanation.error < 1e-6


def test_contributions_of_ignored_columns_are_zero() -> None:
    for columns in (6, 20):
        model, background, frame = number_model(columns, lambda x: curved(x[:, :4]))
        contributions = explain_one(model, background, frame.take(slice(0, 1))).contributions
        assert (contributions[4:] == 0).all()
        assert (contributions[:4] != 0).all()


def test_contributions_of_interchangeable_columns_are_equal() -> None:
    model, background, _ = number_model(6, lambda x: np.prod(1 + x / 3, axis=1)[:, np.newaxis])
    same = np.full((1, 6), 0.5)
    twin = background.model_copy(update={"numbers": [[row[0]] * 6 for row in background.numbers]})
    # The scales of the encoder differ by column, so all columns get the scale of the first one.
    part = model.encoder.numbers[0]
    encoder = model.encoder.model_copy(
        update={"numbers": [part.model_copy(update={"name": f"c{i}"}) for i in range(6)]}
    )
    symmetric = TabularModel("1", model.schema, encoder, model.engine)
    contributions = explain_one(symmetric, twin, Frame.from_numbers(same)).contributions
    np.testing.assert_allclose(contributions, contributions[0], rtol=1e-5)
    assert contributions[0] != 0


@pytest.mark.parametrize("columns", [11, 24, 64])
def test_sampled_contributions_are_close_to_those_of_a_long_run(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, background, frame = number_model(columns, curved)
    rows = frame.take(slice(0, 4))
    short = Explainer(model, background).explain(rows)
    for module in ("explainer", "evaluation_counts"):
        monkeypatch.setattr(f"models.explanation.{module}.PAIRS", 250)
    long = Explainer(model, background).explain(rows)
    for estimate, truth in zip(short, long, strict=True):
        largest = np.abs(truth.contributions).max()
        assert np.corrcoef(estimate.contributions, truth.contributions)[0, 1] >= 0.99
        assert np.abs(estimate.contributions - truth.contributions).mean() <= 0.02 * largest
        assert np.abs(estimate.contributions - truth.contributions).max() <= 5 * (estimate.error + truth.error)


def test_contributions_of_a_row_do_not_depend_on_other_rows() -> None:
    model, background, frame = number_model(15, curved)
    explainer = Explainer(model, background)
    alone = explainer.explain(frame.take(slice(2, 3)))[0]
    among = explainer.explain(frame.take(slice(0, 5)))[2]
    np.testing.assert_array_equal(alone.contributions, among.contributions)
    other = explainer.explain(frame.take(slice(3, 4)))[0]
    assert (alone.contributions != other.contributions).all()


@pytest.mark.parametrize("columns", [3, 9, 12])
def test_announced_number_of_evaluations_is_the_actual_number(columns: int) -> None:
    seen: list[int] = []
    model, background, frame = number_model(columns, curved)

    def counted(x: np.ndarray) -> np.ndarray:
        seen.append(len(x))
        return curved(x)

    counting = TabularModel("1", model.schema, model.encoder, FunctionEngine(counted))
    explainer = Explainer(counting, background)
    rows = frame.take(slice(0, 3))
    announced = explainer.count_evaluations(rows)
    assert not seen
    explanations = explainer.explain(rows)
    assert sum(seen) == announced
    assert explanations[0].evaluations * 3 >= announced


@pytest.mark.parametrize("same", [0, 1, 3, 4, 9])
@pytest.mark.parametrize("columns", [3, 9, 11, 13, 70])
def test_number_of_evaluations_of_a_row_is_bounded(columns: int, same: int) -> None:
    """same: the number of columns with the same value in the row and in all background rows."""
    same = min(same, columns)
    model, background, frame = number_model(columns, curved)
    constant = [[*[0.0] * same, *numbers[same:]] for numbers in background.numbers]
    background = background.model_copy(update={"numbers": constant})
    row = Frame.from_numbers(frame.numbers[:1] + 1e-3)  # a value that no background row has
    row.numbers[:, :same] = 0.0
    found = Explainer(model, background).count_evaluations(row)
    assert found <= max_evaluations(columns, len(constant))
    if same == 0:
        assert found == evaluations_if_all_differ(columns, len(constant))
    if columns - same == MAX_EXACT_COLUMNS:
        assert found == max_evaluations(columns, len(constant))


def test_contributions_of_the_typical_row_are_zero() -> None:
    model, background, _ = number_model(12, curved)
    explanation = explain_one(model, background, background.typical, typical=True)
    assert explanation.exact
    assert (explanation.contributions == 0).all()


class OpaqueEngine:
    """An engine in a wrapper, so that the explainer does not recognise its type."""

    def __init__(self, engine: NumpyEngine) -> None:
        self.name, self.reason, self.outputs = engine.name, engine.reason, engine.outputs


@pytest.mark.parametrize("members", [0, 4])
@pytest.mark.parametrize("columns", [4, 14])
@pytest.mark.parametrize("hidden", [(), (8, 8)])
def test_sums_of_the_first_layer_give_the_contributions_of_whole_rows(
    members: int, columns: int, hidden: tuple[int, ...]
) -> None:
    """The network has periodic features of numbers, and embeddings of categories."""
    rng = np.random.default_rng(3)
    levels: list[bool | int | float | str] = ["x", "y", "z"]
    numbers = [
        Feature(name=f"c{i}", kind="number", nullable=i == 0, seen=TrainingRange(min=-9, max=9))
        for i in range(columns - 2)
    ]
    categories = [
        Feature(name=name, kind="category", nullable=False, seen=TrainingRange(levels=levels)) for name in ("k", "l")
    ]
    schema = FeatureSchema(name="game", task="regression", target="y", features=[*numbers, *categories])
    frame = Frame(rng.normal(size=(300, columns - 2)), rng.integers(0, 3, (300, 2)))
    frame.numbers[::7, 0] = np.nan
    encoder = Encoder.fit(schema, frame, rng.normal(size=300), bins=0, numbers="quantile")
    architecture = Architecture(
        numbers=encoder.width - len(encoder.tables),
        categories=tuple(encoder.tables),
        hidden=hidden,
        outputs=1,
        scales=(1.0,) * encoder.quantile_count,
        frequencies=4,
        embedding=3,
        members=members,
        adapters=members > 0 and bool(hidden),
        link="linear",
    )
    engine = NumpyEngine(build(architecture, rng), "a test")
    background = Background.fit(schema, frame, rng)
    rows = frame.take(slice(0, 3))
    model = TabularModel("1", schema, encoder, engine)
    fast = Explainer(model, background).explain(rows)
    general = Explainer(dataclasses.replace(model, engine=OpaqueEngine(engine)), background).explain(rows)
    assert engine.network.sums_inputs
    for one, other in zip(fast, general, strict=True):
        np.testing.assert_allclose(one.contributions, other.contributions, atol=1e-5)
        assert one.evaluations == other.evaluations
        assert one.error == pytest.approx(other.error, abs=1e-5)
