"""Requests are admitted within a budget of memory for bodies and explanations."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.tabular_model import TabularModel
from service import memory_budget
from service.errors import OutOfMemory
from service.memory_budget import MEMORY_PER_BYTE, MemoryBudget, MemoryTrimmer, Reservation
from service.settings import Settings


def test_a_reservation_beyond_the_budget_is_refused_until_memory_is_released() -> None:
    budget = MemoryBudget(100)
    budget.reserve(60, 0)
    with pytest.raises(OutOfMemory) as refused:
        budget.reserve(50, 0)
    assert dict(refused.value.headers)[b"retry-after"]
    budget.release(60)
    budget.reserve(50, 0)
    assert budget.reserved == 50


def test_a_single_request_is_always_admitted() -> None:
    budget = MemoryBudget(100)
    budget.reserve(60, 0)
    budget.reserve(90, reserved=60)
    assert budget.reserved == 150


def test_without_a_limit_everything_is_admitted() -> None:
    MemoryBudget(None).reserve(10**15, 0)


@pytest.mark.parametrize(
    ("groups", "files", "limits"),
    [
        ("0::/", {"memory.max": "1000\n"}, [1000]),
        ("0::/", {"memory.max": "max\n"}, []),
        ("0::/a/b", {"a/memory.max": "500", "a/b/memory.max": "max"}, [500]),
        ("4:cpu,memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": "700"}, [700]),
        ("", {}, []),
    ],
)
def test_the_memory_limits_of_control_groups_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], limits: list[int]
) -> None:
    (tmp_path / "own").write_text(groups)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory_budget, "GROUPS", tmp_path)
    monkeypatch.setattr(memory_budget, "OWN_GROUP", tmp_path / "own")
    assert sorted(set(memory_budget.group_limits())) == limits


def test_a_worker_gets_its_share_of_the_server_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "process_bytes", lambda: 90 * 1024**2)
    one, two = (memory_budget.worker_budget(1024**3, workers) for workers in (1, 2))
    assert one > two > memory_budget.MIN_BYTES
    assert memory_budget.worker_budget(1, 4) == memory_budget.MIN_BYTES


def test_a_body_is_refused_while_other_requests_use_the_budget(
    make_app: Callable[..., Any],
    asgi: Callable[..., Any],
    tabular_models: list[TabularModel],
    home_row: dict[str, Any],
) -> None:
    app = make_app(tabular_models, Settings())
    row = str(home_row).replace("'", '"').replace("True", "true")
    body = b'{"rows":[' + b",".join([row.encode()] * 1000) + b"]}"
    app.plane.memory.limit = MEMORY_PER_BYTE * len(body)
    length = {"content-length": str(len(body))}

    async def scenario() -> list[int]:
        app.plane.memory.reserve(1, 0)  # memory of another request
        refused = await asgi(app, "POST", "/predict/homes", body, headers=length)
        app.plane.memory.release(1)
        admitted = await asgi(app, "POST", "/predict/homes", body, headers=length)
        return [refused.status, int(refused.headers["retry-after"]), admitted.status]

    assert asyncio.run(scenario()) == [503, 1, 200]
    assert app.plane.memory.reserved == 0


def test_a_file_that_expands_is_refused_while_other_requests_use_the_budget(
    make_app: Callable[..., Any], asgi: Callable[..., Any], tabular_models: list[TabularModel]
) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), ["x" * 1024**2])
    sink = io.BytesIO()
    pq.write_table(pa.table({"age": [30.0] * 100, "job": text}), sink, compression="zstd")
    app = make_app(tabular_models, Settings())
    app.plane.memory.limit = 1024**2
    headers = {"content-type": "application/vnd.apache.parquet"}

    async def scenario() -> list[int]:
        app.plane.memory.reserve(1, 0)  # memory of another request
        refused = await asgi(app, "POST", "/predict/income", sink.getvalue(), headers=headers)
        app.plane.memory.release(1)
        admitted = await asgi(app, "POST", "/predict/income", sink.getvalue(), headers=headers)
        return [refused.status, int(refused.headers["retry-after"]), admitted.status]

    assert asyncio.run(scenario()) == [503, 1, 200]
    assert app.plane.memory.reserved == 0


def test_memory_cannot_be_reserved_for_a_request_that_has_ended() -> None:
    budget = MemoryBudget(100)
    reservation = Reservation(budget)
    reservation.grow(60)
    reservation.grow(30)
    assert budget.reserved == 60
    reservation.close()
    with pytest.raises(OutOfMemory):
        reservation.grow(10)
    assert budget.reserved == 0


def test_memory_is_trimmed_when_it_has_grown_considerably_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    held, budget = [100 * 1024**2], MemoryBudget()
    monkeypatch.setattr(memory_budget, "resident_bytes", lambda: held[0])
    trimmer = MemoryTrimmer()
    assert not trimmer.is_needed(budget)
    held[0] += memory_budget.KEPT_BYTES + 1
    assert trimmer.is_needed(budget)
    budget.reserve(1, 0)  # a request is in flight
    assert not trimmer.is_needed(budget)
    held[0] += memory_budget.KEPT_UNDER_LOAD_BYTES
    assert trimmer.is_needed(budget)
    budget.reserve(memory_budget.KEPT_BYTES, 0)
    assert not trimmer.is_needed(budget)
    trimmer.trim()


def test_memory_is_trimmed_earlier_with_a_small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    held, budget = [100 * 1024**2], MemoryBudget(40 * 1024**2)
    monkeypatch.setattr(memory_budget, "resident_bytes", lambda: held[0])
    trimmer = MemoryTrimmer()
    held[0] += int(memory_budget.KEPT_SHARE * 40 * 1024**2)
    assert not trimmer.is_needed(budget)
    held[0] += 1
    assert trimmer.is_needed(budget)


def test_the_resident_memory_of_this_process_is_plausible() -> None:
    assert 1024**2 < memory_budget.resident_bytes() < 1024**4
