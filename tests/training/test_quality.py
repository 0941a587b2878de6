"""`make quality`: a job is measured, results are stored, and the table shows which goals are reached."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from training import baselines, quality, quality_report, quality_results
from training.config import DataOptions, FitOptions
from training.quality_results import DATA_FILES, NETWORK_FILES, OTHER_FILES, ROOT, Job, Results, jobs


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Stored results of penguins on one split, in which the network errs half as often as the trees."""
    results = Results(tmp_path / "results.jsonl")
    for model, accuracy in (("trees", 0.96), ("plain", 0.97), ("network", 0.98)):
        measured: dict[str, Any] = {"task": "multiclass", "metrics": {"accuracy": accuracy}, "seconds": 5.0}
        if model != "trees":
            measured |= {"parameters": 1234, "microseconds": [20.0, 3.0]}
        results.add(Job("penguins", 0, model, 0), measured)
    return results


def test_every_model_of_a_table_is_measured_on_the_same_test_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are few epochs, one trial and few trees, because the quality of the models is not tested here."""
    monkeypatch.setattr(quality, "FitOptions", partial(FitOptions, epochs=3, dropout=0.1, final="train"))
    monkeypatch.setattr(baselines, "UNLIMITED_PATIENCE", 2)
    all_jobs = list(jobs(["penguins"], [0], 1))
    assert [job.model for job in all_jobs] == ["trees", "plain", "network"]
    found = {job.model: quality.run(job, quality.options_for(job, tmp_path)) for job in all_jobs}
    for model, result in found.items():
        right = result["metrics"]["accuracy"] * 69  # test rows
        assert right == pytest.approx(round(right)), model
        assert result["seconds"] > 0
    assert len(found["network"]["microseconds"]) == 2
    assert found["network"]["parameters"] > 10_000


def test_quality_results_are_valid_until_relevant_code_changes(results: Results) -> None:
    path = results.path
    assert Job("penguins", 0, "network", 0) in Results(path)
    assert Job("penguins", 0, "network", 1) not in Results(path)
    path.write_text(path.read_text("utf-8") + '{"job": ["penguins", 0, "network", 1], "cut off', "utf-8")
    again = Results(path)
    assert len(again.by_job) == 3
    lines = [json.loads(line) | {"code": "older"} for line in path.read_text("utf-8").splitlines()[:3]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert not Results(path).by_job


def test_comments_and_docstrings_do_not_invalidate_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipe.py"
    monkeypatch.setattr(quality_results, "decisive_files", lambda model: [path])

    def hash_of(code: str) -> str:
        path.write_text(code, "utf-8")
        return quality_results.code_hash.__wrapped__("network")

    code = "def rate() -> float:\n    return 0.1\n"
    commented = 'def rate() -> float:\n    """The learning rate."""\n    return 0.1  # a tenth\n'
    assert hash_of(code) == hash_of(commented)
    assert hash_of(code) != hash_of(code.replace("0.1", "0.2"))


@pytest.mark.parametrize("pattern", DATA_FILES + NETWORK_FILES + OTHER_FILES)
def test_the_files_that_invalidate_results_exist(pattern: str) -> None:
    assert list(ROOT.glob(pattern))


def test_the_table_shows_the_ratio_of_errors_and_the_goals(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    table, missed = quality_report.report(results, ["penguins"], [0], 1)
    row = dict(zip(*table, strict=True))
    assert (row["network"], row["ratio to trees"], missed) == ("0.98 ± 0", "0.5 ± 0", 0)
    for goal in (quality_report.Goal("accuracy", 0.4), quality_report.Goal("accuracy", 0.99, ratio=False)):
        monkeypatch.setitem(quality_report.GOALS, "penguins", [goal])
        table, missed = quality_report.report(results, ["penguins"], [0], 1)
        assert (table[1][7], missed) == ("MISSED", 1)
    monkeypatch.setattr(quality_report, "MAX_SECONDS", 4.0)
    assert quality_report.report(results, ["penguins"], [0], 1)[0][1][7] == "TOO SLOW"


def test_an_external_table_is_read_from_its_package(tmp_path: Path) -> None:
    options = quality.options_for(Job("tumours", 3, "trees", 0), tmp_path)
    assert options == DataOptions(
        data=str(tmp_path / "tables" / "tumours.parquet"), target="target", name="tumours", seed=3, split="random"
    )
    assert Path(options.data).is_file()


def test_the_command_prints_the_table_continues_and_reports_a_missed_goal(
    results: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["quality", "penguins", "--seeds", "0", "--fits", "1", "--results", str(results.path)]
    )
    monkeypatch.setattr(quality, "run", lambda *arguments: pytest.fail("all results were measured before"))
    assert quality.main() == 0
    assert "| penguins | accuracy | 0.98 ± 0 | 0.96 ± 0 | 0.97 ± 0 | 0.5 ± 0 |" in capsys.readouterr().out
    monkeypatch.setitem(quality_report.GOALS, "penguins", [quality_report.Goal("accuracy", 0.4)])
    assert quality.main() == 1
