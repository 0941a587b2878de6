import dataclasses
import json
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models import keras_nets
from models.architecture import Architecture, Epoch
from models.network.activations import Array
from models.network.layers import Activation, Dense, Dropout
from models.network.losses import BinaryCrossEntropy, CategoricalCrossEntropy, SquaredError, Targets
from models.network.network import DivergenceError, Network, build
from models.network.optimizers import SGD, Adam
from tests.models.network.gradients import check_gradient

SMOOTH = ["tanh", "sigmoid", "softplus", "gelu", "silu", "elu"]

architectures = st.builds(
    Architecture,
    numbers=st.integers(1, 4),
    categories=st.lists(st.tuples(st.integers(2, 5), st.integers(1, 3)), max_size=2).map(tuple),
    hidden=st.lists(st.integers(1, 6), max_size=3).map(tuple),
    activation=st.sampled_from(SMOOTH),
    dropout=st.sampled_from([0.0, 0.3]),
    batch_normalization=st.booleans(),
    outputs=st.integers(1, 3),
)
ensembles = st.builds(
    Architecture,
    numbers=st.integers(2, 4),
    categories=st.lists(st.tuples(st.integers(2, 5), st.integers(1, 3)), max_size=2).map(tuple),
    hidden=st.lists(st.integers(1, 6), max_size=2).map(tuple),
    activation=st.sampled_from(SMOOTH),
    dropout=st.sampled_from([0.0, 0.3]),
    batch_normalization=st.booleans(),
    outputs=st.integers(1, 3),
    scales=st.lists(st.sampled_from([0.3, 1.0]), max_size=2).map(tuple),
    frequencies=st.integers(1, 5),
    embedding=st.integers(1, 3),
    members=st.integers(1, 3),
    adapters=st.booleans(),
    link=st.sampled_from(["linear", "sigmoid", "softmax"]),
)


def rows_for(architecture: Architecture, count: int, rng: np.random.Generator) -> Array:
    """Random rows; their levels never include the last level, which is the unseen one."""
    levels = [rng.integers(0, levels - 1, (count, 1)) for levels, _ in architecture.categories]
    return np.concatenate([rng.normal(size=(count, architecture.numbers)), *levels], axis=1)


@given(architecture=ensembles, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_ensemble_gradients_equal_finite_differences(architecture: Architecture, seed: int) -> None:
    """The loss compares each ensemble member with the target, as in `fit`."""
    rng = np.random.default_rng(seed)
    network = build(architecture, rng, np.float64)
    x = rows_for(architecture, 7, rng)
    y = rng.normal(size=(7 * architecture.members, architecture.outputs))

    def forward() -> tuple[float, Array]:
        outputs = network.forward(x, True, np.random.default_rng(seed))  # (batch, members, outputs)
        loss, d_outputs = SquaredError()(outputs.reshape(y.shape), y)
        return loss, d_outputs.reshape(outputs.shape)

    d_x = network.backward(forward()[1])
    analytic = {name: gradient.copy() for name, gradient in network.gradients.items()}
    for name, parameter in network.parameters.items():
        check_gradient(analytic[name], lambda: forward()[0], parameter)
    check_gradient(d_x[:, : architecture.numbers], lambda: forward()[0], x)


@given(architecture=architectures, training=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_network_gradients_equal_finite_differences(architecture: Architecture, training: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = build(architecture, rng, np.float64)
    x = rows_for(architecture, 7, rng)
    y = rng.normal(size=(7, architecture.outputs))

    def forward() -> tuple[float, Array]:
        return SquaredError()(network.forward(x, training, np.random.default_rng(seed)), y)

    d_x = network.backward(forward()[1])
    analytic = {name: gradient.copy() for name, gradient in network.gradients.items()}
    for name, parameter in network.parameters.items():
        check_gradient(analytic[name], lambda: forward()[0], parameter)
    check_gradient(d_x[:, : architecture.numbers], lambda: forward()[0], x)


def test_network_equals_a_hand_calculation() -> None:
    network = Network([Dense([[1.0, -1.0], [0.5, 2.0]], [0.0, 1.0]), Activation("relu"), Dense([[2.0], [-1.0]], [0.5])])
    # [1, 2]·W₁ + b₁ = [1 + 1, -1 + 4 + 1] = [2, 4], relu keeps both, [2, 4]·W₂ + b₂ = 4 - 4 + 0.5 = 0.5
    # [3, 0]·W₁ + b₁ = [3, -3 + 1] = [3, -2], relu: [3, 0], 6 + 0.5 = 6.5
    outputs = network.forward([[1.0, 2.0], [3.0, 0.0]])
    np.testing.assert_array_equal(outputs, [[0.5], [6.5]])
    # squared error against [1.5, 5.5]: mean(1, 1) = 1, d = 2·(-1)/2 and 2·(+1)/2
    loss, d_outputs = SquaredError()(outputs, np.array([1.5, 5.5]))
    assert loss == 1
    d_x = network.backward(d_outputs)
    # d_h = d·W₂ᵀ = [[-2, 1], [2, -1]], and its entry is 0 where relu was off: [[-2, 1], [2, 0]]
    np.testing.assert_array_equal(network.gradients["2.dense.W"], [[1.0], [-4.0]])  # 2·-1 + 3·1, 4·-1 + 0·1
    np.testing.assert_array_equal(network.gradients["2.dense.b"], [0.0])
    np.testing.assert_array_equal(network.gradients["0.dense.W"], [[4.0, 1.0], [-4.0, 2.0]])  # xᵀ·d_h
    np.testing.assert_array_equal(network.gradients["0.dense.b"], [0.0, 1.0])
    np.testing.assert_array_equal(d_x, [[-3.0, 1.0], [2.0, 1.0]])  # d_h·W₁ᵀ


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "gelu"])
def test_loss_and_gradients_equal_keras_for_the_same_weights(activation: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 5)).astype(np.float32), rng.integers(0, 3, 64)
    network = build(Architecture(5, hidden=(16, 8), activation=activation, outputs=3), rng)
    model = keras_nets.build(Architecture(5, hidden=(16, 8), activation=activation, outputs=3))
    model.set_weights(list(network.weights().values()))
    with tf.GradientTape() as tape:
        theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, model(x, training=True))
    d_theirs = tape.gradient(theirs, [v.value for v in model.trainable_variables])
    ours, d_outputs = CategoricalCrossEntropy()(network.forward(x, training=True, rng=rng), y)
    network.backward(d_outputs)
    assert ours == pytest.approx(float(theirs), rel=1e-5)
    for gradient, d_their in zip(network.gradients.values(), d_theirs, strict=True):
        assert np.abs(gradient - d_their.numpy()).max() <= 1e-5 * np.abs(d_their).max()


