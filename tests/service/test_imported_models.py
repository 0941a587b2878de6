"""Keras models of others: twelve are served with the answers of `model.predict`, others are refused with the reason.

All imports are in one process: TensorFlow takes seconds to load.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import store
from service.settings import Settings
from tests import quick_training
from tests.models.test_keras_archive import write_archive
from tests.service.imported_models import (
    BAD,
    GOOD,
    TABLE,
    Imported,
    dense,
    embeddings,
    heads,
    lookups,
    matrix,
    several_inputs,
)
from training import importance, plots, store_keras_model
from training.__main__ import main
from training.errors import UsageError
from training.importing.engine_choice import to_served_outputs
from training.importing.model_file import check_model_file, read_model_file

SERVED = TABLE.head(40)


@pytest.fixture(autouse=True)
def quick_description(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importance on few rows, and no pictures."""
    for name, limit in quick_training.LIMITS.items():
        monkeypatch.setattr(importance, name, limit)
    monkeypatch.setattr(plots, "draw_plots", lambda *arguments: {})


def imported(case: Imported, name: str, table: pd.DataFrame = TABLE, **options: Any) -> Any:
    """The stored version, loaded as a server loads it."""
    sample = table[[*case.columns, case.target]]
    stored = store_keras_model(
        case.model, sample, case.target, name=name, report=lambda text: None, **case.options, **options
    )
    return store.load(stored)


