from collections.abc import Callable

import keras
import numpy as np
import pytest

from models.network.optimizers import SGD, Adam, AdamW, Cosine, Exponential, Optimizer, Schedule, clip_by_global_norm


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: SGD(0.1), lambda: keras.optimizers.SGD(0.1)),
        (lambda: SGD(0.1, momentum=0.9), lambda: keras.optimizers.SGD(0.1, momentum=0.9)),
        (lambda: Adam(0.05), lambda: keras.optimizers.Adam(0.05)),
        (lambda: AdamW(0.05, weight_decay=0.1), lambda: keras.optimizers.AdamW(0.05, weight_decay=0.1)),
        (lambda: Adam(0.05, clip_norm=0.5), lambda: keras.optimizers.Adam(0.05, global_clipnorm=0.5)),
    ],
    ids=["sgd", "momentum", "adam", "adamw", "clipped"],
)
def test_five_updates_equal_those_of_keras(ours: Callable[[], Optimizer], theirs: Callable[[], object]) -> None:
    rng = np.random.default_rng(0)
    parameters = {"0.W": rng.normal(size=(3, 2)), "2.W": rng.normal(size=(2, 2))}
    variables = [keras.Variable(p.copy(), dtype="float64") for p in parameters.values()]
    our_optimizer, their_optimizer = ours(), theirs()
    for _ in range(5):
        gradients = {name: rng.normal(size=p.shape) for name, p in parameters.items()}
        pairs = [(keras.ops.convert_to_tensor(g), v) for g, v in zip(gradients.values(), variables, strict=True)]
        their_optimizer.apply_gradients(pairs)  # type: ignore[attr-defined]
        our_optimizer.step(parameters, gradients)
    for parameter, variable in zip(parameters.values(), variables, strict=True):
        np.testing.assert_allclose(parameter, variable.numpy(), rtol=0, atol=1e-5)  # Keras computes 1 - β₂ in float32


def test_weight_decay_does_not_change_vectors() -> None:
    parameters = {"W": np.ones((2, 2)), "b": np.ones(2)}
    AdamW(0.1, weight_decay=0.5).step(parameters, {"W": np.zeros((2, 2)), "b": np.zeros(2)})
    np.testing.assert_allclose(parameters["W"], 0.95)
    np.testing.assert_array_equal(parameters["b"], 1)


def test_clipping_scales_all_gradients_together() -> None:
    gradients = {"W": np.array([[3.0]]), "b": np.array([4.0])}
    assert clip_by_global_norm(gradients, 1.0) == 5.0
    np.testing.assert_allclose([gradients["W"][0, 0], gradients["b"][0]], [0.6, 0.8])
    assert clip_by_global_norm(gradients, 2.0) == pytest.approx(1.0)
    np.testing.assert_allclose(gradients["b"], [0.8])


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (Cosine(1.0, updates=8, warmup=2), {0: 0.5, 1: 1.0, 2: 1.0, 5: 0.5, 8: 0.0, 99: 0.0}),
        (Cosine(1.0, updates=4, end=0.2), {0: 1.0, 2: 0.6, 4: 0.2}),
        (Exponential(1.0, factor=0.5, every=10), {0: 1.0, 5: 0.5**0.5, 10: 0.5}),
        (Exponential(1.0, factor=0.5, every=10, stairs=True), {0: 1.0, 9: 1.0, 10: 0.5, 20: 0.25}),
    ],
)
def test_schedule_has_the_expected_rates(schedule: Schedule, rates: dict[int, float]) -> None:
    assert {update: schedule(update) for update in rates} == pytest.approx(rates, abs=1e-12)


def test_the_optimizer_follows_its_schedule() -> None:
    optimizer = SGD(Exponential(1.0, factor=0.1, every=1))
    parameters = {"w": np.zeros(1)}
    for _ in range(3):
        optimizer.step(parameters, {"w": np.ones(1)})
    np.testing.assert_allclose(parameters["w"], [-1.11])
    assert optimizer.learning_rate == pytest.approx(0.001)
