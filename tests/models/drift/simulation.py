"""Simulates windows of new rows: how often drift is reported without a change, and how often a change is found.

`python -m tests.models.drift.simulation` runs 1,000 windows; the tests run fewer.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from models.drift.counter import DriftCounter
from models.drift.drift_report import drift_report
from models.drift.reference import DriftReference
from models.feature import MISSING, UNSEEN, Feature, TrainingRange
from models.frame import Frame
from models.outputs import Outputs
from models.schema import FeatureSchema

LEARNED, TESTED, WINDOW = 13_000, 3000, 1000
POPULATION = 400_000  # levels of the largest category; most of them do not occur in the reference
Column = Callable[[np.random.Generator, int], np.ndarray]
Change = Callable[[Frame], Frame]
FOUND = ("warning", "alarm")


def normal(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(50, 10, count)


def skewed(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.lognormal(3, 1, count)


def mostly_zero(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.where(rng.random(count) < 0.92, 0.0, rng.lognormal(8, 1, count).round())


def capped(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.minimum(rng.gamma(2.0, 1.0, count), 5.0)


def whole(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.poisson(3, count).astype(float)


def boolean(rng: np.random.Generator, count: int) -> np.ndarray:
    return (rng.random(count) < 0.1).astype(float)


def date(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(1_500_000_000, 1_700_000_000, count).astype(float)


def partly_missing(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.where(rng.random(count) < 0.2, np.nan, rng.normal(size=count))


NUMBERS: Sequence[Column] = (
    normal,
    normal,
    normal,
    skewed,
    skewed,
    mostly_zero,
    capped,
    whole,
    boolean,
    boolean,
    date,
    partly_missing,
)


def few_levels(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.choice(5, count, p=[0.6, 0.3, 0.07, 0.029, 0.001])


def many_levels(rng: np.random.Generator, count: int) -> np.ndarray:
    """Ranks drawn from a Zipf distribution."""
    return np.minimum(rng.zipf(1.3, count), POPULATION) - 1


def even_levels(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 60, count)


def rare_missing(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.where(rng.random(count) < 0.001, MISSING, rng.integers(0, 3, count))


CATEGORIES: Sequence[Column] = (
    few_levels,
    few_levels,
    many_levels,
    many_levels,
    even_levels,
    even_levels,
    rare_missing,
    rare_missing,
)


class Population:
    """A random table of 20 columns, its schema, and the reference of 13,000 of its rows."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        learned = self._draw(LEARNED)
        known = [np.unique(column[column >= 0]) for column in learned.codes.T]
        self._code = [codes_of(levels) for levels in known]
        sizes = [len(levels) for levels in known]
        self.schema = FeatureSchema(
            name="simulated",
            task="regression",
            target="y",
            features=[
                *(Feature(name=f"n{i}", kind=kind(column), nullable=True) for i, column in enumerate(NUMBERS)),
                *(
                    Feature(name=f"c{i}", kind="category", nullable=True, seen=TrainingRange(levels=[*range(size)]))
                    for i, size in enumerate(sizes)
                ),
            ],
        )
        reference = DriftReference.fit(self.schema, self._encoded(learned))
        tested = self.rows(TESTED)
        self.reference = reference.with_predictions(self.schema, predict(tested), None)
        self.reference.check(self.schema)
        self.counter = DriftCounter(self.schema, self.reference)

    def rows(self, count: int) -> Frame:
        """New rows; levels that do not occur in the reference are unseen."""
        return self._encoded(self._draw(count))

    def report(self, frame: Frame) -> dict[str, Any]:
        counts = self.counter.read(self.counter.count(frame, predict(frame)))
        return drift_report(self.schema, self.reference, counts)

    def _draw(self, count: int) -> Frame:
        numbers = np.column_stack([column(self.rng, count) for column in NUMBERS])
        return Frame(numbers, np.column_stack([column(self.rng, count) for column in CATEGORIES]))

    def _encoded(self, frame: Frame) -> Frame:
        columns = [code[column] for code, column in zip(self._code, frame.codes.T, strict=True)]
        return Frame(frame.numbers, np.column_stack(columns))


def kind(column: Column) -> Any:
    return "boolean" if column is boolean else "date" if column is date else "number"


def codes_of(levels: np.ndarray) -> np.ndarray:
    """The code of each level of the population; the last code is MISSING."""
    codes = np.full(POPULATION + 2, UNSEEN, dtype=np.int64)
    codes[levels] = np.arange(len(levels))
    codes[MISSING] = MISSING
    return codes


def predict(frame: Frame) -> Outputs:
    return Outputs(frame.numbers[:, [0]] + 3 * frame.numbers[:, [8]])


def shifted(deviations: float, column: int = 0) -> Change:
    """A change that shifts the mean of a normally distributed column."""
    return lambda frame: with_numbers(frame, column, frame.numbers[:, column] + 10 * deviations)


def other_unit(frame: Frame) -> Frame:
    return with_numbers(frame, 1, frame.numbers[:, 1] * 1000)


def new_level(frame: Frame) -> Frame:
    codes = frame.codes.copy()
    codes[: len(codes) // 20, 0] = UNSEEN
    return Frame(frame.numbers, codes)


def first_missing(frame: Frame) -> Frame:
    numbers = frame.numbers.copy()
    numbers[: len(numbers) // 20, 2] = np.nan
    return Frame(numbers, frame.codes)


def with_numbers(frame: Frame, column: int, values: np.ndarray) -> Frame:
    numbers = frame.numbers.copy()
    numbers[:, column] = values
    return Frame(numbers, frame.codes)


class SimulatedChange(NamedTuple):
    """A change of rows, the changed column, and the statuses for which the change counts as found."""

    name: str
    change: Change
    column: str
    found: Sequence[str]


CHANGES = (
    SimulatedChange("a shift of 0.3 standard deviations: a warning", shifted(0.3), "n0", FOUND),
    SimulatedChange("a shift of 0.5 standard deviations: an alarm", shifted(0.5), "n0", ("alarm",)),
    SimulatedChange("a new level in 5 % of the rows", new_level, "c0", FOUND),
    SimulatedChange("missing values from 0 to 5 %", first_missing, "n2", FOUND),
    SimulatedChange("a unit in thousandths", other_unit, "n1", ("alarm",)),
)


def false_alarms(population: Population, windows: int) -> Iterator[list[str]]:
    """The columns with a warning or an alarm in windows without drift; windows without such a column are left out."""
    for _ in range(windows):
        report = population.report(population.rows(WINDOW))
        if report["status"] != "ok":
            assert report["status"] in FOUND
            columns = [*report["columns"], report["prediction"] | {"name": "prediction"}]
            yield [column["name"] for column in columns if column["status"] != "ok"]


def power(population: Population, change: SimulatedChange, windows: int) -> float:
    """The fraction of windows in which a change is found in its column."""
    found = 0
    for _ in range(windows):
        report = population.report(change.change(population.rows(WINDOW)))
        status = next(column["status"] for column in report["columns"] if column["name"] == change.column)
        found += status in change.found
    return found / windows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args(arguments)
    population = Population(parsed.seed)
    alarms = [*false_alarms(population, parsed.windows)]
    print(
        f"{parsed.windows:,} windows of {WINDOW:,} rows, {len(population.reference.columns)} columns and the prediction"
    )
    print(f"windows with a false alarm: {len(alarms)} {alarms or ''}")
    missed = len(alarms) > parsed.windows / 1000
    for change in CHANGES:
        fraction = power(population, change, parsed.windows)
        print(f"{change.name}: found in {100 * fraction:.1f} % of the windows")
        missed |= fraction < 0.99
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
