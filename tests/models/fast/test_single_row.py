"""`SingleRowPredictor` returns the prediction of the model, or leaves the row to the model."""

import dataclasses
import functools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.fast.single_row import single_row_predictor
from models.feature import MISSING, Feature, TrainingRange
from models.frame import Frame
from models.golden_rows import TOLERANCE, max_distance
from models.network.network import build
from models.outputs import Outputs
from models.probabilities import probabilities, sigmoid
from models.row_warnings import find_warnings
from models.rows import validate_rows
from models.schema import FeatureSchema
from models.tabular_model import TabularModel

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal([0, 50, 1e6], [1, 9, 1e5], (300, 3))


def features(**changes: Any) -> list[Feature]:
    seen = [TrainingRange(min=float(column.min()), max=float(column.max())) for column in NUMBERS.T]
    return [
        Feature(**{"name": name, "kind": "number", "nullable": False, "seen": one, **changes})
        for name, one in zip("abc", seen, strict=True)
    ]


def make(task: str = "regression", bins: int = 0, **changes: Any) -> TabularModel:
    classes: Any = None if task == "regression" else ["no", "yes"]
    schema = FeatureSchema(name="t", task=task, target="y", classes=classes, features=features(**changes))  # type: ignore[arg-type]
    target = NUMBERS.sum(axis=1) if task == "regression" else None
    encoder = Encoder.fit(schema, Frame(NUMBERS, np.empty((300, 0), np.int64)), target, bins=bins)
    network = build(Architecture(encoder.width, hidden=(8,)), np.random.default_rng(1))
    return TabularModel("1", schema, encoder, NumpyEngine(network, "test"))


MODEL = make()
VALUES = st.one_of(st.floats(-5, 5), st.floats(0, 100), st.floats(5e5, 1.5e6), st.floats(allow_nan=False, width=64))


@settings(max_examples=500, deadline=None)
@given(st.tuples(VALUES, VALUES, VALUES), st.integers(0, 299))
def test_fast_path_returns_the_outputs_of_the_model_or_the_row_has_a_warning(
    cells: tuple[float, float, float], known: int
) -> None:
    predict_row = single_row_predictor(MODEL)
    assert predict_row is not None
    for row in (dict(zip("abc", cells, strict=True)), dict(zip("abc", NUMBERS[known].tolist(), strict=True))):
        value = predict_row(row)
        frame = MODEL.schema.frames.from_rows([row])
        warned = bool(find_warnings(MODEL.schema, frame))
        assert (value is None) == warned
        if value is not None:
            assert value == MODEL.predict(frame).primary.item()


LEVELS: list[bool | int | float | str] = [f"level {number:02}" for number in range(30)]
MIXED = [
    Feature(name="n", kind="number", nullable=True, seen=TrainingRange(min=-2, max=2)),
    Feature(name="b", kind="boolean", nullable=True),
    Feature(name="m", kind="number", nullable=False, seen=TrainingRange(min=0, max=9)),
    Feature(name="few", kind="category", nullable=True, seen=TrainingRange(levels=["a", "b", "c"])),
    Feature(name="many", kind="category", nullable=False, seen=TrainingRange(levels=LEVELS)),
    Feature(name="hashed", kind="category", nullable=False, seen=TrainingRange(hashed=64, count=90_000, type="text")),
    Feature(name="code", kind="category", nullable=False, seen=TrainingRange(levels=[0, 1])),
]
DATE = Feature(name="d", kind="date", nullable=False)
CLASSES: dict[str, Any] = {"regression": None, "binary": ["no", "yes"], "multiclass": ["a", "b", "c"]}
TASKS = ["regression", "binary", "multiclass"]


@functools.cache
def mixed(task: str, numbers: str, missing: bool = True, bins: int = 0, date: bool = False) -> TabularModel:
    """A model with every kind of column. missing: whether the training rows have missing values."""
    rng = np.random.default_rng(0)
    features = [*MIXED, DATE] if date else MIXED
    schema = FeatureSchema(name="t", task=task, target="y", classes=CLASSES[task], features=features)  # type: ignore[arg-type]
    values = np.column_stack([rng.normal(size=300), rng.integers(0, 2, 300), rng.uniform(0, 9, 300)])
    codes = np.column_stack([rng.integers(0, len(feature.seen.levels or range(64)), 300) for feature in features[3:7]])
    if missing:
        values[::7, :2] = np.nan
        codes[::9, 0] = MISSING
    if date:
        values = np.column_stack([values, rng.integers(0, 10**9, 300)])
    target = values[:, 2] if task == "regression" else None
    encoder = Encoder.fit(schema, Frame(values, codes), target, bins, numbers)  # type: ignore[arg-type]
    architecture = Architecture(
        encoder.width - len(encoder.tables),
        tuple(encoder.tables),
        hidden=(8, 8),
        outputs=3 if task == "multiclass" else 1,
        scales=(1.0,) * encoder.quantile_count,
        members=2,
        adapters=True,
        link={"regression": "linear", "binary": "sigmoid", "multiclass": "softmax"}[task],  # type: ignore[arg-type]
    )
    return TabularModel("1", schema, encoder, NumpyEngine(build(architecture, rng), "test"))


