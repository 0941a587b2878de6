"""Training uses a GPU if TensorFlow finds one. `python -m pytest -rs` says why this test is skipped."""

from pathlib import Path

import pytest

from tests.training.large.random_table import TARGET, write_table
from training import pipeline
from training.config import DataOptions, FitOptions


def test_an_ensemble_is_trained_on_a_gpu(tmp_path: Path) -> None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        pytest.skip(f"TensorFlow {tf.__version__} finds no GPU on this machine")
    write_table(tmp_path / "t.parquet", 20_000)
    tf.config.experimental.reset_memory_stats("GPU:0")
    options = FitOptions(dropout=0.1, epochs=3)
    data = DataOptions(data=str(tmp_path / "t.parquet"), target=TARGET)
    result = pipeline.train(data, options, report=lambda text: None)
    assert tf.config.experimental.get_memory_info("GPU:0")["peak"] > 20_000 * 4  # the rows are in the memory of the GPU
    assert result.metrics["r2"] > 0.5
