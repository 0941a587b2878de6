"""Each fast path returns the result of the general code, and a fast path that saves too little time is reported."""

import pytest

from loadtest import __main__
from loadtest.bench import fast_paths
from loadtest.bench.fast_case import Case, check
from loadtest.bench.fast_paths import FastPathResult
from models import text_tables


def test_each_fast_path_returns_the_result_of_the_general_code() -> None:
    for case in fast_paths.cases():
        check(case)


def test_different_results_of_a_fast_path_are_reported() -> None:
    with pytest.raises(ArithmeticError, match="path, given: 1 differs from 2"):
        check(Case("path", "given", lambda: 1, lambda: 2))


def test_a_fast_path_must_save_enough_time_in_one_of_its_cases() -> None:
    def result(path: str, saving: float) -> FastPathResult:
        return FastPathResult(Case(path, "given", lambda: 1, lambda: 1), 1e-6, 2e-6, saving)

    results = [result("a", -0.1), result("a", 0.3), result("b", 0.04)]
    assert fast_paths.slow_paths(results) == ["b"]
    assert fast_paths.table_of(results)[1] == ["a", "given", "1.0", "2.0", "-10%"]


def test_command_prints_a_table_and_the_paths_that_save_too_little_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def quick() -> int:
        return 4_999

    def slow() -> int:
        return max(range(5_000))

    monkeypatch.setattr(fast_paths, "cases", lambda: [Case("a", "given", quick, slow), Case("b", "given", slow, quick)])
    assert __main__.main(["bench", "fast", "--rounds", "3"]) == 1
    printed = capsys.readouterr().out
    assert text_tables.markdown(fast_paths.table_of([]), numbers=True).splitlines()[0] in printed
    assert "b saves less than 5%" in printed
    assert "a saves less" not in printed
