"""Rate limits of keys, in one worker and in several workers that share a file."""

import fcntl
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from service.access import key_rates
from service.access.key_rates import SIZE, SLOTS, SharedRates, burst_of

START = 1000.0
WAIT_S = 300.0


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("rate", [0.5, 5, 100, 5000])
def test_a_client_without_pauses_gets_its_rate(clock: Clock, rate: float) -> None:
    rates = SharedRates(None)
    key = rates.rate(rates.indices(["a"])["a"], rate, 1)
    accepted, seconds = 0, 20
    while clock.now < START + seconds:
        accepted += key.take() == 0
        clock.now += 1 / (4 * rate)
    assert accepted == pytest.approx(rate * seconds, rel=0.1)


def test_a_burst_is_accepted_and_regained_with_time(clock: Clock) -> None:
    rates = SharedRates(None)
    key = rates.rate(rates.indices(["a"])["a"], 10, 5)
    assert [key.take() for _ in range(5)] == [0] * 5
    assert key.take() == pytest.approx(0.1)
    clock.now += 0.2
    assert [key.take() == 0 for _ in range(3)] == [True, True, False]
    clock.now += 100
    assert [key.take() == 0 for _ in range(6)] == [True] * 5 + [False]


def test_the_default_burst_is_the_rate_of_half_a_second() -> None:
    assert [burst_of(rate, None) for rate in (0.1, 1, 5, 100)] == [1, 1, 3, 50]
    assert burst_of(100, 7) == 7


def test_keys_with_the_same_name_share_a_rate(clock: Clock, tmp_path: Path) -> None:
    one, two = SharedRates(tmp_path), SharedRates(tmp_path)
    first = one.rate(one.indices(["a", "b"])["a"], 1, 1)
    second = two.rate(two.indices(["a"])["a"], 1, 1)
    other = two.rate(two.indices(["c", "b"])["b"], 1, 1)
    assert (first.take(), second.take() > 0, other.take()) == (0, True, 0)


def test_the_slots_of_removed_keys_are_reused(clock: Clock, tmp_path: Path) -> None:
    rates = SharedRates(tmp_path)
    old = [f"old{number}" for number in range(SLOTS)]
    assert len({*rates.indices(old).values()}) == SLOTS
    clock.now += key_rates.UNUSED_S + 1
    kept = old[:10]
    places = rates.indices(kept)
    new = rates.indices([*kept, "new1", "new2"])
    assert {name: new[name] for name in kept} == dict(places)
    assert len({*new.values()}) == 12
    assert (tmp_path / key_rates.FILE).stat().st_size == SIZE


def test_without_disk_space_each_worker_counts_separately(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rates = SharedRates(tmp_path / "missing")
    assert rates.rate(rates.indices(["a"])["a"], 1, 1).take() == 0
    assert "separately" in caplog.text


def test_the_shared_rate_is_locked_after_half_of_the_burst(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[tuple[int, int]] = []
    monkeypatch.setattr(fcntl, "lockf", lambda _file, command, length, start: locked.append((command, start)))
    rates = SharedRates(tmp_path)
    place = rates.indices(["a"])["a"]
    pair = [(fcntl.LOCK_EX, 8 * place), (fcntl.LOCK_UN, 8 * place)]
    key, found = rates.rate(place, 8, 4), []
    for _ in range(5):
        accepted = key.take() == 0
        found.append((accepted, locked == pair))
        locked.clear()
    assert found == [(True, False), (True, False), (True, True), (True, True), (False, False)]
    for burst in (1, 2):
        rates.rate(rates.indices(["b"])["b"], 8, burst).take()
        assert len(locked) == 2, "with a small burst every count is near the limit"
        locked.clear()
        clock.now += 100


def take_greedily(folder: Path, rate: float, seconds: float, all_ready: Any, accepted: Any) -> None:
    """Take as many requests as possible after all workers are ready."""
    rates = SharedRates(folder)
    key = rates.rate(rates.indices(["a"])["a"], rate, 1)
    count = 0
    all_ready.wait(WAIT_S)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        count += key.take() == 0
    accepted.put((count, time.monotonic()))


def accepted_by_workers(folder: Path, rate: float, seconds: float, workers: int = 4) -> tuple[int, float]:
    """The number of accepted requests of all workers, and the seconds until the last worker stopped."""
    context = multiprocessing.get_context("forkserver")  # a forked process may hang if the parent has threads
    all_ready, accepted = context.Barrier(workers + 1), context.Queue()
    arguments = (folder, rate, seconds, all_ready, accepted)
    processes = [context.Process(target=take_greedily, args=arguments) for _ in range(workers)]
    for process in processes:
        process.start()
    try:
        while all_ready.n_waiting < workers:
            assert all(process.is_alive() for process in processes)
            time.sleep(0.01)
        begin = time.monotonic()
        all_ready.wait(WAIT_S)
        counts, ends = zip(*(accepted.get(timeout=WAIT_S) for _ in processes), strict=True)
    finally:
        for process in processes:
            process.join(WAIT_S)
            process.kill()
            process.join()
            process.close()
    return sum(counts), max(ends) - begin


@pytest.mark.parametrize("rate", [5, 100, 5000])
def test_four_workers_do_not_exceed_a_rate_together(tmp_path: Path, rate: float) -> None:
    """The workers never exceed the rate together; a slow machine may accept fewer requests."""
    accepted, seconds = accepted_by_workers(tmp_path, rate, 0.5)
    assert 1 <= accepted <= 1.001 * rate * seconds + 1
