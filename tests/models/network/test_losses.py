import math
from typing import Any

import keras
import numpy as np
import pytest

from models.network.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Huber, Loss, SquaredError, Targets
from tests.models.network.gradients import check_gradient

BINARY: Targets = np.array([0, 1, 1, 0, 1])
CLASSES: Targets = np.array([2, 0, 1, 1, 2])
NUMBERS: Targets = np.array([0.3, -1.2, 2.0, 0.1, 5.0])

EVERY = [
    (BinaryCrossEntropy(), 1, BINARY),
    (BinaryCrossEntropy(label_smoothing=0.1), 1, BINARY),
    (BinaryCrossEntropy(class_weights=(1.0, 3.0)), 1, BINARY),
    (CategoricalCrossEntropy(), 3, CLASSES),
    (CategoricalCrossEntropy(label_smoothing=0.2), 3, CLASSES),
    (CategoricalCrossEntropy(class_weights=(1.0, 0.5, 2.0)), 3, CLASSES),
    (SquaredError(), 1, NUMBERS),
    (SquaredError(), 2, np.stack([NUMBERS, -NUMBERS], axis=1)),
    (Huber(), 1, NUMBERS),
    (Huber(delta=0.5), 1, NUMBERS),
]


@pytest.mark.parametrize(("loss", "units", "targets"), EVERY, ids=str)
@pytest.mark.parametrize("weights", [None, np.array([1.0, 2.0, 0.0, 0.5, 1.5])], ids=["plain", "weighted"])
def test_gradient_equals_finite_differences(loss: Loss, units: int, targets: Targets, weights: Targets | None) -> None:
    z = np.random.default_rng(0).normal(size=(5, units)) * 2
    _, d_z = loss(z, targets, weights)
    check_gradient(d_z, lambda: loss(z, targets, weights)[0], z)


@pytest.mark.parametrize("weights", [None, np.array([1.0, 2.0, 0.0, 0.5, 1.5])], ids=["plain", "weighted"])
def test_values_equal_those_of_keras(weights: Targets | None) -> None:
    rng = np.random.default_rng(0)
    kl = keras.losses
    one, three = rng.normal(size=(5, 1)), rng.normal(size=(5, 3))
    pairs: list[tuple[Loss, Any, Targets, Targets, Targets | None]] = [
        (BinaryCrossEntropy(0.1), kl.BinaryCrossentropy(True, 0.1, dtype="float64"), one, BINARY, BINARY[:, None]),
        (CategoricalCrossEntropy(0.1), kl.CategoricalCrossentropy(True, 0.1, dtype="float64"), three, CLASSES, None),
        (SquaredError(), kl.MeanSquaredError(dtype="float64"), one, NUMBERS, NUMBERS[:, None]),
        (Huber(0.7), kl.Huber(0.7, dtype="float64"), one, NUMBERS, NUMBERS[:, None]),
    ]
    for ours, theirs, z, targets, keras_targets in pairs:
        wanted = np.eye(3)[CLASSES] if keras_targets is None else keras_targets
        expected = float(theirs(wanted, z, sample_weight=weights))
        assert ours(z, targets, weights)[0] == pytest.approx(expected, rel=1e-6), ours


def test_class_weights_equal_row_weights() -> None:
    z = np.random.default_rng(0).normal(size=(5, 3))
    by_class = CategoricalCrossEntropy(class_weights=(1.0, 0.5, 2.0))(z, CLASSES)
    by_row = CategoricalCrossEntropy()(z, CLASSES, np.array([2.0, 1.0, 0.5, 0.5, 2.0]))
    assert by_class[0] == pytest.approx(by_row[0])
    np.testing.assert_allclose(by_class[1], by_row[1])


def test_loss_of_extreme_logits_is_exact() -> None:
    assert BinaryCrossEntropy()(np.array([[1000.0], [-1000.0]]), np.array([1, 0]))[0] == 0
    assert BinaryCrossEntropy()(np.array([[-1000.0]]), np.array([1]))[0] == 1000
    assert CategoricalCrossEntropy()(np.array([[1000.0, 0.0]]), np.array([1]))[0] == 1000


def test_loss_of_equal_probabilities_is_log_2() -> None:
    loss, d_z = BinaryCrossEntropy()(np.zeros((2, 1)), np.array([0, 1]))
    assert loss == pytest.approx(math.log(2))
    np.testing.assert_allclose(d_z, [[0.25], [-0.25]])  # (probability - target) / rows


@pytest.mark.parametrize(
    ("loss", "z", "targets", "message"),
    [
        (SquaredError(), (4, 1), np.zeros(3), r"expected the shape of the outputs, \(4, 1\).*given \(3,\)"),
        (SquaredError(), (4, 2), np.zeros(4), r"expected the shape of the outputs, \(4, 2\).*given \(4,\)"),
        (CategoricalCrossEntropy(), (4, 3), np.zeros((4, 3)), r"expected shape \(4,\).*given \(4, 3\)"),
        (CategoricalCrossEntropy(), (2, 3), np.array([0, 3]), r"expected classes 0 to 2, given 0 to 3"),
        (BinaryCrossEntropy(), (2, 1), np.array([0, 2]), r"expected labels from 0 to 1, given 0 to 2"),
        (BinaryCrossEntropy(), (2, 1), np.array([-1, 1]), r"expected labels from 0 to 1, given -1 to 1"),
        (BinaryCrossEntropy(class_weights=(1, 2, 3)), (2, 1), np.array([0, 1]), r"class_weights: expected 2.*given 3"),
        (
            CategoricalCrossEntropy(class_weights=(1, 2)),
            (2, 3),
            np.array([0, 1]),
            r"class_weights: expected 3.*given 2",
        ),
    ],
)
def test_errors_for_invalid_targets_and_class_weights_name_the_expected_value(
    loss: Loss, z: tuple[int, int], targets: Targets, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        loss(np.zeros(z), targets)
