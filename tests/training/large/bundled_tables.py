"""`python -m tests.training.large.bundled_tables`: bundled tables give the same model whether they are trained from the
disk or in memory.

For each table and five seeds, a small ensemble is trained in both ways. Schema, encoder, encoded rows, split and
metrics must be equal to the last bit, so that only the seed changes a result.
"""

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np

from training import pipeline, reading
from training.bundled import BUNDLED, bundled_options
from training.config import DataOptions, FitOptions
from training.encoded_rows import encode_rows
from training.evaluation import MAIN_METRIC
from training.pipeline import TrainingResult
from training.streaming.spilled_frame import SpilledFrame

SEEDS = range(5)


def train(name: str, seed: int, *, on_disk: bool) -> TrainingResult:
    usual = reading.LARGE_BYTES
    reading.LARGE_BYTES = 0 if on_disk else usual
    try:
        network = FitOptions(framework="numpy", network="ensemble", hidden=(8,), members=2, epochs=2, fit_seed=seed)
        result = pipeline.train(bundled_options(name, DataOptions(seed=seed)), network, report=lambda text: None)
    finally:
        reading.LARGE_BYTES = usual
    assert isinstance(result.frame, SpilledFrame) == on_disk
    return result


def matrix(result: TrainingResult) -> Any:
    return np.asarray(encode_rows(result.encoder, result.frame, result.dataset.target).x)


def compare(name: str, seed: int) -> float:
    """Train in both ways and compare. Returns the main metric. Raises AssertionError."""
    memory, disk = train(name, seed, on_disk=False), train(name, seed, on_disk=True)
    assert memory.dataset.schema.model_dump_json() == disk.dataset.schema.model_dump_json()
    assert memory.encoder.model_dump_json() == disk.encoder.model_dump_json()
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(memory.split, part), getattr(disk.split, part))
    assert matrix(memory).tobytes() == matrix(disk).tobytes()
    assert memory.metrics == disk.metrics, (memory.metrics, disk.metrics)
    return float(memory.metrics[MAIN_METRIC[memory.dataset.schema.task]])


def main(names: Iterable[str]) -> None:
    for name in names:
        values = [compare(name, seed) for seed in SEEDS]
        listed = " ".join(f"{value:.4f}" for value in values)
        print(f"{name:9} equal from disk and memory; {listed}, deviation {np.std(values):.4f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[*BUNDLED])
    main(parser.parse_args().names)
