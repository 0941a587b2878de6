"""The measurements of `python -m training.trust` on rows with known noise."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.training.test_conformalization import class_rows, regression_rows
from training import trust
from training.conformalization import fit_uncertainty
from training.coverage import coverage_by_fifth, level_coverage, tolerance
from training.coverage_report import interval_report, set_report
from training.synthetic_noise import NOISE, write_table
from training.trust import Report


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_coverage_of_splits_equals_the_level_only_for_correct_scores(level: float) -> None:
    rows = regression_rows("skewed", 0, 3000)
    fitted = fit_uncertainty(rows)
    assert fitted is not None
    found = level_coverage(rows, fitted, level, splits=20)
    assert found.is_in_tolerance
    assert found.mean_is_in_tolerance
    assert not found._replace(by_folds=level - 1.1 * found.tolerance).is_in_tolerance
    assert not found._replace(mean_of_splits=level + 0.006).mean_is_in_tolerance


def test_tolerance_of_coverage_includes_both_samples() -> None:
    assert tolerance(0.9, 2000, 2000) == pytest.approx(0.01 + 2 * np.sqrt(0.09 / 1000))


def test_constant_scale_does_not_cover_each_fifth() -> None:
    rows = regression_rows("grows", 0, 8000)
    fitted = fit_uncertainty(rows)
    assert fitted is not None
    own, constant = coverage_by_fifth(rows, fitted, 0.9)
    assert min(own) >= 0.85
    assert min(constant) < 0.8


def test_higher_levels_have_larger_sets() -> None:
    rows = class_rows()
    fitted = fit_uncertainty(rows)
    assert fitted is not None
    low, high = (set_report(rows, fitted, level) for level in (0.8, 0.95))
    assert low["mean_size"] < high["mean_size"]
    assert low["coverage"] < high["coverage"]
    assert low["single_labels"] > high["single_labels"]


def test_reported_intervals_are_clipped_like_served_intervals() -> None:
    rows = regression_rows("equal", 1, 1000)
    fitted = fit_uncertainty(rows)
    assert fitted is not None
    within = dataclasses.replace(rows, limits=(3.0, 5.0))
    assert rows.limits == (-np.inf, np.inf)
    assert interval_report(rows, fitted)["mean_width"] > 2.5
    assert interval_report(within, fitted)["mean_width"] < 2.0


def test_report_names_the_missed_targets() -> None:
    report = Report()
    trust.measure("growing", regression_rows("grows", 0, 3000), report)
    assert report.missed == []
    assert "all targets are met" in report.text()
    trust.measure("growing", regression_rows("grows", 0, 3000, matched=False), report)
    assert "missed: growing noise: a fifth is covered by" in report.text()
    sets = Report()
    trust.measure("letter", class_rows(), sets)
    assert [text for text in sets.missed if text.startswith("letter: sets of")]


@pytest.mark.parametrize("name", NOISE)
def test_synthetic_tables_have_their_columns(name: str, tmp_path: Path) -> None:
    with write_table(name, tmp_path).open() as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]] == ["a", "b", "c", "y"]
    distinct = len({row["y"] for row in rows})
    assert (distinct < 50) == (name == "ties")
