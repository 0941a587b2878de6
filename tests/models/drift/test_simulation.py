"""The simulation with few windows: changes are found, and no drift is reported without a change."""

import pytest

from tests.models.drift.simulation import CHANGES, Population, SimulatedChange, false_alarms, power


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(seed=0)


def test_new_rows_of_the_same_population_show_no_drift(population: Population) -> None:
    assert [*false_alarms(population, windows=60)] == []


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_simulated_change_is_found_in_the_first_window(population: Population, change: SimulatedChange) -> None:
    assert power(population, change, windows=10) == 1.0
