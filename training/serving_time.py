"""Measures the time that a trained network needs to predict."""

from collections.abc import Callable
from statistics import median
from time import perf_counter

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from training import pipeline


def microseconds_per_row(result: pipeline.TrainingResult, rows: int) -> float:
    """The time per row from validated values to outputs for a batch: the median of 50 measurements, with one thread."""
    model = pipeline.build_model(result.fit, result.dataset.schema, result.encoder)
    frame = result.frame.take(result.split.test[:rows]).load()
    count = len(frame.numbers)
    repetitions = max(1, 200 // count)
    with threadpool_limits(1):
        return median(seconds_of(lambda: model.predict(frame), repetitions) for _ in range(50)) / count * 1e6


def seconds_of(action: Callable[[], object], repetitions: int) -> float:
    """The mean seconds of an action."""
    started = perf_counter()
    for _ in range(repetitions):
        action()
    return (perf_counter() - started) / repetitions
