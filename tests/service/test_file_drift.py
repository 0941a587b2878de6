"""`tabserve drift` compares a file with a stored version, using the same statistics as `/drift`."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.commands import dispatch
from tests.service.watched_model import in_metres, rows_like_training, write_store

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """run(word, …) runs the command and returns exit code, output and errors."""
    monkeypatch.setenv("TABSERVE_STORE", str(write_store(tmp_path / "store")))

    def run(*words: str) -> tuple[int, str, str]:
        code = dispatch.run("drift", words, "tabserve")
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    return str(path)


@pytest.mark.parametrize("tag", ["fares", "fares:1", "fares@champion"])
def test_a_file_like_the_training_rows_has_the_status_ok(run: Run, tmp_path: Path, tag: str) -> None:
    file = write_csv(tmp_path / "a.csv", rows_like_training(1000, seed=7))
    code, printed, errors = run(tag, "--data", file)
    assert (code, errors) == (0, "")
    assert "1,000 rows, compared with the training of fares:1" in printed
    assert printed.endswith("status: ok\n")
    assert "(prediction)" in printed


def test_a_changed_unit_raises_an_alarm_in_every_format(run: Run, tmp_path: Path) -> None:
    rows = in_metres(rows_like_training(1000, seed=7))
    lines = tmp_path / "a.ndjson"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = []
    for file in (write_csv(tmp_path / "a.csv", rows), str(lines)):
        code, printed, _ = run("fares", "--data", file, "--json")
        assert code == 3
        found.append(json.loads(printed))
    assert found[0] == found[1]
    assert (found[0]["status"], found[0]["rows"], found[0]["invalid_rows"]) == ("alarm", 1000, 0)
    assert found[0]["columns"][0]["status"] == "alarm"


def test_invalid_rows_are_counted_and_excluded(run: Run, tmp_path: Path) -> None:
    rows = rows_like_training(300, seed=7)
    rows[7] = rows[7] | {"km": "far"}
    code, printed, errors = run("fares", "--data", write_csv(tmp_path / "a.csv", rows))
    assert code == 0
    assert "299 rows" in printed
    assert "invalid rows, which a server would refuse, are left out: 1;" in errors
    assert "row 7, feature 'km'" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fare", "--data", "a.csv"), "fare"),
        (("fares:9", "--data", "a.csv"), "fares:9"),
        (("fares:x", "--data", "a.csv"), "is neither a model nor a version"),
        (("fares@challenger", "--data", "a.csv"), "has no alias 'challenger'"),
        (("fares", "--data", "missing.csv"), "cannot be read"),
        (("fares", "--data", "."), "cannot be read"),
        (("fares", "--data", "empty.csv"), "cannot be read"),
        (("fares", "--data", "binary"), "cannot be read"),
    ],
)
def test_an_unreadable_file_or_version_is_reported_in_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("km\n1\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "binary").write_bytes(b"PAR1" + bytes(range(256)))
    code, printed, errors = run(*words)
    assert (code, printed) == (1, "")
    assert message in errors
    assert errors.count("\n") == 1


def test_a_version_without_a_reference_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TABSERVE_STORE", str(write_store(tmp_path / "store", with_reference=False)))
    assert dispatch.run("drift", ["fares", "--data", "a.csv"], "tabserve") == 1
    assert "fares:1 has no reference.json" in capsys.readouterr().err
