"""Training stores a version of a small table, with each framework and task, and of difficult tables."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models import store, version_files
from models.rows import validate_rows
from training import pipeline
from training.config import DataOptions, FitOptions, Framework
from training.errors import UsageError

pytestmark = pytest.mark.usefixtures("short_trees")
Lines = Sequence[Sequence[object]]
WriteCsv = Callable[[str, Lines], Path]
TARGETS = [("y", "regression"), ("sold", "binary"), ("size", "multiclass")]


def train(
    data: Path, target: str, framework: Framework = "numpy", baselines: bool = False, task: Any = None, **more: Any
) -> version_files.StoredVersion:
    others = {name for name, _ in TARGETS} - {target} if data.name == "Odd Homes.csv" else set()
    options = DataOptions(data=str(data), target=target, drop=tuple(others), task=task)
    fit_options = FitOptions(framework=framework, hidden=(8,), epochs=4, **more)
    return pipeline.run(options, fit_options, baselines=baselines, report=lambda text: None)[0]


def contents(stored: version_files.StoredVersion, name: str) -> Any:
    return json.loads((stored.path / name).read_text("utf-8"))


@pytest.mark.parametrize("framework", ["numpy", "keras"])
@pytest.mark.parametrize(("target", "task"), TARGETS)
def test_stored_version_predicts_the_rows_of_its_table(
    bentoml_store: Path, mixed_table: Path, framework: Framework, target: str, task: str
) -> None:
    model = store.load(train(mixed_table, target, framework))
    assert (model.tag, model.schema.task, model.engine.name) == ("odd_homes:1", task, "numpy")
    assert {feature.name: feature.kind for feature in model.schema.features} == {
        "sq. metres ($)": "number",
        "Outcome Type": "category",
        "since": "date",
        "garden?": "boolean",
        "street": "category",
    }
    row = {"ID": "h1", "sq. metres ($)": 99.5, "Outcome Type": None, "since": "2019-05-05", "garden?": True}
    row |= {"street": "street 3", "y": 1, "sold": True, "size": "large"}
    validated = validate_rows(model.schema, [row])
    assert not validated.errors
    [prediction] = model.present(model.predict(validated.frame))
    assert set(prediction) == ({"value"} if task == "regression" else {"label", "probabilities"})
    assert len(model.golden.rows) == 32
    assert all(feature.example is not None for feature in model.schema.features)


def test_complete_record_of_a_training_run_is_stored(bentoml_store: Path, mixed_table: Path) -> None:
    stored = train(mixed_table, "sold", baselines=True)
    metrics, training = contents(stored, "metrics.json"), contents(stored, "training.json")
    assert metrics["metric"] == {"name": "accuracy", "value": metrics["network"]["accuracy"]}
    assert list(metrics["baselines"]) == ["constant", "linear", "boosted trees"]
    assert metrics["rows"] == {"train": 96, "validation": 24, "test": 30}
    assert training["recipe"]["hidden"] == [8]
    assert (training["rows_used"], training["epochs"], len(training["history"])) == (150, 4, 4)
    assert training["data"] == "Odd Homes.csv"
    card = (stored.path / "card.md").read_text("utf-8")
    assert "# odd_homes" in card
    assert "| this model |" in card
    for picture in ("learning.png", "answers.png"):
        assert (stored.path / picture).read_bytes().startswith(b"\x89PNG")


def test_saved_keras_model_has_no_optimizer_state(bentoml_store: Path, mixed_table: Path) -> None:
    stored = train(mixed_table, "y", "keras")
    parameters = contents(stored, "training.json")["parameters"]
    assert (stored.path / "model.keras").stat().st_size < 24_000 + 6 * parameters
    import zipfile

    with zipfile.ZipFile(stored.path / "model.keras") as archive:
        assert b"optimizer" not in archive.read("config.json").lower()
        assert b"adam" not in archive.read("model.weights.h5").lower()


def test_same_seed_gives_the_same_golden_predictions(bentoml_store: Path, mixed_table: Path) -> None:
    one, same = (contents(train(mixed_table, "y"), "golden.json") for _ in range(2))
    assert one == same


def table(write_csv: WriteCsv, column: Callable[[int], object], target: Callable[[int], object]) -> Path:
    """A file of 200 rows with a column x, a normally distributed column z, and a target."""
    rng = np.random.default_rng(0)
    lines: list[list[object]] = [["x", "z", "target"]]
    lines += [[column(row), round(float(rng.normal()), 3), target(row)] for row in range(200)]
    return write_csv("t.csv", lines)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_training_succeeds_for_targets_of_any_scale(bentoml_store: Path, write_csv: WriteCsv, scale: float) -> None:
    path = table(write_csv, lambda row: row % 17, lambda row: (1 + row % 17 / 7) * scale)
    stored = train(path, "target", baselines=True, task="regression")
    metrics = contents(stored, "metrics.json")
    for found in [metrics["network"], *metrics["baselines"].values()]:
        assert all(math.isfinite(value) for value in found.values())
    assert metrics["network"]["rmse"] < 3 * scale


def test_training_succeeds_with_columns_of_extreme_numbers(bentoml_store: Path, write_csv: WriteCsv) -> None:
    extreme = [1.7e308, -1.7e308, 5e-324, 1e-310, "inf", "", 3.5]
    stored = train(
        table(write_csv, lambda row: extreme[row % 7], lambda row: row % 13 / 3), "target", bins=8, baselines=True
    )
    model = store.load(stored)
    assert model.schema.by_name["x"].nullable
    outputs = model.predict_rows([{"x": value, "z": 1e300} for value in (1.79e308, -1.79e308, 0, None, 5e-324)])
    assert outputs.all_finite()


def test_column_with_a_missing_cell_only_in_held_out_rows_is_nullable(bentoml_store: Path, write_csv: WriteCsv) -> None:
    path = table(write_csv, lambda row: "" if row == 199 else row % 9, lambda row: row % 13 / 3)
    lines = path.read_text().splitlines()
    marks = ["part", *["train"] * 150, *["validation"] * 25, *["test"] * 25]
    path.write_text("".join(f"{line},{mark}\n" for line, mark in zip(lines, marks, strict=True)))
    options = DataOptions(data=str(path), target="target", split="column:part")
    fit_options = FitOptions(framework="numpy", hidden=(4,), epochs=1)
    stored, _ = pipeline.run(options, fit_options, baselines=True, report=lambda text: None)
    model = store.load(stored)
    assert model.schema.by_name["x"].nullable
    filled = {"x": model.encoder.numbers[0].fill, "z": 0.5}  # type: ignore[union-attr]  # a NumberEncoding
    assert model.predict_rows([{"z": 0.5}]).primary == model.predict_rows([filled]).primary


def test_levels_classes_and_target_names_may_be_any_text(bentoml_store: Path, write_csv: WriteCsv) -> None:
    path = table(write_csv, lambda row: f"$\\frac{row % 3}", lambda row: ['"a, b"', "$x$", "|", "日本"][row % 4])
    path.write_text(path.read_text().replace("target", "the $\\target{$ | 日"))
    stored = train(path, "the $\\target{$ | 日")
    model = store.load(stored)
    assert model.schema.classes == ["$x$", "a, b", "|", "日本"]
    regression = table(write_csv, lambda row: row % 7, lambda row: row % 13 / 3)
    regression.write_text(regression.read_text().replace("target", "$\\frac{$"))
    assert train(regression, "$\\frac{$").version == 2


def test_boolean_and_number_levels_keep_their_type_when_stored(bentoml_store: Path, write_csv: WriteCsv) -> None:
    path = table(write_csv, lambda row: ["true", "false"][row % 2], lambda row: row % 2)
    options = DataOptions(data=str(path), target="target", categorical=("x",))
    stored, _ = pipeline.run(
        options, FitOptions(framework="numpy", hidden=(4,), epochs=1), baselines=False, report=print
    )
    model = store.load(stored)
    assert model.schema.by_name["x"].seen.levels == [False, True]
    assert model.schema.classes == [0, 1]
    assert {type(row["x"]) for row in model.golden.rows} == {bool}


def test_limits_of_an_edited_schema_are_served(bentoml_store: Path, mixed_table: Path, tmp_path: Path) -> None:
    schema = contents(train(mixed_table, "y"), "features.json")
    schema["features"][0] |= {"minimum": 10, "maximum": 120}
    schema["features"][1] |= {"unseen": "error"}
    path = tmp_path / "features.json"
    path.write_text(json.dumps(schema))
    options = DataOptions(data=str(mixed_table), target="y", schema=str(path))
    fit_options = FitOptions(framework="numpy", hidden=(4,), epochs=1)
    (bentoml_store / "odd_homes" / "latest").write_text("")
    messages: list[str] = []
    stored, _ = pipeline.run(options, fit_options, baselines=False, report=messages.append)
    model = store.load(stored)
    assert stored.version == 2
    assert [message for message in messages if message.endswith("latest was empty and now names 1, the newest version")]
    assert all(row["sq. metres ($)"] <= 120 for row in model.golden.rows)
    wrong = model.golden.rows[0] | {"sq. metres ($)": 121, "Outcome Type": "castle"}
    assert [error.code for error in validate_rows(model.schema, [wrong]).errors] == ["above_maximum", "unseen_level"]


def test_a_constant_target_in_the_train_set_is_reported(bentoml_store: Path, write_csv: WriteCsv) -> None:
    lines: list[list[object]] = [
        [f"2020-01-01T{n // 60:02}:{n % 60:02}", n, 5.0 if n < 190 else n + 0.5] for n in range(200)
    ]
    path = write_csv("late.csv", [["at", "x", "y"], *lines])
    with pytest.raises(UsageError, match=r"target 'y' is 5 in all training rows of this split"):
        pipeline.run(DataOptions(data=str(path), target="y", split="time:at"), FitOptions(), report=lambda text: None)


def test_clearly_better_baseline_gets_a_notice(
    bentoml_store: Path, mixed_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for share, noticed in ((0.9, True), (0.99, False)):
        messages: list[str] = []

        def better(result: pipeline.TrainingResult, report: Any, share: float = share) -> dict[str, dict[str, float]]:
            return {
                "constant": {"rmse": 2 * result.metrics["rmse"]},
                "linear": {"rmse": share * result.metrics["rmse"]},
            }

        monkeypatch.setattr(pipeline, "evaluate_baselines", better)
        options = DataOptions(data=str(mixed_table), target="y", drop=("sold", "size"))
        stored, _ = pipeline.run(options, FitOptions(framework="numpy", hidden=(8,), epochs=2), report=messages.append)
        notice = "the baseline 'linear' is better than this model on the 30 test rows"
        assert any(notice in message for message in messages) == noticed
        assert (notice in (stored.path / "card.md").read_text("utf-8")) == noticed


def test_no_baseline_is_better_than_a_model_without_errors() -> None:
    schema = SimpleNamespace(task="multiclass")
    result: Any = SimpleNamespace(
        dataset=SimpleNamespace(schema=schema), split=SimpleNamespace(test=range(69)), metrics={"accuracy": 1.0}
    )
    assert pipeline.better_baseline_notices(result, {"linear": {"accuracy": 1.0}}) == []
    result.metrics = {"accuracy": 0.9}
    assert len(pipeline.better_baseline_notices(result, {"linear": {"accuracy": 1.0}})) == 1
