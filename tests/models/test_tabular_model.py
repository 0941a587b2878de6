"""A tabular model converts validated rows to the predictions of the API."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.engines import NumpyEngine
from models.golden_rows import TOLERANCE, max_distance
from models.json_text import short_floats
from models.outputs import Outputs
from models.probabilities import probabilities
from models.tabular_model import TabularModel
from models.text import class_key
from models.version_files import TrainedVersion

Row = dict[str, Any]
TASKS = ["regression", "binary", "multiclass"]


@pytest.fixture(params=TASKS)
def model(request: pytest.FixtureRequest, make_trained: Callable[..., TrainedVersion]) -> TabularModel:
    trained = make_trained(request.param)
    assert trained.network is not None
    return TabularModel("3", trained.schema, trained.encoder, NumpyEngine(trained.network, "a test"))


def test_single_row_is_predicted_as_in_a_batch(model: TabularModel, some_rows: Callable[[int], list[Row]]) -> None:
    rows = some_rows(1000)
    together = model.predict_rows(rows).primary
    alone = np.concatenate([model.predict_rows([row]).primary for row in rows[:100]])
    assert max_distance(alone, together[:100], model.tolerance()) <= TOLERANCE


def test_outputs_have_one_row_per_input_and_probabilities_sum_to_1(
    model: TabularModel, some_rows: Callable[[int], list[Row]]
) -> None:
    outputs = model.predict_rows(some_rows(50)).primary
    assert outputs.shape == (50, len(model.schema.classes or [1]))
    if model.schema.classes:
        np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-6)
        assert (outputs >= 0).all()


def test_zero_rows_have_zero_predictions(model: TabularModel) -> None:
    assert model.present(model.predict_rows([])) == []


def test_model_has_the_tag_name_and_tolerance_of_the_version(model: TabularModel) -> None:
    assert (model.tag, model.name) == ("homes:3", "homes")
    expected = model.encoder.target.scale if model.schema.task == "regression" else 1.0
    assert model.tolerance() == expected


def with_classes(model: TabularModel, classes: list[Any]) -> TabularModel:
    task = "binary" if len(classes) == 2 else "multiclass"
    return replace(model, schema=model.schema.model_copy(update={"task": task, "classes": classes}))


@pytest.mark.parametrize(
    ("classes", "keys"),
    [
        (["<=50K", ">50K"], ["<=50K", ">50K"]),
        ([False, True], ["false", "true"]),
        ([0, 1], ["0", "1"]),
        ([1, 2.5, 7], ["1", "2.5", "7"]),
    ],
)
def test_label_has_its_json_type_and_its_key_is_text(model: TabularModel, classes: Any, keys: list[str]) -> None:
    outputs = Outputs(np.eye(len(classes), dtype=np.float32))
    for label, prediction in zip(classes, with_classes(model, classes).present(outputs), strict=True):
        assert (prediction["label"], type(prediction["label"])) == (label, type(label))
        assert list(prediction["probabilities"]) == keys
        assert prediction["probabilities"][class_key(label)] == 1.0


def test_regression_is_presented_as_one_value(make_trained: Callable[..., TrainedVersion]) -> None:
    trained = make_trained("regression")
    assert trained.network is not None
    model = TabularModel("1", trained.schema, trained.encoder, NumpyEngine(trained.network, ""))
    assert model.present(Outputs(np.array([[4.131927], [-0.5]]))) == [{"value": 4.131927}, {"value": -0.5}]


def test_single_logit_belongs_to_the_second_class() -> None:
    p = probabilities(np.array([[0.0], [1000.0], [-1000.0], [np.log(3)]], dtype=np.float32))
    np.testing.assert_allclose(p, np.array([[0.5, 0.5], [0, 1], [1, 0], [0.25, 0.75]]), atol=1e-7)


def test_large_logits_become_finite_probabilities() -> None:
    p = probabilities(np.array([[1e30, 0, -1e30], [0, np.log(2), 0]], dtype=np.float32))
    np.testing.assert_allclose(p, np.array([[1, 0, 0], [0.25, 0.5, 0.25]]), atol=1e-7)


def test_floats_have_the_shortest_text_of_their_precision() -> None:
    assert short_floats(np.array([0.1, 1 / 3], dtype=np.float32)) == [0.1, 0.33333334]
    assert short_floats(np.array([0.1, 1 / 3])) == [0.1, 1 / 3]
    assert short_floats(np.array([[1.5, 0.0], [2.5, 0.0]])[:, 0]) == [1.5, 2.5]
