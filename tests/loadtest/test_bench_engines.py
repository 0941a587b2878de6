import re

import numpy as np
import onnxruntime
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from loadtest import __main__
from loadtest.bench import forward_pass, onnx_file
from models import text_tables
from models.architecture import Architecture
from models.engines import Matrix
from models.network.network import build


@pytest.mark.parametrize("architecture", forward_pass.NETWORKS, ids=forward_pass.name_of)
def test_engine_takes_at_most_twice_the_time_of_plain_numpy(architecture: Architecture) -> None:
    contenders = forward_pass.numpy_contenders(build(architecture, np.random.default_rng(0)))
    x = np.random.default_rng(1).normal(size=(1000, architecture.numbers)).astype(np.float32)
    with threadpool_limits(1):
        forward_pass.check(contenders, x)
        assert any(fastest_ratio(contenders, x) <= 2 for _ in range(5))  # the goal on an idle machine is 1.2


def fastest_ratio(contenders: dict[str, forward_pass.Forward], x: Matrix) -> float:
    """The ratio of the fastest rounds, which other programs disturb least."""
    seconds = forward_pass.measure_in_turns(contenders, x, rounds=7)
    return min(seconds[forward_pass.OURS]) / min(seconds[forward_pass.PLAIN])


@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("rows", [1, 200])
def test_onnx_file_computes_the_outputs_of_the_network(activation: str, rows: int) -> None:
    network = build(Architecture(200, hidden=(130, 7), activation=activation, outputs=3), np.random.default_rng(0))
    file = onnx_file.chain(forward_pass.dense_weights(network), activation)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).normal(size=(rows, 200)).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], network.forward(x), rtol=1e-4, atol=1e-5)


def test_contender_with_different_results_is_reported() -> None:
    x = np.ones((2, 8), np.float32)
    with pytest.raises(ArithmeticError, match="wrong differs from plain NumPy"):
        forward_pass.check({forward_pass.PLAIN: lambda x: x, "wrong": lambda x: x + 1}, x)


def test_disturbed_round_does_not_change_the_ratio() -> None:
    seconds = {forward_pass.PLAIN: [1.0, 1.0, 9.0], forward_pass.OURS: [1.1, 1.1, 1.1]}
    assert forward_pass.ratio(seconds, forward_pass.OURS) == pytest.approx(1.1)


def test_a_table_is_aligned_in_a_terminal_and_markdown_in_a_document() -> None:
    table = [["network", "µs"], ["8→1", "1,000"]]
    assert text_tables.aligned(table) == "network     µs\n8→1      1,000"
    assert text_tables.markdown(table, numbers=True) == "| network | µs |\n|---|---:|\n| 8→1 | 1,000 |"


@pytest.mark.parametrize(
    "arguments",
    [[], ["bench"], ["bench", "nothing"], ["bench", "engines", "--rounds", "x"], ["bench", "engines", "--rounds", "0"]],
    ids=" ".join,
)
def test_usage_error_has_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        __main__.main(arguments)
    assert exit_code.value.code == 2
    assert re.fullmatch(r"error: .+ \(see python -m loadtest.* --help\)\n", capsys.readouterr().err)
