"""The time saved by each fast path: a part of a request with and without it, in turns, in one process.

Times are CPU times of this process, medians over rounds. The saving is the median of the savings within a round, which
is robust against disturbances.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from loadtest.bench import fast_model_cases, fast_service_cases
from loadtest.bench.fast_case import Case, check
from models import text_tables
from models.text import counted

GOAL = 0.05  # minimum saving of a fast path in one of its cases
LONG_ENOUGH_S = 0.005  # duration of consecutive calls, so that reading the clock is negligible


class FastPathResult(NamedTuple):
    case: Case
    fast: float  # seconds per call
    general: float
    saving: float  # fraction of the general code's time, 0 to 1


def run(rounds: int, markdown: Path | None) -> int:
    """Measure and print all cases. Returns 1 if a fast path saves too little in all of its cases."""
    with threadpool_limits(1):
        results = measure([*cases()], rounds)
    table = table_of(results)
    text = text_tables.markdown(table, numbers=True)
    print(f"{text_tables.aligned(table)}\n\n{text}\n\nCPU time, one thread, medians of {counted(rounds, 'round')}.")
    if markdown:
        markdown.write_text(text + "\n", "utf-8")
    slow = slow_paths(results)
    for path in slow:
        print(f"{path} saves less than {GOAL:.0%}")
    return 1 if slow else 0


def cases() -> Iterator[Case]:
    return chain(fast_model_cases.cases(), fast_service_cases.cases())


def measure(measured: list[Case], rounds: int) -> list[FastPathResult]:
    """Measure all cases in each round, one after the other."""
    for case in measured:
        check(case)
    calls = [max(1, round(LONG_ENOUGH_S / timed(case.fast, 10))) for case in measured]
    seconds: list[list[tuple[float, float]]] = [[] for _ in measured]
    for number in range(rounds):
        for case, count, found in zip(measured, calls, seconds, strict=True):
            found.append(pair(case, count, fast_first=number % 2 == 0))
    return [result(case, found) for case, found in zip(measured, seconds, strict=True)]


def pair(case: Case, calls: int, *, fast_first: bool) -> tuple[float, float]:
    """Seconds of the fast path and of the general code, measured one after the other."""
    fast = timed(case.fast, calls) if fast_first else 0.0
    with case.disabled():
        general = timed(case.general, calls)
    return fast if fast_first else timed(case.fast, calls), general


def timed(call: Callable[[], Any], calls: int) -> float:
    started = time.process_time()
    for _ in range(calls):
        call()
    return max(time.process_time() - started, 1e-9) / calls


def result(case: Case, seconds: list[tuple[float, float]]) -> FastPathResult:
    saving = median(1 - fast / general for fast, general in seconds)
    return FastPathResult(case, median(fast for fast, _ in seconds), median(general for _, general in seconds), saving)


def table_of(results: Iterable[FastPathResult]) -> list[list[str]]:
    rows = [
        [one.case.path, one.case.input, f"{one.fast * 1e6:,.1f}", f"{one.general * 1e6:,.1f}", f"{one.saving:.0%}"]
        for one in results
    ]
    return [["fast path", "part of a request", "µs fast", "µs general", "saves"], *rows]


def slow_paths(results: Iterable[FastPathResult]) -> list[str]:
    """The fast paths that save less than the goal in all of their cases."""
    best: dict[str, float] = {}
    for one in results:
        best[one.case.path] = max(one.saving, best.get(one.case.path, -1.0))
    return [path for path, saving in best.items() if saving < GOAL]
