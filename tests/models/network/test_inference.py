import dataclasses
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.architecture import Architecture, Link
from models.network.activations import Array
from models.network.ensemble_layers import member_mean
from models.network.folding import fold
from models.network.inference import BLOCK_ROWS
from models.network.inference_steps import mean_probability
from models.network.input_block import FEW_ROWS
from models.network.layers import Activation, Dense, Dropout
from models.network.network import Network, build
from models.network.normalization_layers import BatchNormalization, LayerNormalization
from models.network.tabular_layers import Embedding, Scale
from tests.models.network.test_network import architectures, ensembles, rows_for


def with_random_weights(network: Network, rng: np.random.Generator) -> Network:
    """Replace the weights by random values, as after training: only the last row of the tables is zero."""
    for name, array in network.weights().items():
        array[...] = np.abs(rng.normal(size=array.shape)) + 0.5 if "variance" in name else rng.normal(size=array.shape)
        if "table" in name:
            array[-1] = 0
    return network


def assert_equal_means(ours: Array, wanted: Array) -> None:
    assert ours.shape == wanted.shape
    assert (np.abs(ours - wanted) <= 1e-5 * np.maximum(np.abs(wanted), wanted.std())).all()


@given(architecture=st.one_of(architectures, ensembles))
@settings(max_examples=50, deadline=None)
def test_inference_network_has_the_outputs_of_the_network(architecture: Architecture) -> None:
    rng = np.random.default_rng(0)
    # With another link, large logits of opposite signs would cancel in the mean.
    architecture = dataclasses.replace(architecture, link="linear")
    dtype = np.float32 if architecture.scales else np.float64  # the angle of a periodic feature is rounded to float32
    network = with_random_weights(build(architecture, rng, dtype), rng)
    x = rows_for(architecture, 300, rng).astype(np.float32)
    x[::7, architecture.numbers :] = 999  # unseen levels
    wanted, served = network.predict(x), network.for_inference()
    assert_equal_means(served.forward(x), wanted)
    alone = np.concatenate([served.forward(x[i : i + 1]) for i in range(50)])
    assert (np.abs(alone - wanted[:50]) <= 1e-5 * np.maximum(np.abs(wanted[:50]), wanted.std())).all()


