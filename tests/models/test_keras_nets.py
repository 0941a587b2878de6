import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models import keras_nets
from models.architecture import Architecture

WITH_CATEGORIES = Architecture(3, ((5, 2), (9, 4)), (16,), "gelu", 0.1, True, 3)


def test_plain_architecture_is_a_multilayer_perceptron() -> None:
    model = keras_nets.build(Architecture(8, hidden=(32,)))
    same = keras.Sequential([keras.Input((8,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)])
    assert type(model) is keras.Sequential
    keep = ("units", "activation", "use_bias", "kernel_initializer", "bias_initializer")
    ours, theirs = ([{k: layer.get_config()[k] for k in keep} for layer in m.layers] for m in (model, same))
    assert ours == theirs


def test_dropout_and_batch_normalization_are_in_the_usual_order() -> None:
    model = keras_nets.build(Architecture(8, hidden=(32,), dropout=0.1, batch_normalization=True))
    assert [type(layer).__name__ for layer in model.layers] == [
        "Dense",
        "BatchNormalization",
        "Activation",
        "Dropout",
        "Dense",
    ]


@pytest.mark.parametrize(
    "architecture", [WITH_CATEGORIES, Architecture(0, ((5, 2),)), Architecture(0, ((5, 2), (3, 1))), Architecture(2)]
)
def test_network_maps_one_matrix_to_the_outputs(architecture: Architecture) -> None:
    model = keras_nets.build(architecture)
    x = np.ones((4, architecture.numbers + len(architecture.categories)), np.float32)
    assert model(x).shape == (4, architecture.outputs)


def test_saved_model_loads_in_safe_mode_with_the_same_outputs(tmp_path: Path) -> None:
    model = keras_nets.build(WITH_CATEGORIES)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = np.array([[0.1, 0.2, 0.3, 4, 8], [1, 2, 3, 0, 1]], np.float32)
    np.testing.assert_array_equal(again(x), model(x))


ENSEMBLE = Architecture(4, ((5, 2),), (8,), "relu", 0.1, outputs=3, scales=(1.0, 6.0), members=3, link="softmax")


@pytest.mark.parametrize("changes", [{}, {"adapters": True}, {"categories": ()}, {"members": 0}, {"scales": ()}])
@pytest.mark.parametrize("link", ["linear", "sigmoid", "softmax"])
def test_saved_ensemble_loads_in_safe_mode_with_the_same_outputs(changes: Any, link: Any, tmp_path: Path) -> None:
    architecture = dataclasses.replace(ENSEMBLE, link=link, **changes)
    model = keras_nets.build(architecture)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = np.ones((2, architecture.numbers + len(architecture.categories)), np.float32)
    assert again(x).shape == (2, 3)
    np.testing.assert_array_equal(again(x), model(x))


@pytest.mark.parametrize("adapters", [False, True])
def test_members_are_trained_by_one_compiled_function(adapters: bool) -> None:
    model = keras_nets.build(dataclasses.replace(ENSEMBLE, adapters=adapters))
    members = keras_nets.member_model(model)
    x = np.ones((6, 5), np.float32)
    assert members(x).shape == (6, 3, 3)
    before, kernels = np.array(model(x)), [np.array(weights) for weights in model.get_weights()]
    members.compile(optimizer="adam", loss="mse", jit_compile=True)
    members.fit(x, np.zeros((6, 3, 3), np.float32), epochs=1, verbose=0)
    assert np.abs(np.array(model(x)) - before).max() > 0  # both models have the same layers
    assert len(kernels) == len(members.get_weights())


def test_network_without_members_is_its_own_training_model() -> None:
    model = keras_nets.build(Architecture(2))
    assert keras_nets.member_model(model) is model


def test_zero_unseen_sets_the_unseen_level_to_zero() -> None:
    model = keras_nets.build(WITH_CATEGORIES)
    keras_nets.zero_unseen(model)
    for j in (0, 1):
        (table,) = model.get_layer(f"table_{j}").get_weights()
        assert (table[-1] == 0).all()
        assert (table[:-1] != 0).all()