def spirals(rng: np.random.Generator) -> tuple[Array, Targets]:
    """Two interleaved spirals of 200 points each."""
    t = np.sqrt(rng.random(200)) * 3 * np.pi
    arm = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 10 + rng.normal(0, 0.02, (200, 2))
    return np.concatenate([arm, -arm]), np.repeat([0, 1], 200)


def test_network_learns_xor() -> None:
    rng = np.random.default_rng(0)
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    network = Network([Dense.new(2, 4, rng), Activation("tanh"), Dense.new(4, 1, rng)])
    network.fit(x, y, loss=BinaryCrossEntropy(), optimizer=Adam(0.05), epochs=300, batch_size=4, rng=rng)
    np.testing.assert_array_equal(network.predict(x)[:, 0] > 0, y == 1)


def test_network_learns_two_spirals() -> None:
    rng = np.random.default_rng(0)
    x, y = spirals(rng)
    network = build(Architecture(2, hidden=(64, 32), outputs=2), rng)
    network.fit(x, y, loss=CategoricalCrossEntropy(), optimizer=Adam(0.01), epochs=200, batch_size=50, rng=rng)
    new_x, new_y = spirals(np.random.default_rng(1))
    assert (network.predict(new_x).argmax(axis=1) == new_y).mean() > 0.97