@pytest.mark.parametrize("rows", [0, 1, FEW_ROWS, FEW_ROWS + 1, BLOCK_ROWS, BLOCK_ROWS + 1, 3 * BLOCK_ROWS + 5])
def test_outputs_are_equal_for_any_number_of_rows(rows: int) -> None:
    rng = np.random.default_rng(0)
    architecture = Architecture(3, ((5, 2), (9, 4)), (8,), outputs=2)
    network = with_random_weights(build(architecture, rng), rng)
    x = rows_for(architecture, rows, rng).astype(np.float32)
    served = network.for_inference().forward(x)
    assert served.shape == (rows, 2)
    assert served.dtype == np.float32
    np.testing.assert_allclose(served, network.predict(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "rows", [0, 1, 2, FEW_ROWS, FEW_ROWS + 1, BLOCK_ROWS // 4, BLOCK_ROWS // 4 + 1, BLOCK_ROWS + 5]
)
@pytest.mark.parametrize("link", ["linear", "sigmoid", "softmax"])
@pytest.mark.parametrize("periodic", [3, 40], ids=["few periodic", "many periodic"])
@pytest.mark.parametrize("adapters", [False, True])
def test_ensemble_outputs_are_equal_for_any_number_of_rows(
    rows: int, link: Link, periodic: int, adapters: bool
) -> None:
    rng = np.random.default_rng(0)
    architecture = Architecture(
        periodic + 2,
        ((5, 2), (9, 4)),
        (8, 8),
        outputs=2,
        scales=(1.0,) * periodic,
        members=4,
        adapters=adapters,
        link=link,
    )
    network = build(architecture, rng)
    for array in network.parameters.values():
        array += 0.1 * rng.normal(size=array.shape)
    x = rows_for(architecture, rows, rng).astype(np.float32)
    served = network.for_inference().forward(x)
    assert served.shape == (rows, 2)
    assert served.dtype == np.float32
    np.testing.assert_allclose(served, network.predict(x), rtol=1e-5, atol=1e-5)


def test_member_scales_are_folded_through_a_relu() -> None:
    rng = np.random.default_rng(0)
    network = build(Architecture(5, hidden=(8, 8, 8), members=3, adapters=True), rng, np.float64)
    for array in network.parameters.values():
        array += 0.3 * rng.random(array.shape)
    first, _, second, _, third, _, own = fold(network.layers)[:-1]
    assert (second.parameters["r"] == 1).all()  # folded into the first layer, which becomes one matrix with r and s
    assert (second.parameters["s"] == 1).all()
    assert (third.parameters["s"] == 1).all()
    x = rng.normal(size=(20, 5))
    np.testing.assert_allclose(Network(fold(network.layers)).forward(x), network.forward(x), rtol=1e-9)
    assert {first.kind, own.kind} == {"shared_dense", "member_dense"}


@pytest.mark.parametrize("logit", [0.0, 3.0, -60.0, 90.0, 1e4, -1e4])
def test_mean_probability_of_one_row_equals_that_of_many(logit: float) -> None:
    logits = np.array([[[logit], [logit / 2], [0.9 * logit]]], np.float32)
    expected = member_mean(logits.astype(np.float64), "sigmoid", 1)
    assert mean_probability(logits) == pytest.approx(np.clip(expected, -700, 700), rel=1e-6, abs=1.1)
    assert np.isnan(mean_probability(np.full((1, 2, 1), np.nan, np.float32)))


def normal(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def kinds(network: Network) -> list[str]:
    return [layer.kind for layer in fold(network.layers)]


def batch_normalization(units: int) -> BatchNormalization:
    return BatchNormalization(normal(units), normal(units), normal(units), np.abs(normal(units)) + 0.5)


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        ([Dense(normal(3, 4), normal(4)), batch_normalization(4), Activation("relu")], ["dense", "activation"]),
        ([batch_normalization(3), Dropout(0.5), Dense(normal(3, 4), normal(4))], ["dense"]),
        ([Dense(normal(3, 4), normal(4)), Activation("linear"), batch_normalization(4)], ["dense"]),
        (
            [
                Dense(normal(3, 4), normal(4)),
                Activation("relu"),
                batch_normalization(4),
                Dense(normal(4, 2), normal(2)),
            ],
            ["dense", "activation", "dense"],
        ),
        ([Scale(normal(3), normal(3), normal(3)), Dense(normal(3, 2), normal(2))], ["dense"]),
        ([Scale(normal(3) + 2000, normal(3), normal(3)), Dense(normal(3, 2), normal(2))], ["scale", "dense"]),
        ([LayerNormalization(normal(3), normal(3)), Activation("gelu")], ["layer_normalization", "activation"]),
        ([Dense(normal(3, 4), normal(4)), Activation("softmax"), batch_normalization(4)], None),
    ],
)
def test_folding_keeps_the_outputs(layers: list[Dense], left: list[str] | None) -> None:
    network = Network(layers)
    x = normal(200, 3).astype(np.float32)
    kept = x.copy()
    served = network.for_inference().forward(x)
    assert_equal_means(served, network.predict(x))
    np.testing.assert_array_equal(x, kept)  # the caller's rows are not overwritten
    assert kinds(network) == left if left else True


def test_network_with_only_an_embedding_has_equal_outputs() -> None:
    network = Network([Embedding(normal(5, 3)), Dense(normal(3, 2), normal(2))])
    x = np.arange(5.0)[:, np.newaxis]
    np.testing.assert_allclose(network.for_inference().forward(x), network.predict(x), rtol=1e-5)


@pytest.mark.parametrize("rows", [1, FEW_ROWS + 1])
@pytest.mark.parametrize("number", [-1.0, -7.0, 5.0, 1e9, np.nan, np.inf, -np.inf])
def test_out_of_range_levels_count_as_unseen(number: float, rows: int) -> None:
    rng = np.random.default_rng(0)
    network = with_random_weights(build(Architecture(1, ((5, 2), (9, 4)), (8,)), rng), rng)
    x = np.tile(np.array([[0.3, number, 2.0]], np.float32), (rows, 1))
    unseen = np.tile(np.array([[0.3, 4.0, 2.0]], np.float32), (rows, 1))
    served = network.for_inference()
    np.testing.assert_array_equal(served.forward(x), served.forward(unseen))


def test_concurrent_threads_get_their_own_outputs() -> None:
    rng = np.random.default_rng(0)
    architecture = Architecture(3, ((5, 2), (9, 4)), (32, 16), "gelu")
    served = with_random_weights(build(architecture, rng), rng).for_inference()
    requests = [rows_for(architecture, rows, rng).astype(np.float32) for rows in (1, 3, 20, 1500) * 10]
    wanted = [served.forward(x) for x in requests]
    together = threading.Barrier(8)

    def work(worker: int) -> None:
        together.wait()
        for _ in range(5):
            for x, outputs in zip(requests[worker:], wanted[worker:], strict=True):
                np.testing.assert_array_equal(served.forward(x), outputs)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_network_imports_only_numpy() -> None:
    code = (
        "import sys, models.network.network; "
        "print({'keras', 'tensorflow', 'scipy', 'pandas', 'sklearn'} & sys.modules.keys())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_further_training_does_not_change_the_inference_network() -> None:
    network = build(Architecture(3, hidden=(4,)), np.random.default_rng(0))
    served, x = network.for_inference(), normal(5, 3)
    before = served.forward(x)
    for array in network.weights().values():
        array += 1
    np.testing.assert_array_equal(served.forward(x), before)


def test_invalid_shapes_name_the_expected_shape() -> None:
    served = build(Architecture(3, hidden=(4,)), np.random.default_rng(0)).for_inference()
    with pytest.raises(ValueError, match=r"expected a matrix \(rows, 3\), given shape \(2, 4\)"):
        served.forward(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"expected a matrix \(rows, 3\), given shape \(3,\)"):
        served.forward(np.zeros(3))
