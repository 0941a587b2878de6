"""Three tables with untidy data: models are trained with the command line and predict over HTTP.

A complete row of the table, including its id and target columns, must be accepted by the server.
"""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from training.__main__ import main

Table = tuple[pd.DataFrame, str]


def with_missing_cells(frame: pd.DataFrame, rng: np.random.Generator, columns: list[str]) -> pd.DataFrame:
    """A copy of the frame in which about a tenth of the cells of these columns are empty."""
    frame = frame.copy()
    for column in columns:
        frame[column] = frame[column].astype(object).mask(rng.random(len(frame)) < 0.1, "")
    return frame


def diabetes_table(rng: np.random.Generator) -> Table:
    """A regression table with spaces and punctuation in names, a category, dates and an id column."""
    frame = datasets.load_diabetes(as_frame=True, scaled=False).frame
    frame = frame.rename(
        columns={"age": "age (years)", "bmi": "body-mass.index", "s1": "2nd serum", "target": "Progress %"}
    )
    frame["sex"] = np.where(frame["sex"] > 1, "f", "m")
    frame.insert(0, "patient id", [f"P-{number:05d}" for number in rng.permutation(len(frame))])
    frame["seen on"] = (pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 900, len(frame)), "D")).strftime(
        "%d.%m.%Y"
    )
    return with_missing_cells(frame, rng, ["body-mass.index", "sex", "seen on"]), "Progress %"


def cancer_table(rng: np.random.Generator) -> Table:
    """Two classes, `true` and `false`; an empty column, a constant column, a boolean column with missing values."""
    frame = datasets.load_breast_cancer(as_frame=True).frame
    frame["malignant"] = np.where(frame.pop("target") == 0, "true", "false")
    frame["empty"], frame["constant"] = "", "x"
    frame["Outcome Type"] = np.where(rng.random(len(frame)) < 0.5, "TRUE", "False")
    frame = frame[[frame.columns[index] for index in rng.permutation(frame.shape[1])]]
    return with_missing_cells(frame, rng, ["mean radius", "Outcome Type"]), "malignant"


def wine_table(rng: np.random.Generator) -> Table:
    """Three classes, 10, 20 and 40; a number column with text in one cell, and column names with special meanings in
    Python.
    """
    frame = datasets.load_wine(as_frame=True).frame
    frame = frame.rename(columns={"alcohol": "class", "ash": "model_x", "hue": "_u", "target": "cultivar"})
    frame["cultivar"] = frame["cultivar"].map({0: 10, 1: 20, 2: 40})
    frame["proline"] = frame["proline"].astype(object)
    frame.loc[3, "proline"] = "unknown"
    frame["cellar"] = rng.choice(["north", "south, old", 'the "new" one'], len(frame))
    return with_missing_cells(frame, rng, ["model_x", "cellar"]), "cultivar"


TABLES: dict[str, tuple[Callable[[np.random.Generator], Table], str, list[str]]] = {
    "diabetes": (diabetes_table, ",", ["--framework", "numpy"]),
    "cancer": (cancer_table, ";", ["--framework", "numpy"]),
    "wine": (wine_table, "\t", ["--framework", "numpy", "--categorical", "cellar"]),
}


RUN_TRAINING = """
import json
import sys
from tests.quick_training import run

sys.exit(max(run(arguments) for arguments in json.loads(sys.argv[1])))
"""
"""Runs `python -m training` for each list of arguments, in one process, to save startup time."""


def json_value(text: str, kind: str) -> Any:
    """The JSON value of a CSV cell whose column has this kind."""
    if text == "":
        return None
    if kind == "number":
        return json.loads(text)
    return text.lower() == "true" if kind == "boolean" else text


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tables")
    for name, (make, delimiter, _) in TABLES.items():
        frame, _ = make(np.random.default_rng(7))
        frame.to_csv(folder / f"{name}.csv", sep=delimiter, index=False)
    return {name: folder / f"{name}.csv" for name in TABLES}


def test_the_server_accepts_complete_rows_of_untidy_tables(
    tables: dict[str, Path], serve: Callable[..., Any], command: Callable[..., str], tmp_path: Path
) -> None:
    targets = {name: make(np.random.default_rng(7))[1] for name, (make, _, _) in TABLES.items()}
    commands = [
        [
            "--data",
            str(tables[name]),
            "--target",
            targets[name],
            "--epochs",
            "2",
            "--dropout",
            "0.1",
            "--no-baselines",
            *options,
        ]
        for name, (_, _, options) in TABLES.items()
    ]
    output = command(tmp_path, sys.executable, "-c", RUN_TRAINING, json.dumps(commands))
    for name in TABLES:
        assert f"Stored as {name}:1" in output
    server = serve(tmp_path)
    for name, (_, delimiter, _) in TABLES.items():
        model = httpx.get(f"{server.url}/models/{name}", timeout=60).json()
        kinds = {feature["name"]: feature["kind"] for feature in model["schema"]["features"]}
        with tables[name].open(newline="", encoding="utf-8") as lines:
            table = [dict(row) for row in csv.DictReader(lines, delimiter=delimiter)]
        usable = [row for row in table if row.get("proline") != "unknown"][:60]
        rows = [{key: json_value(cell, kinds.get(key, "text")) for key, cell in row.items()} for row in usable]
        assert targets[name] in rows[0]
        response = httpx.post(f"{server.url}/predict/{name}", json={"rows": rows}, timeout=60)
        assert response.status_code == 200, response.text
        predictions = response.json()["predictions"]
        assert len(predictions) == len(rows)
        alone = httpx.post(f"{server.url}/predict/{name}", json={"rows": rows[:1]}, timeout=60).json()["predictions"][0]
        if model["task"] == "regression":
            assert alone["value"] == pytest.approx(predictions[0]["value"], rel=1e-4)
        else:
            assert alone["label"] == predictions[0]["label"]
            assert [*alone["probabilities"]] == [str(label).lower() for label in model["classes"]]


def test_unused_columns_of_an_untidy_table_are_reported(
    tables: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "--data", str(tables["cancer"]), "--target", "malignant"]) == 0
    output = capsys.readouterr().out
    for column, reason in {"empty": "empty", "constant": "one value"}.items():
        (line,) = [line for line in output.splitlines() if line.startswith(f"{column} ")]
        assert "ignored" in line
        assert reason in line or column in line