def rows_of(table: pd.DataFrame, columns: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(table[columns].to_json(orient="records"))
    return rows


@pytest.fixture
def served(make_app: Callable[..., Any], asgi: Callable[..., Any]) -> Callable[..., Any]:
    def ask(model: Any, bodies: list[Any], query: str = "") -> list[Any]:
        """The replies of the data plane to these bodies, over HTTP's application."""
        app = make_app([model], Settings())

        async def all_replies() -> list[Any]:
            path = f"/predict/{model.name}"
            return [await asgi(app, "POST", path, json.dumps(body).encode(), query) for body in bodies]

        try:
            return asyncio.run(all_replies())
        finally:
            app.plane.close()

    return ask


def numbers_of(predictions: list[dict[str, Any]]) -> Any:
    return np.array(
        [[entry["value"]] if "value" in entry else [*entry["probabilities"].values()] for entry in predictions]
    )


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_an_imported_model_answers_as_the_original_one(
    make: Callable[[], Imported], served: Callable[..., Any], bentoml_store: Path
) -> None:
    case = make()
    model = imported(case, make.__name__)
    assert model.engine.name == case.engine, model.engine.reason
    rows = rows_of(SERVED, case.columns)
    bodies = [rows, *([row] for row in rows[:3])]  # single rows take the fast path
    replies = served(model, [{"rows": body} for body in bodies])
    assert [reply.status for reply in replies] == [200] * 4
    expected = case.answers(SERVED)
    scale = np.maximum(np.abs(expected), model.tolerance())
    for actual, wanted, size in (
        (numbers_of(replies[0].body["predictions"]), expected, scale),
        (numbers_of([reply.body["predictions"][0] for reply in replies[1:]]), expected[:3], scale[:3]),
    ):
        assert actual.shape == wanted.shape
        assert (np.abs(actual - wanted) <= 1e-5 * size).all()
    if make in (several_inputs, heads):  # NumPy serves them, and TensorFlow can
        stored, _ = store.versions()
        assert store.load(stored[make.__name__][0], "tensorflow").engine.name == "tensorflow"
    option = "interval=0.8" if case.form == "value" else "set=0.8"
    (reply,) = served(model, [{"rows": rows[:2]}], query=option)
    first = reply.body["predictions"][0]
    if case.form == "value":
        assert first["interval"]["low"] < first["value"] < first["interval"]["high"]
    else:
        assert first["set"]["labels"]
    assert model.reference is not None
    assert model.background is not None


@pytest.mark.parametrize("what", BAD)
def test_a_model_that_cannot_be_served_is_refused_with_the_reason(
    what: str, tmp_path: Path, bentoml_store: Path
) -> None:
    case = BAD[what]
    with pytest.raises(UsageError) as refusal:
        store_keras_model(
            case.make(tmp_path),
            TABLE[[*case.columns, case.target]],
            case.target,
            name="refused",
            report=lambda text: None,
        )
    assert case.reason in str(refusal.value)
    assert not store.versions()[0]


def test_a_name_that_would_leave_the_folder_is_refused(bentoml_store: Path) -> None:
    with pytest.raises(UsageError, match=r"'\.\./homes' is not a valid model name"):
        store_keras_model(dense().model, TABLE, "price", name="../homes")


def test_the_notebook_of_the_documentation_runs(bentoml_store: Path) -> None:
    notebook = json.loads((Path(__file__).parents[2] / "docs" / "import.ipynb").read_text("utf-8"))
    names: dict[str, Any] = {}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert names["stored"].tag == "flats:1"
    assert names["served"].engine.name == "numpy"
    assert names["served"].metrics["metric"]["value"] < 60_000  # of a spread of more than 200,000


def test_a_level_beyond_a_table_is_a_row_error(served: Callable[..., Any], bentoml_store: Path) -> None:
    model = imported(embeddings(), "embeddings")
    (reply,) = served(model, [{"rows": [{"floor": floor, "score": 0.5} for floor in (5, 6, -1, 1e300)]}])
    assert reply.status == 422
    assert [error["row"] for error in reply.body["errors"]] == [1, 2, 3]


def test_an_unknown_level_is_what_the_lookup_says(served: Callable[..., Any], bentoml_store: Path) -> None:
    """An unknown city is the layer's unknown value, with a warning; a size is refused, as its lookup has none."""
    row = {"age": 40, "income": 40_000.0, "score": 0.1, "city": "Bern"}
    case = lookups()
    model = imported(case, "lookups")
    (reply,) = served(model, [{"rows": [row]}])
    assert reply.body["predictions"][0]["warnings"][0]["field"] == "city"
    expected = case.answers(pd.DataFrame([row]))
    assert numbers_of(reply.body["predictions"]) == pytest.approx(expected, abs=1e-5)
    sized = imported(several_inputs(), "sized")
    (refused,) = served(sized, [{"rows": [{"score": 1.0, "size": "XXL", "floor": 9, "age": 30}]}])
    assert [(error["field"], error["code"]) for error in refused.body["errors"]] == [("size", "unseen_level")]


def test_rows_with_missing_cells_are_left_out(bentoml_store: Path) -> None:
    table = TABLE.copy()
    table.loc[:9, "income"] = np.nan
    messages: list[str] = []
    sample = table[[*dense().columns, "price"]]
    stored = store_keras_model(dense().model, sample, "price", name="gaps", report=messages.append)
    assert any(
        "10 rows with a missing cell, or a value that the model's tables do not contain, are left out ('income')"
        in text
        for text in messages
    )
    model = store.load(stored)
    assert not any(feature.nullable for feature in model.schema.features)
    assert model.training["rows_used"] == len(TABLE) - 10


def test_constant_and_boolean_columns_are_taken_as_numbers(bentoml_store: Path) -> None:
    """Training would leave a constant column out; a model that takes it needs it."""
    table = TABLE.assign(age=7, income=TABLE["sold"] == "yes")
    model = imported(dense(), "constant", table)
    assert [(feature.name, feature.kind) for feature in model.schema.features] == [
        ("age", "number"),
        ("income", "boolean"),
        ("score", "number"),
    ]


def test_scaled_and_encoded_columns(served: Callable[..., Any], bentoml_store: Path) -> None:
    """`fit`: the model learned from rows that scikit-learn had transformed."""
    import keras
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def given(table: pd.DataFrame) -> Any:
        scaler = StandardScaler().fit(TABLE[["age", "score"]])
        encoder = OneHotEncoder(sparse_output=False).fit(TABLE[["city"]])
        return np.hstack([scaler.transform(table[["age", "score"]]), encoder.transform(table[["city"]])]).astype("f4")

    stack = [keras.Input((6,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)]
    columns = ["age", "city", "score"]
    case = Imported(keras.Sequential(stack), given, "price", columns, "value", options={"preprocessing": "fit"})
    model = imported(case, "scaled")
    (reply,) = served(model, [{"rows": rows_of(SERVED, columns)}])
    assert numbers_of(reply.body["predictions"]) == pytest.approx(case.answers(SERVED), abs=1e-5 * model.tolerance())
    with pytest.raises(UsageError, match="takes 6 numbers, but the columns of the sample make 5: age 1, city 4"):
        store_keras_model(
            case.model,
            TABLE[["age", "city", "price"]],
            "price",
            name="narrow",
            preprocessing="fit",
            report=lambda text: None,
        )


def test_probabilities_that_no_softmax_makes(served: Callable[..., Any], bentoml_store: Path) -> None:
    """The mean of two softmaxes is served by TensorFlow without a change."""
    import keras
    from keras import layers

    numbers = keras.Input((3,), name="numbers")
    scaled = layers.Rescaling(1e-4)(numbers)
    mean = layers.Average()([layers.Dense(3, "softmax")(scaled) for _ in range(2)])
    case = Imported(keras.Model(numbers, mean), matrix, "grade", options={"output": "probabilities"})
    model = imported(case, "mean")
    assert "LogProbabilities" in model.engine.reason
    (reply,) = served(model, [{"rows": rows_of(SERVED, case.columns)}])
    assert numbers_of(reply.body["predictions"]) == pytest.approx(case.answers(SERVED), abs=1e-5)


def test_outputs_that_are_no_probabilities_are_refused_with_the_sum() -> None:
    with pytest.raises(UsageError, match=r"a row of the sample sums to 1\.4"):
        to_served_outputs(np.array([[0.5, 0.5], [0.5, 0.9], [0.2, 0.8]]), "probabilities")


def test_a_single_output_for_two_classes_needs_the_option(bentoml_store: Path) -> None:
    with pytest.raises(UsageError, match="use --output logits or --output value"):
        imported(Imported(dense().model, matrix, "sold"), "unclear")


def test_the_command_imports_a_file(tmp_path: Path, bentoml_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = dense()
    case.model.save(tmp_path / "homes.keras")
    TABLE[[*case.columns, "price"]].to_csv(tmp_path / "sample.csv", index=False)
    command = ["import", str(tmp_path / "homes.keras"), "--data", str(tmp_path / "sample.csv")]
    assert main(command) == 2
    assert "--data needs --target" in capsys.readouterr().err
    assert main([*command, "--target", "price"]) == 0
    printed = capsys.readouterr().out
    assert "Served by the NumPy engine. Equal to model.predict on 120 rows" in printed
    assert "Stored homes:1" in printed
    card = (bentoml_store / "homes" / "1" / "card.md").read_text("utf-8")
    assert "If it was trained on these rows, its errors here are smaller" in card
    record = json.loads((bentoml_store / "homes" / "1" / "training.json").read_text("utf-8"))
    assert record["imported"]["preprocessing"] == "none"
    assert record.get("test_set") is None  # it is not known which rows trained the model


def test_the_sample_is_read_as_the_table_of_a_training(tmp_path: Path, bentoml_store: Path) -> None:
    """The sample has lines above the header, which the schema names, and --rows limits the number of its rows."""
    case = dense()
    case.model.save(tmp_path / "homes.keras")
    sample = TABLE[[*case.columns, "price"]].to_csv(index=False)
    (tmp_path / "sample.csv").write_text(f"Homes of the year\n{sample}")
    data, schema = ["--data", str(tmp_path / "sample.csv")], str(tmp_path / "features.json")
    assert main(["inspect", *data, "--target", "price", "--skip-rows", "1", "--out", schema]) == 0
    assert main(["import", str(tmp_path / "homes.keras"), *data, "--schema", schema, "--rows", "100"]) == 0
    record = json.loads((bentoml_store / "sample" / "1" / "training.json").read_text("utf-8"))
    assert record["rows_used"] == 100


def test_a_hostile_file_runs_nothing(tmp_path: Path, bentoml_store: Path) -> None:
    """The file is refused before Keras reads it: other members, other classes, a vocabulary in another file."""
    ran = tmp_path / "ran"
    code = {"class_name": "__lambda__", "config": {"value": f"import os; os.mkdir('{ran}')"}}
    layers = {
        "a lambda": {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "x", "function": code}},
        "a function": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        "a file": {
            "module": "keras.layers",
            "class_name": "StringLookup",
            "config": {"name": "x", "vocabulary": "/etc/passwd"},
            "registered_name": None,
        },
        "an operation": {"module": "keras.src.ops.numpy", "class_name": "Load", "config": {"name": "x"}},
        "a disguise": {"module": "keras.ops", "class_name": "Add", "config": {}, "registered_name": "owner>Add"},
    }
    for what, layer in layers.items():
        config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}
        with pytest.raises(UsageError, match="not imported"):
            check_model_file(write_archive(tmp_path / f"{what}.keras", config))
    outside = write_archive(tmp_path / "outside.keras", {}, **{"assets/../../vocabulary.txt": b"x"})
    with pytest.raises(UsageError, match="a member with the name"):
        check_model_file(outside)
    # Keras decides by the file name.
    renamed = write_archive(tmp_path / "model.keras", {}).rename(tmp_path / "model.h5")
    with pytest.raises(UsageError, match=r"model\.h5 is not a \.keras file"):
        read_model_file(renamed)
    for content in (b"", b"PK\x05\x06", b"not a model", json.dumps([1]).encode()):
        broken = tmp_path / "broken.keras"
        broken.write_bytes(content)
        with pytest.raises(UsageError):
            read_model_file(broken)
    assert not ran.exists()


def test_importing_the_package_loads_no_library() -> None:
    program = "import sys, training; print(sorted({'keras', 'tensorflow', 'numpy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_regression_that_tensorflow_serves_has_intervals(served: Callable[..., Any], bentoml_store: Path) -> None:
    """The layer before the scale head has a name that the layers of the model do not have."""
    import keras
    from keras import layers

    score = keras.Input((1,), name="score")
    bins = layers.Discretization(bin_boundaries=[-1.0, 0.0, 1.0])(score)
    flats = [layers.Flatten(name=f"flatten{end}")(layers.Embedding(4, 2)(bins)) for end in ("", "_1", "_2")]
    model = keras.Model(score, layers.Dense(1)(layers.Add()(flats)))
    case = Imported(model, lambda table: table[["score"]].to_numpy("f4"), "price", ["score"], "value", "tensorflow")
    served_model = imported(case, "binned")
    assert served_model.engine.name == "tensorflow"
    (reply,) = served(served_model, [{"rows": rows_of(SERVED, ["score"])}], query="interval=0.8")
    predictions = reply.body["predictions"]
    assert numbers_of(predictions) == pytest.approx(case.answers(SERVED), abs=1e-5 * served_model.tolerance())
    assert all(entry["interval"]["low"] < entry["interval"]["high"] for entry in predictions)
