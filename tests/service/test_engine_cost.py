"""The measured cost of an engine does not depend on other load on the machine."""

import dataclasses
import time
from typing import Any

import pytest

from models.tabular_model import TabularModel
from service import engine_cost
from service.engine_cost import MANY_ROWS, EngineCost


class WaitingEngine:
    """An engine that sleeps in every call, as if it waited for a core on a busy machine."""

    def __init__(self, inner: Any, name: str, seconds: float) -> None:
        self.inner, self.name, self.seconds = inner, name, seconds
        self.reason = ""

    def outputs(self, x: Any) -> Any:
        time.sleep(self.seconds)
        return self.inner.outputs(x)


def with_waiting_engine(model: TabularModel, name: str) -> TabularModel:
    return dataclasses.replace(model, engine=WaitingEngine(model.engine, name, 0.02))


def test_the_cost_of_numpy_excludes_waiting_for_a_core(tabular_model: TabularModel) -> None:
    assert engine_cost.measure(with_waiting_engine(tabular_model, "numpy"), pause_s=0).one_s < 0.02


def test_the_cost_of_an_engine_with_its_own_threads_includes_waiting(tabular_model: TabularModel) -> None:
    assert engine_cost.measure(with_waiting_engine(tabular_model, "tensorflow"), pause_s=0).one_s >= 0.02


def replace_rounds(monkeypatch: pytest.MonkeyPatch, *costs: tuple[float, float]) -> list[EngineCost]:
    """Replace the measured costs of the next rounds; the last cost is repeated. Returns the list of measured rounds."""
    left, measured = [EngineCost(*cost) for cost in costs], []

    def measure_round(model: Any, clock: Any) -> EngineCost:
        measured.append(left.pop(0) if len(left) > 1 else left[0])
        return measured[-1]

    monkeypatch.setattr(engine_cost, "measure_round", measure_round)
    return measured


def test_the_cost_is_that_of_the_fastest_rounds(monkeypatch: pytest.MonkeyPatch, tabular_model: TabularModel) -> None:
    replace_rounds(monkeypatch, (9, 90), (2, 40), (3, 20))
    assert engine_cost.measure(tabular_model, 0)[:2] == (2, 20)


def test_more_rounds_are_measured_while_the_rounds_differ(
    monkeypatch: pytest.MonkeyPatch, tabular_model: TabularModel
) -> None:
    measured = replace_rounds(monkeypatch, (9, 90), (1, 10), (5, 50), (1, 11))
    assert engine_cost.measure(tabular_model, 0) == EngineCost(1, 10, steady=True)
    assert len(measured) == 4


def test_the_rounds_of_several_models_alternate(
    monkeypatch: pytest.MonkeyPatch, tabular_model: TabularModel, pauses: list[float]
) -> None:
    """The rounds of the models alternate, and the models share the pauses between rounds."""
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
def test_differing_or_implausible_rounds_are_not_steady(
    monkeypatch: pytest.MonkeyPatch, tabular_model: TabularModel, costs: list[tuple[float, float]]
) -> None:
    replace_rounds(monkeypatch, *costs)
    assert not engine_cost.measure(tabular_model, 0).steady


def test_merging_measurements_keeps_the_lowest_cost_and_is_steady_if_they_agree() -> None:
    first = EngineCost(2.0, 20.0, steady=False)
    assert first.merged(EngineCost(2.5, 18.0)) == EngineCost(2.0, 18.0, steady=True)
    assert first.merged(EngineCost(1.0, 30.0)) == EngineCost(1.0, 20.0, steady=False)


def test_the_cost_of_a_row_is_computed_from_the_costs_of_one_row_and_of_many_rows() -> None:
    assert EngineCost(1.0, 1.0 + (MANY_ROWS - 1) * 2.0).row_s == pytest.approx(2.0)
    assert EngineCost(2.0, 1.0).row_s > 0
