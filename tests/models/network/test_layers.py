from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from models import keras_nets
from models.architecture import Link
from models.network.activations import Array
from models.network.ensemble_layers import MemberDense, MemberMean, Members, SharedDense
from models.network.initializers import glorot, lecun
from models.network.layers import Activation, Dense, Dropout, Layer
from models.network.normalization_layers import BatchNormalization, LayerNormalization
from models.network.tabular_layers import Embedding, Periodic, Scale, Tabular
from tests.models.network.gradients import check_layer


def normal(*shape: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def batch_normalization() -> BatchNormalization:
    return BatchNormalization(normal(4), normal(4), normal(4), np.abs(normal(4)) + 0.5)


SHARED = SharedDense(normal(4, 2), normal(3, 4), normal(3, 2), normal(3, 2))
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
        Periodic(normal(3, 5), normal(3, 5), normal(3, 5, 2), normal(3, 2)),
        Members(normal(3, 4)),
        SharedDense(normal(4, 2), normal(3, 4), normal(3, 2), normal(3, 2)),
    ],
    ids=lambda layer: layer.kind,
)
def test_gradient_equals_finite_differences(layer: Layer, training: bool) -> None:
    check_layer(layer, normal(6, 4), training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        Dense(normal(4, 3), normal(3)),
        batch_normalization(),
        LayerNormalization(normal(4), normal(4)),
        SharedDense(normal(4, 2), normal(3, 4), normal(3, 2), normal(3, 2)),
        MemberDense(normal(3, 4, 2), normal(3, 2)),
    ],
    ids=lambda layer: layer.kind,
)
def test_gradient_of_ensemble_layers_equals_finite_differences(layer: Layer, training: bool) -> None:
    check_layer(layer, normal(6, 3, 4), training)


@pytest.mark.parametrize("link", ["linear", "sigmoid", "softmax"])
def test_training_output_has_one_row_for_each_member(link: Link) -> None:
    layer, z = MemberMean(link), normal(6, 3, 4)
    assert layer.forward(z, training=True) is z
    assert layer.backward(z) is z
    layer.forward(z)
    with pytest.raises(RuntimeError, match="trained separately"):
        layer.backward(normal(6, 4))


