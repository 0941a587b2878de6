"""The workers of a server share the measured cost of an engine, and work without the shared folder."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.tabular_model import TabularModel
from service import engine_cost, shared_costs
from service.data_plane import DataPlane
from service.engine_cost import EngineCost
from service.plan_updates import adopt_changes, measure_doubtful
from service.settings import Settings
from service.shared_costs import SharedCosts

SetMeasurements = Callable[..., list[EngineCost]]


@pytest.fixture
def set_measurements(monkeypatch: pytest.MonkeyPatch) -> SetMeasurements:
    """set_measurements((one_s, many_s), …) sets the results of the next measurements and returns
    the list of measurements made.
    """

    def prepare(*costs: Any) -> list[EngineCost]:
        left, made = [EngineCost(*cost) for cost in costs], []

        def measure(model: Any) -> EngineCost:
            made.append(left.pop(0))
            return made[-1]

        monkeypatch.setattr(engine_cost, "measure", measure)
        monkeypatch.setattr(engine_cost, "measure_all", lambda models: [measure(model) for model in models])
        return made

    return prepare


def test_the_first_worker_measures_and_other_workers_read_the_cost(
    tmp_path: Path, tabular_model: TabularModel, set_measurements: SetMeasurements
) -> None:
    made = set_measurements((0.00003, 0.001))
    found = [SharedCosts(tmp_path).measure([tabular_model]) for _ in range(3)]
    assert found == [made] * 3


def test_a_better_measurement_reaches_every_worker(
    tmp_path: Path, tabular_model: TabularModel, set_measurements: SetMeasurements
) -> None:
    set_measurements((0.0003, 0.01, False), (0.00003, 0.002))
    first, second = SharedCosts(tmp_path), SharedCosts(tmp_path)
    first.measure([tabular_model])
    assert second.measure([tabular_model])[0].one_s == 0.0003
    second.changes()
    better = first.measure_again(tabular_model)
    assert better == EngineCost(0.00003, 0.002, steady=False)
    assert second.changes() == {tabular_model.tag: better}
    assert second.changes() == {}


def test_a_worker_does_not_measure_while_another_worker_measures(
    tmp_path: Path, tabular_model: TabularModel, set_measurements: SetMeasurements
) -> None:
    made = set_measurements((0.0003, 0.01, False))
    busy, other = SharedCosts(tmp_path), SharedCosts(tmp_path)
    with busy._locked(0.0):
        assert other.measure_again(tabular_model) is None
    assert made == []


def test_a_worker_that_keeps_the_lock_does_not_block_other_workers(
    tmp_path: Path, tabular_model: TabularModel, set_measurements: SetMeasurements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_costs, "LOCK_S", 0.05)
    made = set_measurements((0.0003, 0.01))
    with SharedCosts(tmp_path)._locked(0.0):
        assert SharedCosts(tmp_path).measure([tabular_model]) == made


@pytest.mark.parametrize("content", [b"", b"{", b'{"homes:1":{"one_s":1', b'{"homes:1":{"x":1}}', b"[1]"])
def test_costs_in_an_invalid_file_are_measured_again(
    tmp_path: Path, tabular_model: TabularModel, set_measurements: SetMeasurements, content: bytes
) -> None:
    (tmp_path / shared_costs.FILE).write_bytes(content)
    made = set_measurements((0.0003, 0.01))
    assert SharedCosts(tmp_path).measure([tabular_model]) == made


def test_without_a_writable_folder_each_worker_measures_separately(
    tmp_path: Path, tabular_model: TabularModel, set_measurements: SetMeasurements
) -> None:
    made = set_measurements((0.0003, 0.01), (0.0004, 0.02))
    for _ in range(2):
        SharedCosts(tmp_path / "missing").measure([tabular_model])
    assert len(made) == 2


def test_a_running_worker_adopts_a_cost_measured_by_another_worker(
    tmp_path: Path, tabular_model: TabularModel, set_measurements: SetMeasurements
) -> None:
    """A model gets inline rows in all workers after a measurement on a busy machine is repeated."""
    set_measurements((0.00015, 0.01), (0.00003, 0.002))
    planes = [DataPlane([tabular_model], Settings()) for _ in range(2)]
    for plane in planes:
        plane.start(tmp_path)
    first, second = [plane.snapshot.find(tabular_model.name) for plane in planes]
    assert first.inline_rows == second.inline_rows == 0
    asyncio.run(measure_doubtful(planes[0]))
    adopt_changes(planes[1])
    assert first.inline_rows == second.inline_rows > 0
    assert second.counters.inline_rows == second.inline_rows
    for plane in planes:
        plane.close()
