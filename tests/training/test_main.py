"""The command line has one-line errors and exit codes, and stores only complete versions.

This file has more than 400 lines: the exit codes and messages of one command are tested together.
"""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from models import store, version_files
from models.schema import FeatureSchema
from tests.child_processes import kill_at_exit
from training.__main__ import main

pytestmark = pytest.mark.usefixtures("short_trees")
ROOT = Path(__file__).resolve().parents[2]
Lines = Sequence[Sequence[object]]
WriteCsv = Callable[[str, Lines], Path]
QUICK = ("--framework", "numpy", "--hidden", "4", "--epochs", "2", "--no-baselines")


@pytest.fixture
def good(write_csv: WriteCsv) -> Path:
    lines: list[list[object]] = [["x", "group", "target"]]
    lines += [[row % 17 / 3, f"g{row % 5}", round(row % 17 * 1.5 + row % 3, 2)] for row in range(80)]
    return write_csv("good.csv", lines)


def only_error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line of stderr; asserts that it begins with `error: `."""
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def exit_code(arguments: Sequence[str]) -> int:
    """Returns the exit code of main, even if the command-line parser raises SystemExit."""
    try:
        return main([*arguments])
    except SystemExit as stopped:
        return int(stopped.code or 0)


def empty(folder: Path) -> bool:
    return not any(folder.iterdir())


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["penguins", "--engine", "ray"],
            "the library ray is not installed; install it with: pip install 'tabserve[ray]'",
        ),
        (["penguins", "--engine", "ray", "--time", "20s"], "with --engine ray use --tune"),
        (["penguins", "--engine", "ray", "--network", "plain"], "a plain network has one: add --tune"),
        (["--epoches", "3", "--nope"], "--nope"),
        (["--epochs", "many"], "--epochs"),
        (["--epochs", "0", "penguins"], "--epochs must be at least 1"),
        (["--hidden", "a,b"], "whole numbers"),
        (["--activation", "magic"], "magic"),
        (["--dropout", "1.5", "penguins"], "--dropout"),
        (["--loss", "mse", "penguins"], "--loss mse does not fit"),
        (["penguin"], "did you mean 'penguins'"),
        (["table.csv"], "for a file use --data table.csv"),
        (["inspect", "data/table.csv.gz"], "for a file use --data data/table.csv.gz"),
        (["penguins", "--data", "x.csv", "--target", "y"], "not both"),
        (["penguins", "--data", ""], "--data is missing"),
        (["--data", "", "--target", "y"], "--data is missing"),
        (["--target", "y"], "--data is missing"),
        (["--schema", "f.json"], "--data is missing"),
        (["penguins", "--seed", "-1"], "--seed must be from 0"),
        (["penguins", "--seed", "99999999999"], "--seed must be from 0"),
        (["--data", "no.csv", "--target", "y", "--fit-seed", "99999999999"], "--fit-seed must be from 0"),
        (["--data", "x.csv"], "--target"),
        (["penguins", "letter", "--name", "both"], "--name"),
        (["penguins", "--name", "Pen Guins"], "try 'pen_guins'"),
        (["penguins", "--target", "specis"], "species"),
        (["penguins", "--split", "tim:year"], "did you mean time"),
        (["penguins", "--drop", "islnd"], "island"),
        (["penguins", "--schema", "/nowhere.json"], "/nowhere.json"),
        (["inspect"], "inspect reads one data set"),
        (["inspect", "penguins", "letter"], "inspect reads one data set"),
        (["inspect", "--data", "x.csv"], "--target"),
        (["inspect", "penguins", "--data", ""], "--data is missing"),
        (["inspect", "penguins", "--seed", "-1"], "--seed must be from 0"),
        (["inspect", "penguins", "--out", "/nowhere/f.json"], "cannot be written"),
        (["list", "everything"], "everything"),
        (["delete"], "NAME"),
        (["delete", "nothing:1"], "no model 'nothing'"),
        (["delete", "good:x"], "'good:x' is neither a version"),
        (["prune", "--keep", "0"], "not a number of versions"),
        (["prune", "nothing", "--keep", "1"], "no model 'nothing'"),
    ],
)
def test_usage_error_of_training_is_one_line_and_has_exit_code_2(
    bentoml_store: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert exit_code(arguments) == 2
    assert message in only_error_line(capsys)
    assert empty(bentoml_store)


# Unusable tables


def rows(x: Callable[[int], object], y: Callable[[int], object], count: int = 80, header: str = "x,y") -> str:
    return header + "\n" + "".join(f"{x(row)},{y(row)}\n" for row in range(count))


def number(row: int) -> float:
    return row % 17 / 3


BAD = {
    "an empty file": (b"", "is empty"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not a table"),
    "an HTML page": (b"<html><body>no</body></html>", "not a table"),
    "a header only": (b"x,y\n", "no rows"),
    "ragged lines": (rows(number, number).encode() + b"1,2,3\n", "3 cells"),
    "an unknown target": (rows(number, number, header="x,yy").encode(), "did you mean 'yy'"),
    "no target in any row": (rows(number, lambda row: "").encode(), "missing in every row"),
    "an infinite target": (rows(number, lambda row: "inf" if row == 3 else row / 3).encode(), "infinite"),
    "one class only": (rows(number, lambda row: "yes").encode(), "one class only"),
    "classes with one row each": (rows(number, lambda row: f"c{row}").encode(), "none of its 80 classes has 3 rows"),
    "too many classes": (rows(number, lambda row: f"c{row}", count=1100).encode(), "at most 1,000"),
    "duplicate names": (b"x,x,y\n" + b"1,2,3\n" * 80, "2 columns with the name 'x'"),
    "no usable feature": (rows(lambda row: 7, number).encode(), "no usable feature"),
    "too few rows": (rows(number, number, count=49).encode(), "49 usable rows"),
    "a broken gzip file": (b"\x1f\x8b\x08\x00 no", "damaged"),
    "a broken Parquet file": (b"PAR1 no", "Parquet"),
}


@pytest.mark.parametrize("kind", BAD)
def test_invalid_table_is_a_one_line_error_with_exit_code_2(
    bentoml_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    content, message = BAD[kind]
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    assert main(["--data", str(path), "--target", "y", *QUICK]) == 2
    assert message in only_error_line(capsys)
    assert empty(bentoml_store)


def test_a_missing_file_is_reported_with_the_nearest_name(
    bentoml_store: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(good.with_name("god.csv")), "--target", "target"]) == 2
    assert "did you mean 'good.csv'" in only_error_line(capsys)


# Failing runs


def test_diverged_run_is_a_one_line_error_with_exit_code_1(
    bentoml_store: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = ("--optimizer", "sgd", "--learning-rate", "1e30")
    assert main(["--data", str(good), "--target", "target", *QUICK, *lost]) == 1
    line = only_error_line(capsys)
    assert "the loss became" in line
    assert "epoch 1: " in line
    assert "--learning-rate" in line
    assert "--clip-norm" in line
    assert empty(bentoml_store)


STEPS = {
    "reading": ("training.build_dataset.read_table", "the table cannot be read"),
    "inferring": ("training.build_dataset.read_target", "its columns cannot be read"),
    "splitting": ("training.pipeline.split_rows", "its rows cannot be split"),
    "encoding": ("models.encoding.encoder.Encoder.fit", "its rows cannot be encoded"),
    "fitting": ("training.fit.fit", "the network cannot be trained"),
    "evaluating": ("training.pipeline.evaluate", "the network cannot be evaluated"),
    "drawing": ("training.plots.draw_plots", "the model cannot be described"),
    "storing": ("models.version_files.write", "the model cannot be stored"),
}


@pytest.mark.parametrize("name", STEPS)
def test_library_error_is_one_line_with_table_and_step(
    bentoml_store: Path, good: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    function, failure = STEPS[name]

    def fail(*arguments: object, **options: object) -> None:
        raise ValueError("Found array with 0 sample(s) (shape=(0, 4))\nwhile a minimum of 1 is required")

    monkeypatch.setattr(function, fail)
    command = ["--data", str(good), "--target", "target", *QUICK]
    assert main(command) == 2
    line = only_error_line(capsys)
    assert line == f"error: {good}: {failure}, for an unexpected reason (--debug prints the traceback)"
    assert empty(bentoml_store)
    assert main([*command, "--debug"]) == 2
    shown = capsys.readouterr().err
    assert "ValueError: Found array with 0 sample(s)" in shown
    assert shown.splitlines()[-1] == line


def test_unwritable_store_is_a_one_line_error_with_exit_code_1(
    bentoml_store: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bentoml_store.rmdir()
    bentoml_store.write_text("a file in its place")
    assert main(["--data", str(good), "--target", "target", *QUICK]) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"error: nothing can be stored in {bentoml_store}: File exists"]
    assert captured.out == ""  # training reports the error before it starts


def test_an_interruption_reports_that_nothing_more_was_stored(
    bentoml_store: Path, good: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(version_files, "write", interrupt)
    assert main(["--data", str(good), "--target", "target", *QUICK]) == 1
    assert "interrupted" in capsys.readouterr().err
    assert empty(bentoml_store)


# Successful runs


def test_training_stores_a_version_and_prints_the_next_steps(
    bentoml_store: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(good), "--target", "target", "--name", "mine", *QUICK]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "epoch 2/2" in captured.out
    assert "Stored mine:1" in captured.out
    assert "make serve" in captured.out
    assert "running server of this store needs no restart" in captured.out
    assert [stored.tag for stored in store.versions()[0]["mine"]] == ["mine:1"]


def test_if_empty_does_nothing_if_the_model_exists(
    bentoml_store: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", str(good), "--target", "target", "--if-empty", *QUICK]
    assert main(command) == main(command) == 0
    assert [stored.version for stored in store.versions()[0]["good"]] == [1]


def test_table_is_trained_from_standard_input(
    bentoml_store: Path, good: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(good.read_bytes())))
    assert main(["--data", "-", "--target", "target", "--name", "piped", *QUICK]) == 0
    assert list(store.versions()[0]) == ["piped"]


def test_training_accepts_the_schema_that_inspect_wrote(
    bentoml_store: Path, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "features.json"
    assert main(["inspect", "--data", str(good), "--target", "target", "--out", str(path)]) == 0
    assert f"wrote {path}" in capsys.readouterr().out
    assert empty(bentoml_store)
    path.write_text(
        path.read_text().replace('"kind": "number", "nullable": false', '"kind": "number", "nullable": true')
    )
    assert main(["--data", str(good), "--target", "target", "--schema", str(path), *QUICK]) == 0
    [[stored]] = store.versions()[0].values()
    assert FeatureSchema.from_json((stored.path / "features.json").read_bytes()).by_name["x"].nullable


def test_target_is_read_from_the_schema(
    bentoml_store: Path, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "features.json")
    assert main(["inspect", "--data", str(good), "--target", "target", "--out", path]) == 0
    assert main(["inspect", "--data", str(good), "--schema", path]) == 0
    assert main(["--data", str(good), "--schema", path, *QUICK]) == 0
    assert [stored.tag for stored in store.versions()[0]["good"]] == ["good:1"]


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (["target"], ["group"], "good:1 predicted 'target'; this version predicts 'group'"),
        (["x"], ["x", "--task", "classification"], "'x' (regression); this version predicts 'x' (multiclass)"),
    ],
)
def test_change_of_target_or_task_between_versions_is_reported(
    bentoml_store: Path, good: Path, capsys: pytest.CaptureFixture[str], one: list[str], other: list[str], message: str
) -> None:
    for question in (one, other, other):
        assert main(["--data", str(good), *QUICK, "--target", *question]) == 0
    [notice] = [line for line in capsys.readouterr().out.splitlines() if "this version predicts" in line]
    assert message in notice


def test_unreadable_schema_is_a_one_line_error_with_exit_code_2(
    bentoml_store: Path, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "features.json"
    path.write_text('{"format": 1, "features": [')
    assert main(["--data", str(good), "--target", "target", "--schema", str(path), *QUICK]) == 2
    assert only_error_line(capsys)


def test_versions_are_listed_with_their_metric_and_deleted(
    bentoml_store: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["--data", str(good), "--target", "target", *QUICK]) == 0
    (bentoml_store / "good" / "1" / "metrics.json").write_text("{")
    capsys.readouterr()
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "penguins (Palmer penguins)" in lines[0]
    assert lines[-2].split()[:4] == ["good:2", "target", "regression", "RMSE"]
    assert lines[-1].split() == ["good:1", "cannot", "be", "read"]
    assert main(["delete", "good:1"]) == 0
    assert "deleted good:1" in capsys.readouterr().out
    assert [stored.version for stored in store.versions()[0]["good"]] == [2]
    assert main(["prune", "--keep", "1"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["delete", "good"]) == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    assert "none; train a model" in capsys.readouterr().out


def test_help_lists_every_option_with_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import fields

    from training.config import DataOptions, FitOptions

    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    help_text = " ".join(capsys.readouterr().out.split())
    for field in (*fields(DataOptions), *fields(FitOptions)):
        if field.name != "bundled":
            assert f"--{field.name.replace('_', '-')}" in help_text
            assert " ".join(field.metadata["help"].split())[:25] in help_text


# Real processes


def start(home: Path, *arguments: str, how: Sequence[str] = ("-m", "training")) -> "subprocess.Popen[str]":
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *how, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_ends_a_run_with_code_1_and_stores_nothing(good: Path, tmp_path: Path) -> None:
    numpy = ("--framework", "numpy", "--hidden", "64,64", "--no-baselines")
    process = start(tmp_path / "home", "--data", str(good), "--target", "target", *numpy, "--epochs", "1000000")
    with kill_at_exit(process):
        assert process.stdout is not None
        assert any("epoch 1/" in line for line in process.stdout)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 1
    assert err.splitlines()[-1] == "interrupted: nothing more was stored"
    assert "Traceback" not in err
    assert list((tmp_path / "home").glob("models/*/*")) == []


SLOW_STORE = """
import signal, sys, time
from models import store

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, which may run the tests, ignores it

def wait(*arguments):
    print("half stored", flush=True)
    time.sleep(600)

store._publish = wait
from training.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_interruption_while_storing_leaves_no_partial_version(
    good: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path / "home", "--data", str(good), "--target", "target", *QUICK, how=("-c", SLOW_STORE))
    with kill_at_exit(process):
        assert process.stdout is not None
        assert any("half stored" in line for line in process.stdout)
        process.send_signal(number)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 1
    assert err.splitlines()[-1] == "interrupted: nothing more was stored"
    assert "Traceback" not in err
    assert list((tmp_path / "home").glob("models/*/*/")) == []


def test_signal_handlers_are_restored(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    main(["inspect"])
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_closed_output_pipe_causes_no_traceback(tmp_path: Path) -> None:
    with kill_at_exit(start(tmp_path / "home", "inspect", "penguins")) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        assert process.wait(300) in (0, 1)
