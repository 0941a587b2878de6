from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from models.network.activations import Array
from models.network.layers import (
    Activation,
    BatchNormalization,
    Dense,
    Dropout,
    Embedding,
    Layer,
    LayerNormalization,
    Scale,
    Tabular,
    glorot,
    he,
)
from tests.models.network.gradients import check_layer


def normal(*shape: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def batch_normalization() -> BatchNormalization:
    return BatchNormalization(normal(4), normal(4), normal(4), np.abs(normal(4)) + 0.5)


CATEGORIES = np.array([[0.5, 0, 2], [-1.0, 1, 2], [0.2, 0, 0], [0.1, 0, 1]])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        Dense(normal(4, 3), normal(3)),
        Activation("tanh"),
        Dropout(0.4),
        batch_normalization(),
        LayerNormalization(normal(4), normal(4)),
        Scale(normal(4), normal(4), normal(4)),
    ],
    ids=lambda layer: layer.kind,
)
def test_the_gradient_is_that_of_finite_differences(layer: Layer, training: bool) -> None:
    check_layer(layer, normal(6, 4), training)


def test_a_level_used_twice_sums_its_gradients() -> None:
    layer = Embedding(normal(5, 2))
    check_layer(layer, np.array([[0.0], [3.0], [0.0], [4.0], [0.0]]), inputs=False)


def test_the_tabular_layer_takes_the_matrix_apart() -> None:
    layer = Tabular(1, table_0=normal(3, 2), table_1=normal(4, 3))
    y = layer.forward(CATEGORIES)
    assert y.shape == (4, 1 + 2 + 3)
    np.testing.assert_array_equal(y[1], [-1.0, *layer.tables[0][1], *layer.tables[1][2]])
    check_layer(layer, CATEGORIES.copy(), inputs=False)
    d_x = layer.backward(np.ones((4, 6)))
    np.testing.assert_array_equal(d_x, [[1, 0, 0]] * 4)  # numbers pass through, level numbers are names


def test_the_unseen_level_stays_zero_whatever_is_learned() -> None:
    layer = Tabular.new(1, [(3, 2), (4, 3)], np.random.default_rng(0), np.float64)
    y = layer.forward(np.array([[0.0, 2, 3], [0.0, 0, 1]]))
    np.testing.assert_array_equal(y[0], np.zeros(6))
    layer.backward(np.ones((2, 6)))
    assert all((layer.gradients[name][-1] == 0).all() for name in layer.gradients)
    assert (layer.gradients["table_0"][0] == 1).all()


@pytest.mark.parametrize("number", [-1.0, 5.0, 1e30, np.nan, np.inf, -np.inf])
def test_a_number_that_is_no_level_counts_as_the_last(number: float) -> None:
    table = normal(5, 2)
    np.testing.assert_array_equal(Embedding(table).forward(np.array([[number]])), table[-1:])


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    layer = Dropout(0.3)
    y = layer.forward(np.ones((200, 200), np.float32), training=True, rng=np.random.default_rng(0))
    assert y.mean() == pytest.approx(1, abs=0.02)
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert y.dtype == np.float32


def test_dropout_in_use_does_nothing() -> None:
    x = normal(3, 4)
    assert Dropout(0.5).forward(x) is x


def test_dropout_without_an_rng_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an rng"):
        Dropout(0.5).forward(normal(3, 4), training=True)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (batch_normalization(), keras.layers.BatchNormalization(dtype="float64")),
        (LayerNormalization(normal(4), normal(4)), keras.layers.LayerNormalization(dtype="float64")),
        (Dense(normal(4, 3), normal(3)), keras.layers.Dense(3, dtype="float64")),
    ],
    ids=lambda layer: layer.name if isinstance(layer, keras.layers.Layer) else "",
)
@pytest.mark.parametrize("training", [False, True])
def test_values_gradients_and_running_means_are_those_of_keras(
    ours: Layer, theirs: keras.layers.Layer, training: bool
) -> None:
    x, weights = normal(8, 4), [*ours.parameters.values(), *ours.state.values()]
    if not theirs.built:
        theirs.build((None, 4))
    theirs.set_weights(weights)
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = theirs(inputs, training=training)
        loss = tf.reduce_sum(y * y)
    d_inputs, *d_parameters = tape.gradient(loss, [inputs, *(v.value for v in theirs.trainable_variables)])

    ours_y = ours.forward(x, training)
    d_x = ours.backward(2 * ours_y)
    close(ours_y, y.numpy())
    close(d_x, d_inputs.numpy())
    for gradient, d_parameter in zip(ours.gradients.values(), d_parameters, strict=True):
        close(gradient, d_parameter.numpy())
    for now, then in zip([*ours.parameters.values(), *ours.state.values()], theirs.variables, strict=True):
        close(now, then.numpy())


def close(ours: Array, theirs: Array) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


def test_the_initialisers_have_the_variance_they_promise() -> None:
    rng = np.random.default_rng(0)
    assert glorot(rng, 300, 200).var() == pytest.approx(2 / 500, rel=0.02)
    assert he(rng, 300, 200).var() == pytest.approx(2 / 300, rel=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(np.zeros((2, 3)), np.zeros(2)), r"given \(2, 3\) and \(2,\)"),
        (
            lambda: Dense(np.zeros((2, 3)), np.zeros(3)).forward(np.zeros((5, 4))),
            r"expected \(batch, 2\), given \(5, 4\)",
        ),
        (
            lambda: Tabular(1, table_0=np.zeros((3, 2))).forward(np.zeros((5, 4))),
            r"expected \(batch, 2\), given \(5, 4\)",
        ),
        (lambda: BatchNormalization.new(3).forward(np.zeros((5, 1))), r"expected \(batch, 3\), given \(5, 1\)"),
        (lambda: LayerNormalization.new(3).forward(np.zeros((5, 4))), r"expected \(batch, 3\), given \(5, 4\)"),
        (lambda: Dropout(1.0), r"expected 0 <= rate < 1, given 1.0"),
    ],
)
def test_wrong_shapes_say_what_was_expected(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