MIXED_ROWS = st.fixed_dictionaries(
    {
        "n": st.one_of(st.none(), st.floats(-3, 3), st.integers(-3, 3)),
        "b": st.sampled_from([True, False, None]),
        "m": st.one_of(st.floats(0, 9), st.floats(-1e300, 1e300)),
        "few": st.sampled_from(["a", "b", "c", None, "d"]),
        "many": st.sampled_from([*LEVELS, "unseen"]),
        "hashed": st.text(max_size=3),
        "code": st.sampled_from([0, 1, 2]),
    }
)


@settings(max_examples=200, deadline=None)
@given(MIXED_ROWS, st.sampled_from(TASKS), st.sampled_from(["scaled", "quantile"]), st.booleans())
def test_all_kinds_of_rows_get_the_outputs_of_the_model(row: Any, task: str, numbers: str, missing: bool) -> None:
    model = mixed(task, numbers, missing)
    predict_row = single_row_predictor(model)
    assert predict_row is not None
    for fields in (row, {name: value for name, value in row.items() if value is not None}):
        frame = model.schema.frames.from_rows([fields])
        found = predict_row(fields)
        assert (found is None) == bool(find_warnings(model.schema, frame))
        if found is not None:
            primary = found.primary if isinstance(found, Outputs) else np.array([[found]])
            np.testing.assert_array_equal(primary, model.predict(frame).primary)


@pytest.mark.parametrize(
    "model",
    [make(bins=4), make("binary", bins=4), mixed("regression", "quantile", date=True)],
    ids=["bins", "bins of a classification", "dates"],
)
def test_unsupported_models_have_no_single_row_predictor(model: TabularModel) -> None:
    assert single_row_predictor(model) is None


class Infinite:
    name = reason = "infinite"

    def outputs(self, x: Any) -> Any:
        return np.full((len(x), 1), np.inf, np.float32)


def test_non_finite_output_is_not_returned() -> None:
    model = dataclasses.replace(MODEL, engine=Infinite())
    row = dict(zip("abc", NUMBERS[0].tolist(), strict=True))
    predict_row = single_row_predictor(model)
    assert predict_row is not None
    assert predict_row(row) is None
    for rows in ([row], [row] * 100):
        assert np.isinf(model.predict_rows(rows).primary).all()
    assert np.isnan(MODEL.encoder.target.unscale(np.full((100, 1), np.nan, np.float32))).all()


@pytest.mark.parametrize("task", ["regression", "binary"])
@pytest.mark.parametrize("bins", [0, 8])
def test_single_row_is_predicted_as_in_a_batch(task: str, bins: int) -> None:
    model = make(task, bins)
    rows = [dict(zip("abc", row, strict=True)) for row in (NUMBERS * 1.5).tolist()]
    together = model.predict_rows(rows).primary
    alone = np.concatenate([model.predict_rows([row]).primary for row in rows])
    assert alone.dtype == together.dtype
    assert max_distance(alone, together, model.tolerance()) <= TOLERANCE


@given(st.floats(width=32, allow_nan=False))
def test_sigmoid_of_few_rows_equals_that_of_many(logit: float) -> None:
    many = probabilities(np.full((100, 1), logit, np.float32))
    assert abs(sigmoid(logit) - many[0, 1]) <= 1e-6
    assert probabilities(np.full((1, 1), logit, np.float32)) == pytest.approx(many[:1], abs=1e-6)


CELLS = st.one_of(st.floats(), st.integers(-10, 10), st.booleans(), st.none(), st.text(max_size=3))
ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "c", "d", "y"]), CELLS), max_size=5)


@settings(max_examples=500, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=3), st.booleans())
def test_compiled_validators_accept_rows_by_the_general_rules(
    rows: list[list[tuple[str, Any]]], complete: bool
) -> None:
    """Rows are written as text, because a name may occur twice; such rows are not accepted."""
    known = [("a", 1.0), ("b", 2.0), ("c", 3)] if complete else []
    texts = [", ".join(f"{json.dumps(name)}: {json.dumps(cell)}" for name, cell in [*known, *row]) for row in rows]
    body = ('{"rows": [' + ", ".join("{" + text + "}" for text in texts) + "]}").encode()
    accepted = MODEL.schema.validators.parse_body(body)
    names = [[name for name, _ in [*known, *row]] for row in rows]
    if accepted is None and all(len(set(each)) == len(each) for each in names):
        assert b"NaN" in body or b"Infinity" in body or validate_rows(MODEL.schema, json.loads(body)["rows"]).errors
    elif accepted is not None:
        assert not validate_rows(MODEL.schema, accepted).errors
        assert all(set("abc") <= row.keys() for row in accepted)
