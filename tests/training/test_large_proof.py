"""`make large-tables` continues after the last complete step, and measures changed code again."""

from pathlib import Path

import pytest

from tests.training.large import proof


def test_a_step_runs_once_for_the_same_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, runs = tmp_path / "results.json", list[str]()

    def run() -> proof.Run:
        runs.append("run")
        return proof.Run(1.0, 2.0, len(runs), 0.5)

    first = proof.Steps(path).training("a table", run)
    assert proof.Steps(path).training("a table", run) == first
    assert proof.Steps(path).training("another table", run).peak == 2
    monkeypatch.setattr(proof, "code_hash", lambda: "changed")
    assert proof.Steps(path).training("a table", run).peak == 3
    assert proof.Steps(None).training("a table", run).peak == 4
