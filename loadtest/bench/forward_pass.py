"""The forward pass of a network: our engine compared with plain NumPy, Keras, TensorFlow and ONNX Runtime.

Times are CPU times of the whole process, which depend less on other programs, and each contender has one thread. The
contenders take turns in each round; the results are medians over rounds.
"""

import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from loadtest import packages
from loadtest.bench import onnx_file
from models import text_tables
from models.architecture import Architecture
from models.engines import Matrix, NumpyEngine, TensorFlowEngine
from models.network.activations import Array
from models.network.network import Network, build
from models.text import counted

Forward = Callable[[Matrix], Any]

NETWORKS = (
    Architecture(8, hidden=(32,)),
    Architecture(8, hidden=(256, 128)),
    Architecture(100, hidden=(256, 128, 64)),
    # The network of the plain recipe, for 8 numbers in 32 bins
    Architecture(262, hidden=(256, 256), activation="silu", dropout=0.1),
    # The default network, for 8 numbers
    Architecture(8, hidden=(128, 128, 128), scales=(1.0,) * 8, members=4, adapters=True),
)
ROWS = (1, 64, 1_000, 100_000)
LONG_ENOUGH_S = 0.02  # duration of consecutive calls, so that reading the clock is negligible
OURS, PLAIN, ONNX = "our engine", "plain NumPy", "ONNX Runtime"
TENSORFLOW = ("tf.function", "Keras call", "Model.predict")


class EngineGoal(NamedTuple):
    """The maximum time of our engine as a multiple of plain NumPy's."""

    limit: float

    @classmethod
    def for_rows(cls, rows: int) -> "EngineGoal":
        return cls(1.5 if rows == 1 else 1.2)


def run(rounds: int) -> int:
    """Measure all networks and print a table. Returns 1 if our engine misses its goal."""
    packages.require("onnxruntime")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    use_one_tensorflow_thread()
    table = [["network", "rows", f"{PLAIN}, µs per call", *(f"{name} ÷" for name in (OURS, ONNX, *TENSORFLOW)), ""]]
    missed = 0
    with threadpool_limits(1):
        for architecture in NETWORKS:
            network = build(architecture, np.random.default_rng(0))
            contenders = {**numpy_contenders(network), **other_libraries(architecture, network)}
            for rows in ROWS:
                x = np.random.default_rng(rows).normal(size=(rows, architecture.numbers)).astype(np.float32)
                check(contenders, x)
                seconds = measure_in_turns(contenders, x, rounds)
                slower = {name: ratio(seconds, name) for name in (OURS, ONNX, *TENSORFLOW) if name in contenders}
                good = slower[OURS] <= EngineGoal.for_rows(rows).limit
                missed += not good
                cells = [multiple_text(slower[name]) if name in slower else "" for name in (OURS, ONNX, *TENSORFLOW)]
                row = [f"{median(seconds[PLAIN]) * 1e6:,.1f}", *cells]
                table.append([name_of(architecture), f"{rows:,}", *row, "ok" if good else "MISSED"])
                print(text_tables.aligned([table[0], table[-1]]), flush=True)
    print(f"\n{text_tables.aligned(table)}\n\n{text_tables.markdown(table, numbers=True)}")
    print(f"\n÷: multiple of the time of plain NumPy. CPU time, one thread, medians of {counted(rounds, 'round')}.")
    return 1 if missed else 0


def numpy_contenders(network: Network) -> dict[str, Forward]:
    """Our engine and its reference."""
    return {OURS: NumpyEngine(network, "").outputs, PLAIN: plain_numpy(network)}


def plain_numpy(network: Network) -> Forward:
    """x @ W + b and the activation in place, layer by layer, written for this network only.

    For an ensemble, the network's own layers, as they are trained.
    """
    if any(layer.kind == "member_mean" for layer in network.layers):
        return network.forward
    weights = dense_weights(network)
    activate = silu if any(layer.options().get("function") == "silu" for layer in network.layers) else relu

    def forward(x: Matrix) -> Array:
        h: Array = x
        for i, (W, b) in enumerate(weights):
            h = h @ W
            h += b
            if i < len(weights) - 1:
                activate(h)
        return h

    return forward


def relu(h: Array) -> None:
    np.maximum(h, 0, out=h)


def silu(h: Array) -> None:
    e = np.negative(h)
    np.exp(e, out=e)
    e += 1
    h /= e


def dense_weights(network: Network) -> list[tuple[Array, Array]]:
    return [(layer.parameters["W"], layer.parameters["b"]) for layer in network.layers if layer.kind == "dense"]


def other_libraries(architecture: Architecture, network: Network) -> dict[str, Forward]:
    """The same weights in ONNX Runtime, and called in three ways in TensorFlow."""
    import onnxruntime

    from models import keras_nets

    model = keras_nets.build(architecture)
    model.set_weights(list(network.weights().values()))
    tensorflow: dict[str, Forward] = {
        "tf.function": TensorFlowEngine(model, "").outputs,
        "Keras call": lambda x: model(x, training=False).numpy(),
        "Model.predict": lambda x: model.predict(x, batch_size=max(32, min(len(x), 1024)), verbose=0),
    }
    if architecture.members:  # `onnx_file` supports only chains of dense layers
        return tensorflow
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    file = onnx_file.chain(dense_weights(network), architecture.activation)
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return {ONNX: lambda x: session.run(None, {"x": x})[0], **tensorflow}


def use_one_tensorflow_thread() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def check(contenders: dict[str, Forward], x: Matrix) -> None:
    """Check that all contenders have the same result, which also warms them up. Raises ArithmeticError."""
    expected = np.asarray(contenders[PLAIN](x))
    for name, forward in contenders.items():
        output = np.asarray(forward(x))
        if output.shape != expected.shape or not np.allclose(output, expected, rtol=1e-3, atol=1e-4):
            raise ArithmeticError(f"{name} differs from plain NumPy for {counted(x.shape[0], 'row')}")


def measure_in_turns(contenders: dict[str, Forward], x: Matrix, rounds: int) -> dict[str, list[float]]:
    """Measure the contenders in turns. Returns the CPU seconds per call, one entry per round."""
    calls = {name: call_count(forward, x) for name, forward in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, forward in contenders.items():
            seconds[name].append(timed(forward, x, calls[name]))
    return seconds


def call_count(forward: Forward, x: Matrix) -> int:
    """How many consecutive calls take long enough to be measured."""
    return max(1, round(LONG_ENOUGH_S / max(timed(forward, x, 2), 1e-7)))


def timed(forward: Forward, x: Matrix, calls: int) -> float:
    started = time.process_time()
    for _ in range(calls):
        forward(x)
    return (time.process_time() - started) / calls


def ratio(seconds: dict[str, list[float]], name: str) -> float:
    """The time as a multiple of plain NumPy's: the median over rounds, which is robust against disturbances."""
    return median(time / reference for time, reference in zip(seconds[name], seconds[PLAIN], strict=True))


def multiple_text(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def name_of(architecture: Architecture) -> str:
    widths: Sequence[int] = (architecture.numbers, *architecture.hidden, architecture.outputs)
    ensemble = f", {architecture.members} members, periodic features" if architecture.members else ""
    return "→".join(map(str, widths)) + f" {architecture.activation}{ensemble}"
