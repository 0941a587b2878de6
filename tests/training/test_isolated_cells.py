"""An isolated cell is reported and does not change what a model learns from the other rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.encoding.isolated import common_range
from tests.training.tables import Infer, cycle, has_notice
from training import robustness
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.isolated_cells import isolated_rows
from training.splitting import split_rows

CASES = Path(__file__).parent / "cases"
RNG = np.random.default_rng(0)
Draw = Callable[[np.random.Generator], Any]


def load(name: str) -> Any:
    return load_dataset(DataOptions(data=str(CASES / name), target="y"))


def test_sentinel_date_is_reported_and_its_row_is_not_trained_on() -> None:
    dataset = load("f01_one_sentinel_date.csv")
    assert has_notice(dataset, "column 'd': 9999-12-31 in row 51 is far outside of the others (2022-01-02 to 2023-11")
    assert np.flatnonzero(isolated_rows(dataset)).tolist() == [50]
    parts = split_rows(dataset, DataOptions())
    assert 50 not in [*parts.train, *parts.validation]


def test_a_table_without_isolated_cells_is_used_completely() -> None:
    dataset = load("f01_ok.csv")
    assert not isolated_rows(dataset).any()
    assert not has_notice(dataset, "far outside")


def test_last_row_of_totals_is_reported() -> None:
    dataset = load("f09_total_row.csv")
    assert has_notice(dataset, "target 'y': 75368.1 in row 301 is far outside of the others")
    assert has_notice(dataset, "row 301, the last row, looks like a row of totals: no other row has 'Total' as its 'c'")


def replaced(cells: list[Any], **changes: Any) -> list[Any]:
    for place, cell in changes.items():
        cells[int(place[1:])] = cell
    return cells


DAYS = [f"2023-{1 + row % 12:02}-{1 + row % 28:02}" for row in range(200)]


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("d", replaced([*DAYS], _7="1900-01-01"), "1900-01-01 in row 8 is far outside"),
        ("d", replaced([*DAYS], _9="0202-03-04"), "0202-03-04 in row 10 is far outside"),
        ("n", replaced(cycle(*range(3, 17)), _0=1e12), "1000000000000 in row 1 is far outside of the others (3 to 16)"),
        ("n", replaced(cycle(*range(3, 17)), _0=-500, _9=-499), "-500 in row 1, -499 in row 10 are far outside"),
        (
            "n",
            replaced(cycle(*range(3, 17)), **{f"_{row}": -999 for row in range(40)}),
            "does it mean a missing value? see --na",
        ),
    ],
)
def test_isolated_cells_are_reported(infer: Infer, column: str, cells: list[Any], message: str) -> None:
    assert has_notice(infer(**{column: cells}), f"column '{column}': "), "a notice about the column"
    assert has_notice(infer(**{column: cells}), message)


def test_many_sentinels_are_clipped_and_their_rows_are_trained_on(infer: Infer) -> None:
    dataset = infer(n=replaced(cycle(*range(3, 17)), **{f"_{row}": -999 for row in range(40)}))
    assert not isolated_rows(dataset).any()


@pytest.mark.parametrize("word", ["Summe", "TOTAL:", "Grand total"])
def test_word_for_totals_in_the_last_row_is_reported(infer: Infer, word: str) -> None:
    assert has_notice(
        infer(shop=replaced(cycle("a", "b"), _199=word)), "row 200, the last row, looks like a row of totals"
    )


def test_rare_level_in_the_last_row_is_not_reported_as_a_total(infer: Infer) -> None:
    assert not has_notice(infer(shop=replaced(cycle("a", "b"), _199="c")), "looks like a row of totals")


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(size=300),
        lambda rng: rng.lognormal(3, 1, 300),
        lambda rng: rng.integers(0, 2, 300),
        lambda rng: np.where(rng.random(300) < 0.97, 0.0, rng.uniform(1, 9, 300)),
        lambda rng: 10.0 ** rng.integers(0, 6, 300),
    ],
)
def test_common_columns_have_no_isolated_values(draw: Draw) -> None:
    for seed in range(20):
        values = np.asarray(draw(np.random.default_rng(seed)), dtype=np.float64)
        assert common_range(values) == (values.min(), values.max())


def test_a_value_far_from_zeros_and_a_few_numbers_is_isolated() -> None:
    values = np.array([0.0] * 290 + [*range(1, 10), 1e9])
    assert common_range(values) == (0.0, 9.0)


def test_isolated_cell_hardly_changes_the_error_on_other_rows() -> None:
    """A short run of `python -m training.robustness`."""
    table, fresh = robustness.draw_table(300, seed=1), robustness.draw_table(500, seed=2)
    known = robustness.KnownErrors()
    runs = robustness.TrainingRuns("plain", robustness.epochs_for(300), [0, 1])
    clean = robustness.measure(table, runs, fresh, known, "clean")
    for cell in ("date 9999-12-31", "target 1e6"):
        odd = robustness.measure(robustness.ISOLATED_CELLS[cell](table), runs, fresh, known, cell)
        assert odd.mean < clean.mean * 1.1, cell


def test_measured_errors_are_stored_when_the_time_limit_ends_a_run(tmp_path: Path) -> None:
    file = tmp_path / "errors.json"
    assert robustness.KnownErrors(file).error("a", lambda: 1.5) == 1.5
    ended = robustness.KnownErrors(file, seconds=-1)
    assert ended.error("a", lambda: 2.5) == 1.5
    with pytest.raises(robustness.TimeIsUp):
        ended.error("b", lambda: 2.5)
