"""The short form of the simulation: a change is found, and without a change no drift is reported."""

import pytest

from tests.models.drift.simulation import CHANGES, Population, SimulatedChange, false_alarms, power


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(seed=0)


def test_rows_of_the_same_population_are_not_drift(population: Population) -> None:
    assert [*false_alarms(population, windows=60)] == []


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_change_is_found_in_the_first_window(population: Population, change: SimulatedChange) -> None:
    assert power(population, change, windows=10) == 1.0
