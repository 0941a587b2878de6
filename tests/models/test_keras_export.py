from collections.abc import Callable

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl

from models import keras_export, keras_nets
from models.architecture import Architecture
from models.keras_nets import ColumnSlice
from models.network import activations
from models.network.activations import Array

architectures = st.builds(
    Architecture,
    numbers=st.integers(1, 6),
    categories=st.lists(st.tuples(st.integers(2, 6), st.integers(1, 4)), max_size=3).map(tuple),
    hidden=st.lists(st.integers(1, 24), max_size=3).map(tuple),
    activation=st.sampled_from(sorted(activations.FUNCTIONS)),
    dropout=st.sampled_from([0.0, 0.3]),
    batch_normalization=st.booleans(),
    outputs=st.integers(1, 4),
)
ensembles = st.builds(
    Architecture,
    numbers=st.integers(2, 6),
    categories=st.lists(st.tuples(st.integers(2, 6), st.integers(1, 4)), max_size=3).map(tuple),
    hidden=st.lists(st.integers(1, 24), max_size=3).map(tuple),
    activation=st.sampled_from(["relu", "silu"]),
    dropout=st.sampled_from([0.0, 0.3]),
    batch_normalization=st.booleans(),
    outputs=st.integers(1, 4),
    scales=st.lists(st.sampled_from([0.5, 1.0, 6.0]), max_size=2).map(tuple),
    frequencies=st.integers(1, 16),
    embedding=st.integers(1, 8),
    members=st.integers(0, 4),
    adapters=st.booleans(),
    link=st.sampled_from(["linear", "sigmoid", "softmax"]),
)


