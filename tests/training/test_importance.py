"""The importance of columns is correct for a known function."""

from dataclasses import replace

import numpy as np
import pytest

from models.encoding.encoder import Encoder
from models.encoding.target_scaling import LogScaling, TargetScaling
from models.explanation.background import Background
from models.feature import Feature, TrainingRange
from models.frame import Frame
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from training.importance import column_importance, loss, unused_columns


class Sum:
    """An engine that computes 3·a + b on standardised numbers and ignores c."""

    name, reason = "function", "a test"

    def outputs(self, x: np.ndarray) -> np.ndarray:
        y: np.ndarray = (3 * x[:, :1] + x[:, 1:2]).astype(np.float32)
        return y


def model_and_rows(count: int) -> tuple[TabularModel, Background, Frame, np.ndarray]:
    features = [
        Feature(name=name, kind="number", nullable=False, seen=TrainingRange(min=-9, max=9)) for name in ("b", "a", "c")
    ]
    schema = FeatureSchema(name="sums", task="regression", target="y", features=[features[1], features[0], features[2]])
    rng = np.random.default_rng(0)
    frame = Frame.from_numbers(rng.normal(size=(count, 3)))
    target = 3 * frame.numbers[:, 0] + frame.numbers[:, 1] + rng.normal(scale=0.5, size=count)
    encoder = Encoder.fit(schema, frame, bins=0)
    return TabularModel("1", schema, encoder, Sum()), Background.fit(schema, frame, rng), frame, target


def test_columns_are_ranked_by_importance_and_unused_ones_are_named() -> None:
    model, background, frame, target = model_and_rows(1000)
    found = column_importance(model, background, frame, target, np.random.default_rng(1))
    assert [column.name for column in found] == ["a", "b", "c"]
    a, b, c = found
    assert a.contribution == pytest.approx(3 * b.contribution, rel=0.15)  # mean |3·a| against mean |b|
    assert a.loss_increase > b.loss_increase > 0.5
    assert (c.contribution, c.loss_increase) == (0, 0)
    assert unused_columns(found) == ["c"]


def test_loss_of_a_logarithm_is_in_the_unit_of_the_target() -> None:
    """The increase is that of the RMSE of the predictions, in both cases."""
    model, _, frame, _ = model_and_rows(200)
    logarithm = LogScaling(offset=0.0, mean=0.0, scale=0.5, lowest=1e-9)
    scaling = TargetScaling(scale=3.0, logarithm=logarithm)
    model = replace(model, encoder=model.encoder.model_copy(update={"target": scaling}))
    target = model.predict(frame).primary[:, 0] + 2.0
    assert loss(model, frame, target) == pytest.approx(2.0 / 3.0)


def test_few_rows_have_no_importance() -> None:
    model, background, frame, target = model_and_rows(100)
    assert column_importance(model, background, frame.take(slice(5)), target[:5], np.random.default_rng(1)) == []
    assert unused_columns([]) == []