def noise(seed: int, rows: int = 200) -> tuple[Array, Targets]:
    """Random rows and targets, on which a network soon overfits."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 4)), rng.normal(size=rows)


def train(network: Network, seed: int = 0, **changed: object) -> list[Epoch]:
    rng = np.random.default_rng(seed)
    settings: dict[str, object] = {"epochs": 30, "batch_size": 20, "optimizer": Adam(0.01), "rng": rng, **changed}
    return network.fit(*noise(0), loss=SquaredError(), **settings)  # type: ignore[arg-type]


def test_early_stopping_restores_the_best_weights() -> None:
    network = build(Architecture(4, hidden=(32,), batch_normalization=True), np.random.default_rng(0))
    history = train(network, validation=noise(1), patience=3)
    losses = [epoch.validation_loss for epoch in history]
    best = min(loss for loss in losses if loss is not None)
    assert len(history) < 30
    assert losses.index(best) == len(history) - 1 - 3
    assert network.evaluate(*noise(1), SquaredError()) == pytest.approx(best, rel=1e-6)


def test_equal_seeds_give_equal_weights_and_different_seeds_give_different_weights() -> None:
    architecture = Architecture(4, hidden=(8,), dropout=0.2)
    networks = [build(architecture, np.random.default_rng(0)) for _ in range(3)]
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        train(network, seed, epochs=2)
    first, same, other = (network.weights() for network in networks)
    assert all((first[name] == same[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_each_epoch_is_reported_when_it_ends() -> None:
    reported: list[Epoch] = []
    network = build(Architecture(4, hidden=(8,)), np.random.default_rng(0))
    history = train(network, epochs=3, on_epoch=reported.append, validation=noise(1))
    assert reported == history
    assert [(epoch.number, epoch.of, epoch.learning_rate) for epoch in reported] == [(i, 3, 0.01) for i in (1, 2, 3)]


def test_row_with_weight_zero_has_no_effect() -> None:
    x, y = noise(0)
    spoiled = y.copy()
    spoiled[:50] = 1e6
    weights = np.where(np.arange(200) < 50, 0.0, 1.0)
    networks = [build(Architecture(4, hidden=(8,)), np.random.default_rng(0)) for _ in range(2)]
    for network, targets in zip(networks, (y, spoiled), strict=True):
        rng = np.random.default_rng(0)
        network.fit(
            x, targets, loss=SquaredError(), optimizer=Adam(), epochs=2, batch_size=20, rng=rng, weights=weights
        )
    for name, array in networks[0].weights().items():
        np.testing.assert_array_equal(array, networks[1].weights()[name])


def test_non_finite_loss_names_the_epoch_and_a_remedy() -> None:
    network = build(Architecture(4, hidden=(8,)), np.random.default_rng(0))
    with pytest.raises(DivergenceError, match=r"became (nan|inf) in epoch \d+. Try a learning rate ten times smaller"):
        train(network, optimizer=SGD(1e6))


def test_nan_in_the_data_is_reported_in_the_first_epoch() -> None:
    x, y = noise(0)
    x[3, 1] = np.nan
    network = build(Architecture(4, hidden=(8,)), np.random.default_rng(0))
    with pytest.raises(DivergenceError, match="became nan in epoch 1"):
        network.fit(x, y, loss=SquaredError(), optimizer=Adam(), epochs=1, batch_size=20, rng=np.random.default_rng(0))


def test_invalid_shapes_name_the_expected_shape() -> None:
    network = build(Architecture(4, hidden=(8,)), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"expected \(batch, 4\), given \(2, 3\)"):
        network.forward(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"expected a matrix \(batch, inputs\), given shape \(4,\)"):
        network.forward(np.zeros(4))
    with pytest.raises(ValueError, match="given 5 rows and 4 targets"):
        network.fit(
            np.zeros((5, 4)),
            np.zeros(4),
            loss=SquaredError(),
            optimizer=Adam(),
            epochs=1,
            batch_size=2,
            rng=np.random.default_rng(0),
        )
    with pytest.raises(ValueError, match="patience needs validation data"):
        train(network, patience=3)
    with pytest.raises(ValueError, match=r"expected one dtype in all layers, given 0\.dense\.W: float64"):
        Network([Dense(np.zeros((2, 2)), np.zeros(2)), Dense.new(2, 1, np.random.default_rng(0))])


@given(architecture=st.one_of(architectures, ensembles))
@settings(max_examples=30, deadline=None)
def test_network_from_json_and_arrays_has_the_same_outputs(architecture: Architecture) -> None:
    rng = np.random.default_rng(0)
    network = build(architecture, rng)
    x = rows_for(architecture, 5, rng)
    again = Network.from_json(json.loads(json.dumps(network.to_json())), network.weights())
    np.testing.assert_array_equal(again.predict(x), network.predict(x))
    assert again.to_json() == network.to_json()


def test_json_of_a_network_is_readable() -> None:
    network = Network([Dense.new(2, 3, np.random.default_rng(0)), Activation("elu", alpha=0.5), Dropout(0.1)])
    assert network.to_json() == {
        "dtype": "float32",
        "layers": [
            {"layer": "dense", "arrays": {"W": [2, 3], "b": [3]}},
            {"layer": "activation", "function": "elu", "alpha": 0.5},
            {"layer": "dropout", "rate": 0.1},
        ],
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"layer": "convolution"}, "'convolution' is unknown, expected one of dense"),
        ({"layer": "dense", "arrays": {"W": [2, 4], "b": [4]}}, r"'0.dense.W': expected shape \(2, 4\), given shape"),
        ({"layer": "dense", "arrays": {"V": [2, 4]}}, r"'0.dense.V': expected shape \(2, 4\), given no such array"),
    ],
)
def test_description_that_does_not_match_the_arrays_is_refused(entry: dict[str, object], message: str) -> None:
    arrays = Network([Dense.new(2, 3, np.random.default_rng(0))]).weights()
    with pytest.raises(ValueError, match=message):
        Network.from_json({"dtype": "float32", "layers": [entry]}, arrays)


ENSEMBLE = Architecture(3, ((300, 20), (9, 4)), (64, 64), "relu", 0.1, outputs=20, scales=(1.0, 6.0), members=4)


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(3, ((5, 2), (9, 4)), (16, 8), "relu", 0.1, True, 3),
        Architecture(3, (), (16, 8), "relu", 0.1, True, 3),
        Architecture(8, hidden=(32,)),
        ENSEMBLE,
        dataclasses.replace(ENSEMBLE, adapters=True),
        dataclasses.replace(ENSEMBLE, adapters=True, hidden=()),
    ],
)
def test_build_creates_the_layers_and_weight_sizes_of_keras_nets(architecture: Architecture) -> None:
    ours, theirs = build(architecture, np.random.default_rng(0)), keras_nets.build(architecture)
    sizes = [sorted((a.shape, float(np.std(a))) for a in w) for w in (ours.weights().values(), theirs.get_weights())]
    for (shape, our_size), (their_shape, their_size) in zip(*sizes, strict=True):
        assert shape == their_shape
        if np.prod(shape) >= 1000:
            assert our_size == pytest.approx(their_size, rel=0.1)


def test_members_are_trained_separately_and_validated_by_their_mean() -> None:
    rng = np.random.default_rng(0)
    architecture = Architecture(2, hidden=(), members=3)
    network = build(architecture, rng, np.float64)
    x, y, weights = rng.normal(size=(8, 2)), rng.normal(size=8), np.arange(8.0)
    z = network.forward(x, training=True)  # (batch, members, 1)
    expected = (weights[:, np.newaxis] * (z[:, :, 0] - y[:, np.newaxis]) ** 2).mean()
    together = float(((z.mean(axis=1)[:, 0] - y) ** 2).mean())
    (epoch,) = network.fit(
        x, y, loss=SquaredError(), optimizer=SGD(0), epochs=1, batch_size=8, rng=rng, weights=weights, validation=(x, y)
    )
    assert epoch.loss == pytest.approx(expected)
    assert epoch.validation_loss == pytest.approx(together)


def test_periodic_features_fit_a_high_frequency_that_plain_inputs_cannot_fit() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1000, 1)).astype(np.float32)
    y = np.sign(np.sin(12 * x[:, 0])).astype(np.float32)
    losses = []
    for scales in ((), (2.0,)):
        network = build(Architecture(1, hidden=(16,), scales=scales, members=2, adapters=True), rng)
        history = network.fit(x, y, loss=SquaredError(), optimizer=Adam(0.01), epochs=20, batch_size=50, rng=rng)
        losses.append(history[-1].loss)
    assert losses[1] < 0.35 * losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": np.ones(3)}, r"weights: expected shape \(4,\).*given \(3,\)"),
        ({"weights": np.ones((4, 1))}, r"weights: expected shape \(4,\).*given \(4, 1\)"),
        ({"batch_size": 0}, r"batch_size: expected 1 or more, given 0"),
    ],
)
def test_fit_names_the_expected_arguments(options: dict[str, Any], message: str) -> None:
    network = Network([Dense(np.zeros((2, 1)), np.zeros(1))])
    given = {"batch_size": 2, "epochs": 1, "loss": SquaredError(), "optimizer": SGD(), **options}
    with pytest.raises(ValueError, match=message):
        network.fit(np.zeros((4, 2)), np.zeros(4), rng=np.random.default_rng(0), **given)


def test_backward_requires_a_forward_pass_and_its_output_shape() -> None:
    network = Network([Dense(np.zeros((2, 1)), np.zeros(1))])
    with pytest.raises(RuntimeError, match="needs a forward pass before it"):
        network.backward(np.zeros((4, 1)))
    network.forward(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"expected the shape of the outputs, \(4, 1\), given \(3, 1\)"):
        network.backward(np.zeros((3, 1)))