def test_ensemble_output_is_the_mean_of_values_or_probabilities() -> None:
    z = normal(6, 3, 4)
    p = np.exp(z) / np.exp(z).sum(axis=2, keepdims=True)
    sigmoid = (1 / (1 + np.exp(-z))).mean(axis=1)
    np.testing.assert_allclose(MemberMean("linear").forward(z), z.mean(axis=1))
    np.testing.assert_allclose(MemberMean("softmax").forward(z), np.log(p.mean(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(MemberMean("sigmoid").forward(z), np.log(sigmoid / (1 - sigmoid)), rtol=1e-10)


@pytest.mark.parametrize("link", ["linear", "sigmoid", "softmax"])
def test_mean_of_equal_members_equals_each_member(link: Link) -> None:
    z = np.array([[1000.0, -1000.0], [1e-3, 0.0], [-40.0, -41.0]])
    together = MemberMean(link).forward(np.repeat(z[:, np.newaxis], 3, axis=1))
    expected = z - z.max(axis=1, keepdims=True) if link == "softmax" else z
    if link == "softmax":
        expected -= np.log(np.exp(expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(together, expected, rtol=1e-12, atol=1e-12)


def test_periodic_layer_equals_a_hand_calculation() -> None:
    layer = Periodic(w=[[0.25, 1.0]], phase=[[0.0, np.pi]], V=[[[1.0, -1.0], [2.0, 0.0]]], b=[[0.5, 0.0]])
    # x = 1: cos(2π·0.25) = 0 and cos(2π + π) = -1; 0·1 - 1·2 + 0.5 < 0 and 0·-1 + 0: both off
    # x = 2: cos(2π·0.5) = -1 and cos(4π + π) = -1; -1 - 2 + 0.5 < 0 is off, and 1 is on
    # x = 0.5: cos(2π/8) = √½ and cos(π + π) = 1; √½ + 2 + 0.5 is on, -√½ is off. The second column is unchanged
    y = layer.forward(np.array([[1.0, 7.0], [2.0, 8.0], [0.5, 9.0]]))
    np.testing.assert_allclose(y, [[1, 7, 0, 0], [2, 8, 0, 1], [0.5, 9, 0.5**0.5 + 2.5, 0]], atol=1e-12)


def test_new_layers_have_the_documented_initial_weights() -> None:
    rng = np.random.default_rng(0)
    periodic = Periodic.new([1.0, 6.0], 2000, 8, rng)
    np.testing.assert_allclose(periodic.parameters["w"].std(axis=1), [1, 6], rtol=0.05)
    assert np.abs(periodic.parameters["phase"]).max() == pytest.approx(np.pi, rel=0.01)
    for name in ("V", "b"):
        assert np.abs(periodic.parameters[name]).max() <= 2000**-0.5
    assert set(np.unique(Members.new(4, 50, rng).r)) == {-1, 1}
    first, later = (SharedDense.new(4, 50, 300, rng, first) for first in (True, False))
    assert set(np.unique(first.r)) == {-1, 1}
    assert (later.r == 1).all()
    assert (later.parameters["s"] == 1).all()
    assert later.W.var() == pytest.approx(1 / 50, rel=0.05)
    assert np.abs(later.parameters["b"]).max() == pytest.approx(50**-0.5, rel=0.05)
    own = MemberDense.new(4, 50, 300, rng)
    assert own.W.var() == pytest.approx(1 / 150, rel=0.05)
    assert not own.b.any()


def test_a_level_used_twice_sums_its_gradients() -> None:
    layer = Embedding(normal(5, 2))
    check_layer(layer, np.array([[0.0], [3.0], [0.0], [4.0], [0.0]]), inputs=False)


def test_tabular_layer_embeds_the_category_columns() -> None:
    layer = Tabular(1, table_0=normal(3, 2), table_1=normal(4, 3))
    y = layer.forward(CATEGORIES)
    assert y.shape == (4, 1 + 2 + 3)
    np.testing.assert_array_equal(y[1], [-1.0, *layer.tables[0][1], *layer.tables[1][2]])
    check_layer(layer, CATEGORIES.copy(), inputs=False)
    d_x = layer.backward(np.ones((4, 6)))
    np.testing.assert_array_equal(d_x, [[1, 0, 0]] * 4)  # level numbers have no gradient


def test_unseen_level_stays_zero_during_training() -> None:
    layer = Tabular.new(1, [(3, 2), (4, 3)], np.random.default_rng(0), np.float64)
    y = layer.forward(np.array([[0.0, 2, 3], [0.0, 0, 1]]))
    np.testing.assert_array_equal(y[0], np.zeros(6))
    layer.backward(np.ones((2, 6)))
    assert all((layer.gradients[name][-1] == 0).all() for name in layer.gradients)
    assert (layer.gradients["table_0"][0] == 1).all()


@pytest.mark.parametrize("number", [-1.0, 5.0, 1e30, np.nan, np.inf, -np.inf])
def test_invalid_level_number_counts_as_the_last(number: float) -> None:
    table = normal(5, 2)
    np.testing.assert_array_equal(Embedding(table).forward(np.array([[number]])), table[-1:])


def test_dropout_keeps_the_mean_and_drops_the_given_fraction() -> None:
    layer = Dropout(0.3)
    y = layer.forward(np.ones((200, 200), np.float32), training=True, rng=np.random.default_rng(0))
    assert y.mean() == pytest.approx(1, abs=0.02)
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert y.dtype == np.float32


def test_dropout_does_nothing_at_inference() -> None:
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
        (
            Periodic(normal(3, 5), normal(3, 5), normal(3, 5, 2), normal(3, 2)),
            keras_nets.Periodic([1.0] * 3, 5, 2, dtype="float64"),
        ),
        (Members(normal(3, 4)), keras_nets.Members(3, dtype="float64")),
        (SHARED, keras_nets.SharedDense(3, 2, dtype="float64")),
        (SHARED, keras_nets.SharedDense(3, 2, dtype="float64", name="apart")),
        (MemberDense(normal(3, 4, 2), normal(3, 2)), keras_nets.MemberDense(2, dtype="float64", name="own_apart")),
    ],
    ids=lambda layer: layer.name if isinstance(layer, keras.layers.Layer) else "",
)
@pytest.mark.parametrize("training", [False, True])
def test_values_gradients_and_running_means_equal_those_of_keras(
    ours: Layer, theirs: keras.layers.Layer, training: bool
) -> None:
    x = normal(8, 3, 4) if "apart" in theirs.name else normal(8, 4)
    weights = [*ours.parameters.values(), *ours.state.values()]
    if not theirs.built:
        theirs.build((None, *x.shape[1:]))
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


def test_initializers_have_the_documented_variance() -> None:
    rng = np.random.default_rng(0)
    assert glorot(rng, 300, 200).var() == pytest.approx(2 / 500, rel=0.02)
    assert lecun(rng, 300, 200).var() == pytest.approx(1 / 300, rel=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(np.zeros((2, 3)), np.zeros(2)), r"given \(2, 3\) and \(2,\)"),
        (lambda: Periodic(normal(2, 3), normal(2, 3), normal(2, 3, 4), normal(2, 3)), r"expected w \(n, h\).*given"),
        (lambda: Members(normal(3)), r"r \(members, columns\), given \(3,\)"),
        (lambda: SharedDense(normal(4, 2), normal(3, 4), normal(3, 2), normal(2)), "expected W .*given"),
        (lambda: MemberDense(normal(3, 4, 2), normal(2)), r"given \(3, 4, 2\) and \(2,\)"),
        (
            lambda: MemberMean("mean"),  # type: ignore[arg-type]
            "link: expected one of linear, sigmoid, softmax, given 'mean'",
        ),
        (lambda: Periodic.new([1.0] * 3, 4, 2, np.random.default_rng(0)).forward(normal(5, 2)), "given \\(5, 2\\)"),
        (lambda: Members(normal(3, 4)).forward(normal(5, 3)), r"members layer: expected \(batch, 4\), given \(5, 3\)"),
        (
            lambda: SharedDense(normal(4, 2), normal(3, 4), normal(3, 2), normal(3, 2)).forward(normal(5, 2, 4)),
            r"expected \(batch, 4\) or \(batch, 3, 4\), given \(5, 2, 4\)",
        ),
        (
            lambda: MemberDense(normal(3, 4, 2), normal(3, 2)).forward(normal(5, 4)),
            r"expected \(batch, 3, 4\), given \(5, 4\)",
        ),
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
def test_invalid_shapes_name_the_expected_shape(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