def with_random_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """Replace the weights by random values, as after training: running means are not 0, and running variances not 1."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "seed" in variable.path:
            continue
        size = 1 / np.sqrt(variable.shape[0]) if len(variable.shape) == 2 else 0.5
        drawn = rng.normal(size=variable.shape) * size
        variable.assign(np.abs(drawn) + 0.5 if "variance" in variable.path or "gamma" in variable.path else drawn)
    return model


def assert_equal_outputs(model: keras.Model, x: Array, rounding: float = 0.0) -> None:
    wanted = model(x, training=False).numpy()
    network = keras_export.export(model)
    for ours in (network.predict(x), network.for_inference().forward(x)):
        assert (np.abs(ours - wanted) <= 1e-5 * np.maximum(np.abs(wanted), wanted.std()) + rounding).all()


def effect_of_rounding(model: keras.Model, x: Array) -> float:
    """The largest change of an output when each weight of the Keras model changes by one unit in its last place.

    Random weights can make outputs that are small differences of large terms, for example the mean of ensemble members
    that nearly cancel. Two ways to compute such outputs in float32 can differ by this much.
    """
    rng = np.random.default_rng(0)
    wanted, weights = model(x, training=False).numpy(), model.get_weights()
    directions = [np.where(rng.random(array.shape) < 0.5, np.inf, -np.inf).astype(np.float32) for array in weights]
    model.set_weights([*map(np.nextafter, weights, directions)])
    moved = float(np.abs(model(x, training=False).numpy() - wanted).max(initial=0.0))
    model.set_weights(weights)
    return moved


@given(architecture=st.one_of(architectures, ensembles), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_random_architectures_have_the_outputs_of_keras(architecture: Architecture, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = with_random_weights(keras_nets.build(architecture), seed)
    keras_nets.zero_unseen(model)
    levels = [rng.integers(0, levels, (1_000, 1)) for levels, _ in architecture.categories]
    x = np.concatenate([rng.normal(size=(1_000, architecture.numbers)), *levels], axis=1).astype(np.float32)
    assert_equal_outputs(model, x, rounding=4 * effect_of_rounding(model, x))


def test_effect_of_rounding_is_far_below_that_of_a_wrong_weight() -> None:
    model = with_random_weights(keras_nets.build(Architecture(4, hidden=(8, 8), scales=(1.0, 6.0), members=4)))
    x = np.random.default_rng(0).normal(size=(1_000, 4)).astype(np.float32)
    wanted, rounding = model(x, training=False).numpy(), effect_of_rounding(model, x)
    assert 0 < rounding < 1e-4 * wanted.std()
    for variable in model.trainable_variables:
        original = variable.numpy()
        changed = original.copy()
        changed.flat[0] += 0.01
        variable.assign(changed)
        assert np.abs(model(x, training=False).numpy() - wanted).max() > 4 * rounding, variable.path
        variable.assign(original)


def chain(*layers: keras.layers.Layer) -> keras.Model:
    return with_random_weights(keras.Sequential([keras.Input((5,)), *layers]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain(kl.Dense(8), kl.LeakyReLU(negative_slope=0.1), kl.Dense(2)),
        lambda: chain(kl.Dense(8), kl.ReLU(negative_slope=0.3), kl.Dense(2)),
        lambda: chain(kl.Dense(8), kl.ReLU(), kl.LayerNormalization(), kl.Dense(3), kl.Softmax()),
        lambda: chain(kl.Dense(8, use_bias=False), kl.ELU(alpha=0.5), kl.Dense(2, activation="softmax")),
        lambda: chain(kl.Dense(8, activation=kl.LeakyReLU(0.05)), kl.Dense(2)),
        lambda: chain(kl.BatchNormalization(scale=False), kl.Dense(8, activation="swish"), kl.Dense(2)),
        lambda: chain(kl.Dense(8), kl.BatchNormalization(center=False), kl.Activation("tanh"), kl.Dense(1)),
        lambda: chain(kl.Flatten(), kl.Rescaling([1, 2, 3, 4, 5], 0.5), kl.Dense(2)),
        lambda: chain(kl.Normalization(mean=[2000.0, 1, 2, 3, 4], variance=[4.0, 1, 2, 3, 4]), kl.Dense(2)),
        lambda: chain(kl.Normalization(mean=2.0, variance=4.0, invert=True), kl.Dense(2)),
    ],
)
def test_every_supported_layer_has_the_outputs_of_keras(make: Callable[[], keras.Model]) -> None:
    x = np.random.default_rng(0).normal(size=(500, 5)).astype(np.float32)
    assert_equal_outputs(make(), x)


def test_functional_model_that_is_a_chain_is_exported() -> None:
    x = keras.Input((5,))
    model = keras.Model(x, kl.Dense(2)(kl.Dense(4, activation="relu")(x)))
    assert_equal_outputs(model, np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32))


def test_further_training_does_not_change_the_exported_network() -> None:
    model = chain(kl.Dense(2))
    network = keras_export.export(model)
    before = network.predict(np.ones((1, 5)))
    with_random_weights(model, seed=1)
    np.testing.assert_array_equal(network.predict(np.ones((1, 5))), before)


def branches() -> keras.Model:
    x = keras.Input((5,))
    return keras.Model(x, kl.Dense(1)(kl.Add()([kl.Dense(4)(x), kl.Dense(4)(x)])))


def shared() -> keras.Model:
    x, dense = keras.Input((5,)), kl.Dense(5)
    return keras.Model(x, kl.Dense(1)(dense(dense(x))))


def categories(*spans: tuple[int, int]) -> keras.Model:
    x = keras.Input((5,))
    numbers = ColumnSlice(0, 3, name="numbers")(x)
    looked_up = [kl.Flatten()(kl.Embedding(4, 2)(ColumnSlice(*span, name=f"c{span[0]}")(x))) for span in spans]
    return keras.Model(x, kl.Dense(1)(kl.Concatenate()([numbers, *looked_up])))


class Twice(kl.Dense):  # type: ignore[misc]  # Keras has no types
    def call(self, x: Array) -> Array:
        return 2 * super().call(x)  # type: ignore[no-any-return]


def half_precision() -> keras.Model:
    return keras.Sequential([keras.Input((5,)), kl.Dense(2, dtype="mixed_bfloat16", name="half")])


def two_inputs() -> keras.Model:
    inputs = [keras.Input((2,)), keras.Input((3,))]
    return keras.Model(inputs, kl.Dense(1)(kl.Concatenate()(inputs)), name="two")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: chain(kl.UnitNormalization(name="unit")), r"layer 'unit' \(UnitNormalization\): .* no counterpart"),
        (lambda: chain(Twice(2, name="twice")), r"layer 'twice' \(Twice\): .* no counterpart"),
        (
            lambda: chain(kl.Dense(2, activation="relu6", name="d")),
            r"layer 'd' \(Dense\): activation 'relu6' is not one",
        ),
        (lambda: chain(kl.Dense(2, activation=lambda x: x * x, name="d")), r"layer 'd' .* activation '<lambda>'"),
        (lambda: chain(kl.Dense(2), kl.ReLU(max_value=6, name="r")), r"layer 'r' \(ReLU\): max_value"),
        (half_precision, r"layer 'half' \(Dense\): computes in bfloat16"),
        (branches, r"\(Add\): joins several branches"),
        (shared, r"layer used twice"),
        (two_inputs, r"layer 'two' \(Functional\): expected a built .* one input"),
        (lambda: keras.Sequential([kl.Dense(2)], name="s"), r"layer 's' \(Sequential\): expected a built"),
        (lambda: categories((4, 5), (3, 4)), r"layer 'c4' \(ColumnSlice\): expected ColumnSlice\(3, 4\)"),
        (lambda: categories((3, 4)), r"\(Concatenate\): takes 4 columns of 5"),
    ],
)
def test_unsupported_layer_is_refused_with_its_name_and_the_reason(
    make: Callable[[], keras.Model], message: str
) -> None:
    with pytest.raises(keras_export.CannotExport, match=message):
        keras_export.export(make())
