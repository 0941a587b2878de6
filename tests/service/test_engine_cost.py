"""The measured cost of an engine does not depend on other load of the machine."""

import dataclasses
import time
from typing import Any

import pytest

from models.tabular_model import TabularModel
from service import engine_cost
from service.engine_cost import MANY_ROWS, EngineCost


class Waiting:
    """An engine that gives up its core in every call, as on a busy machine."""

    def __init__(self, inner: Any, name: str, seconds: float) -> None:
        self.inner, self.name, self.seconds = inner, name, seconds
        self.reason = ""

    def outputs(self, x: Any) -> Any:
        time.sleep(self.seconds)
        return self.inner.outputs(x)


def waiting(model: TabularModel, name: str) -> TabularModel:
    return dataclasses.replace(model, engine=Waiting(model.engine, name, 0.02))


def test_waiting_for_a_core_does_not_count_for_numpy(tabular_model: TabularModel) -> None:
    assert engine_cost.measure(waiting(tabular_model, "numpy"), pause_s=0).one_s < 0.02


def test_waiting_counts_for_an_engine_with_its_own_threads(tabular_model: TabularModel) -> None:
    assert engine_cost.measure(waiting(tabular_model, "tensorflow"), pause_s=0).one_s >= 0.02


def rounds(monkeypatch: pytest.MonkeyPatch, *costs: tuple[float, float]) -> list[EngineCost]:
    """Sets the costs of the next rounds, the last cost for all further ones. Returns the list of measured rounds."""
    left, measured = [EngineCost(*cost) for cost in costs], []

    def measure_round(model: Any, clock: Any) -> EngineCost:
        measured.append(left.pop(0) if len(left) > 1 else left[0])
        return measured[-1]

    monkeypatch.setattr(engine_cost, "measure_round", measure_round)
    return measured


def test_the_fastest_round_counts(monkeypatch: pytest.MonkeyPatch, tabular_model: TabularModel) -> None:
    rounds(monkeypatch, (9, 90), (2, 40), (3, 20))
    assert engine_cost.measure(tabular_model, 0)[:2] == (2, 20)


def test_there_are_more_rounds_while_they_differ(monkeypatch: pytest.MonkeyPatch, tabular_model: TabularModel) -> None:
    measured = rounds(monkeypatch, (9, 90), (1, 10), (5, 50), (1, 11))
    assert engine_cost.measure(tabular_model, 0) == EngineCost(1, 10, steady=True)
    assert len(measured) == 4


def test_models_that_are_measured_together_take_turns(
    monkeypatch: pytest.MonkeyPatch, tabular_model: TabularModel, pauses: list[float]
) -> None:
    """Each model gets its own rounds, and they share the pauses."""
    models = [dataclasses.replace(tabular_model, version=version) for version in "12"]
    order: list[str] = []

    def measure_round(model: TabularModel, clock: Any) -> EngineCost:
        order.append(model.version)
        return EngineCost(float(model.version), 10.0 * float(model.version) * (1 + (len(order) in (2, 4))))

    monkeypatch.setattr(engine_cost, "measure_round", measure_round)
    costs = engine_cost.measure_all(models, pause_s=5.0)
    assert costs == [EngineCost(1, 10, steady=True), EngineCost(2, 20, steady=True)]
    assert order == ["1", "2", "1", "2", "1", "2", "2"]
    assert len(pauses) == 3


@pytest.mark.parametrize("costs", [[(1, 90), (2, 40), (4, 20), (8, 10), (16, 5), (32, 2)], [(5, 4)]])
def test_rounds_that_differ_or_are_implausible_are_not_steady(
    monkeypatch: pytest.MonkeyPatch, tabular_model: TabularModel, costs: list[tuple[float, float]]
) -> None:
    rounds(monkeypatch, *costs)
    assert not engine_cost.measure(tabular_model, 0).steady


def test_another_measurement_can_only_lower_a_cost_and_steadies_it_where_it_agrees() -> None:
    first = EngineCost(2.0, 20.0, steady=False)
    assert first.merged(EngineCost(2.5, 18.0)) == EngineCost(2.0, 18.0, steady=True)
    assert first.merged(EngineCost(1.0, 30.0)) == EngineCost(1.0, 20.0, steady=False)


def test_the_cost_of_a_row_is_the_difference_of_many_rows_to_one() -> None:
    assert EngineCost(1.0, 1.0 + (MANY_ROWS - 1) * 2.0).row_s == pytest.approx(2.0)
    assert EngineCost(2.0, 1.0).row_s > 0
