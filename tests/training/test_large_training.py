"""Training from the disk has the same result as training in memory."""

import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.architecture import Architecture
from models.explanation.background import Background
from tests.training.large.random_table import TARGET, write_table
from training import baselines, ensemble_keras, pipeline, reading, scale_fit
from training.baselines import Baselines
from training.config import DataOptions, FitOptions
from training.drift_reference import fit_reference
from training.encoded_rows import EncodedMatrix
from training.ensemble_keras import EnsembleTrainer, Segments
from training.folds import Fold
from training.keras_options import loss_of
from training.pipeline import TrainingResult
from training.recipe import decide_recipe
from training.streaming import stored_matrix
from training.streaming.spill_file import SpillFile
from training.streaming.spilled_frame import SpilledFrame
from training.streaming.stored_matrix import StoredMatrix

ROWS = 1200


def trained(path: Path) -> TrainingResult:
    options = FitOptions(framework="numpy", hidden=(8,), epochs=1)
    data = DataOptions(data=str(path), target=TARGET, name="t")
    return pipeline.train(data, options, report=lambda text: None)


def described(result: TrainingResult) -> list[object]:
    """The stored results of a training run, and a baseline."""
    schema, split, frame = result.dataset.schema, result.split, result.frame
    sets = split.train, split.validation, split.test
    return [
        result.encoder.model_dump_json(),
        result.metrics,
        result.golden_rows,
        Background.fit(schema, frame.take(split.train), np.random.default_rng(0)).model_dump_json(),
        fit_reference(schema, frame.take(split.train), result.held_out, result.metrics).model_dump_json(),
        Baselines(schema, frame, result.dataset.target, sets).linear(print),
    ]


def test_table_on_disk_gives_the_same_model_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "t.parquet", ROWS)
    in_memory = trained(tmp_path / "t.parquet")
    monkeypatch.setattr(reading, "LARGE_BYTES", 0)
    on_disk = trained(tmp_path / "t.parquet")
    assert isinstance(on_disk.frame, SpilledFrame)
    assert described(in_memory) == described(on_disk)

    monkeypatch.setattr(baselines, "MAX_ROWS", 300)
    sets = on_disk.split.train, on_disk.split.validation, on_disk.split.test
    few = Baselines(on_disk.dataset.schema, on_disk.frame, on_disk.dataset.target, sets)
    assert (len(few.train), len(few.validation), len(few.test)) == (300, 60, len(sets[2]))


def stored(x: npt.NDArray[np.float32]) -> StoredMatrix:
    matrix = StoredMatrix.reserve(*x.shape)
    matrix.write(0, x[:100])
    matrix.write(100, x[100:])
    return matrix


def test_stored_matrix_returns_the_rows_of_the_matrix() -> None:
    x = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    matrix, rows = stored(x), np.array([7, 299, 0, 7])
    np.testing.assert_array_equal(matrix[rows], x[rows])
    np.testing.assert_array_equal(matrix.select(rows)[np.array([1, 0])], x[[299, 7]])
    np.testing.assert_array_equal(np.asarray(matrix.select(rows).joined([matrix])), np.concatenate([x[rows], x]))
    assert matrix[np.empty(0, np.intp)].shape == (0, 7)


def test_a_stored_matrix_is_mapped_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    mapped = SpillFile.mapped

    def record_size(self: SpillFile, offset: int, size: int) -> tuple[mmap.mmap, int]:
        sizes.append(size)
        return mapped(self, offset, size)

    x = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    matrix, rows = stored(x), np.random.default_rng(1).integers(0, 300, 500)
    monkeypatch.setattr(SpillFile, "mapped", record_size)
    monkeypatch.setattr(stored_matrix, "WINDOW_BYTES", 50 * 7 * 4)
    np.testing.assert_array_equal(matrix[rows], x[rows])
    assert sizes == [50 * 7 * 4] * 6
    np.testing.assert_array_equal(matrix[np.array([299, 298])], x[[299, 298]])
    assert len(sizes) == 7


def test_epoch_in_segments_gives_the_same_weights_as_a_whole_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4)).astype(np.float32)
    y = np.sin(x[:, 0]).astype(np.float32)
    recipe = decide_recipe(
        FitOptions(dropout=0.1, epochs=1, batch_size=32, hidden=(8,), network="ensemble"), "regression", 320
    )
    architecture = Architecture(numbers=4, hidden=(8,), outputs=1, members=2, adapters=True)
    fold = Fold(np.arange(320), np.arange(320, 400))
    rows_reported: list[tuple[int, int]] = []

    def weights(matrix: EncodedMatrix) -> list[npt.NDArray[np.float32]]:
        data = matrix, y, None
        trainer = EnsembleTrainer(
            recipe,
            architecture,
            loss_of(recipe, "regression", None),
            data,
            320,
            lambda *rows: rows_reported.append(rows),
        )
        result = trainer.run(recipe, fold, lambda outputs: float(np.square(outputs).mean()), None, lambda epoch: None)
        assert isinstance(result.weights, list)
        return result.weights

    whole = weights(x)
    assert rows_reported == []
    monkeypatch.setattr(ensemble_keras, "MAX_SEGMENT_BYTES", 5 * 32 * 4 * 4)
    monkeypatch.setattr(ensemble_keras, "MAX_PREDICTED_ROWS", 50)
    monkeypatch.setattr(ensemble_keras, "MAX_FOLD_ROWS", 10)
    for one, other in zip(whole, weights(stored(x)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert rows_reported == [(0, 320), (160, 320), (320, 320)]


def test_segments_have_equal_sizes_and_cover_all_steps() -> None:
    assert Segments.for_steps(1000, 1) == (1, 1000)
    number, steps = Segments.for_steps(1000, ensemble_keras.MAX_SEGMENT_BYTES // 300)
    assert number * steps >= 1000
    assert (number, steps) == (4, 250)


def test_selected_rows_are_spread_over_all_rows() -> None:
    assert scale_fit.evenly_spaced(np.arange(10), 4).tolist() == [0, 3, 6, 9]
    assert scale_fit.evenly_spaced(np.arange(10), 10).tolist() == [*range(10)]
