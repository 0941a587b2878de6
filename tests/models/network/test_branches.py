"""A graph of layers computes the values of its formula, both in the training network and in the inference network."""

import json
from typing import Any

import numpy as np
import pytest

from models.network.branches import JOINS, Branch, Branches
from models.network.layers import Activation, Dense, Layer
from models.network.network import Network
from models.network.normalization_layers import BatchNormalization
from models.network.tabular_layers import Embedding, Take

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4)).astype(np.float32)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def computed(layers: list[Layer], x: Any = X) -> Any:
    """The outputs; asserts that a saved network and the inference network have the same outputs and do not change their
    input.
    """
    network = Network(layers)
    outputs = network.predict(x)
    description = json.loads(json.dumps(network.to_json()))
    again = Network.from_json(description, network.weights())
    given = x.copy()
    for same in (again.predict(x), network.for_inference().forward(given), again.for_inference().forward(given)):
        assert same == pytest.approx(outputs, abs=1e-5)
    assert (given == x).all()
    return outputs


@pytest.mark.parametrize("join", JOINS)
def test_branches_are_joined(join: str) -> None:
    W, b = normal(4, 4), normal(4)
    graph = Branches(4, [Branch((0,), "", (Dense(W, b), Activation("tanh"))), Branch((0, 1), join)])
    y = np.tanh(X @ W + b)
    expected = {
        "concatenate": np.hstack([X, y]),
        "add": X + y,
        "subtract": X - y,
        "multiply": X * y,
        "average": (X + y) / 2,
        "maximum": np.maximum(X, y),
        "minimum": np.minimum(X, y),
    }[join]
    last = normal(expected.shape[1], 1)
    assert computed([graph, Dense(last, normal(1) * 0)]) == pytest.approx(expected @ last, abs=1e-5)


def test_value_that_two_branches_use_is_not_overwritten() -> None:
    relu = (Activation("relu"),)
    scale = (BatchNormalization(normal(4), normal(4), normal(4), np.abs(normal(4)) + 1),)
    graph = Branches(4, [Branch((0,), "", relu), Branch((1,), "", scale), Branch((1, 0, 2), "add")])
    gamma, beta, mean, variance = (*scale[0].parameters.values(), *scale[0].state.values())
    positive = np.maximum(X, 0)
    expected = X + positive + (positive - mean) / np.sqrt(variance + scale[0].epsilon) * gamma + beta
    assert computed([graph]) == pytest.approx(expected, abs=1e-5)


def test_branches_select_columns_and_look_up_embeddings() -> None:
    table = normal(3, 2)
    codes = np.array([0, 1, 2, 1, 0], np.float32)
    x = np.column_stack([X[:, 0], codes, X[:, 1]])
    graph = Branches(
        3,
        [
            Branch((0,), "", (Take([2, 0]),)),
            Branch((0,), "", (Take([1]), Embedding(table))),
            Branch((1, 2), "concatenate"),
        ],
    )
    expected = np.hstack([x[:, [2, 0]], table[codes.astype(int)]])
    assert computed([graph], x) == pytest.approx(expected)


@pytest.mark.parametrize(
    "branches",
    [
        [],
        [Branch((1,))],
        [Branch((0, 0))],
        [Branch((0,), "add")],
        [Branch((0, 0), "divide")],
        [Branch(())],
    ],
)
def test_invalid_graph_of_branches_is_refused(branches: list[Branch]) -> None:
    with pytest.raises(ValueError, match="branch"):
        Branches(2, branches)


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="'python' is unknown"):
        Branches.from_options(2, [{"values": [0], "join": "", "layers": [{"layer": "python"}]}])


def test_graph_of_branches_cannot_be_trained() -> None:
    graph = Branches(4, [Branch((0, 0), "add")])
    with pytest.raises(ValueError, match="not trained"):
        graph.forward(X, training=True)
    with pytest.raises(ValueError, match="not trained"):
        graph.backward(X)
