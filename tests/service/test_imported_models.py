"""Import of Keras models: twelve models are served with the predictions of `model.predict`, others are refused with a
reason.

All imports run in one process, because loading TensorFlow takes seconds.
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
    IMPORTABLE_MODELS,
    REFUSED_IMPORTS,
    TABLE,
    ImportableModel,
    dense_model,
    embedding_model,
    lookup_model,
    matrix,
    several_inputs_model,
    three_head_model,
)
from training import importance, plots, store_keras_model
from training.__main__ import main
from training.errors import UsageError
from training.importing.engine_choice import to_served_outputs
from training.importing.model_file import check_model_file, read_model_file

SERVED = TABLE.head(40)


@pytest.fixture(autouse=True)
def quick_description(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the importance on few rows and draw no plots."""
    for name, limit in quick_training.LIMITS.items():
        monkeypatch.setattr(importance, name, limit)
    monkeypatch.setattr(plots, "draw_plots", lambda *arguments: {})


def import_and_load(case: ImportableModel, name: str, table: pd.DataFrame = TABLE, **options: Any) -> Any:
    """Import a model. Returns the stored version, loaded as by a server."""
    sample = table[[*case.columns, case.target]]
    stored = store_keras_model(
        case.model, sample, case.target, name=name, report=lambda text: None, **case.options, **options
    )
    return store.load(stored)


def rows_of(table: pd.DataFrame, columns: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(table[columns].to_json(orient="records"))
    return rows


@pytest.fixture
def send_to_model(make_app: Callable[..., Any], asgi: Callable[..., Any]) -> Callable[..., Any]:
    def send_request(model: Any, bodies: list[Any], query: str = "") -> list[Any]:
        """Send bodies to an application with the model. Returns the replies."""
        app = make_app([model], Settings())

        async def all_replies() -> list[Any]:
            path = f"/predict/{model.name}"
            return [await asgi(app, "POST", path, json.dumps(body).encode(), query) for body in bodies]

        try:
            return asyncio.run(all_replies())
        finally:
            app.plane.close()

    return send_request


def prediction_array(predictions: list[dict[str, Any]]) -> Any:
    return np.array(
        [[entry["value"]] if "value" in entry else [*entry["probabilities"].values()] for entry in predictions]
    )


@pytest.mark.parametrize("make", IMPORTABLE_MODELS, ids=lambda make: make.__name__)
def test_an_imported_model_has_the_predictions_of_the_original_model(
    make: Callable[[], ImportableModel], send_to_model: Callable[..., Any], bentoml_store: Path
) -> None:
    case = make()
    model = import_and_load(case, make.__name__)
    assert model.engine.name == case.engine, model.engine.reason
    rows = rows_of(SERVED, case.columns)
    bodies = [rows, *([row] for row in rows[:3])]  # also single rows, which take the fast path
    replies = send_to_model(model, [{"rows": body} for body in bodies])
    assert [reply.status for reply in replies] == [200] * 4
    expected = case.original_predictions(SERVED)
    scale = np.maximum(np.abs(expected), model.tolerance())
    for actual, wanted, size in (
        (prediction_array(replies[0].body["predictions"]), expected, scale),
        (prediction_array([reply.body["predictions"][0] for reply in replies[1:]]), expected[:3], scale[:3]),
    ):
        assert actual.shape == wanted.shape
        assert (np.abs(actual - wanted) <= 1e-5 * size).all()
    if make in (several_inputs_model, three_head_model):  # NumPy serves these models by default
        stored, _ = store.versions()
        assert store.load(stored[make.__name__][0], "tensorflow").engine.name == "tensorflow"
    option = "interval=0.8" if case.form == "value" else "set=0.8"
    (reply,) = send_to_model(model, [{"rows": rows[:2]}], query=option)
    first = reply.body["predictions"][0]
    if case.form == "value":
        assert first["interval"]["low"] < first["value"] < first["interval"]["high"]
    else:
        assert first["set"]["labels"]
    assert model.reference is not None
    assert model.background is not None


@pytest.mark.parametrize("case_name", REFUSED_IMPORTS)
def test_a_model_that_cannot_be_served_is_refused_with_the_reason(
    case_name: str, tmp_path: Path, bentoml_store: Path
) -> None:
    case = REFUSED_IMPORTS[case_name]
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


def test_a_model_name_with_a_path_is_refused(bentoml_store: Path) -> None:
    with pytest.raises(UsageError, match=r"'\.\./homes' is not a valid model name"):
        store_keras_model(dense_model().model, TABLE, "price", name="../homes")


def test_the_notebook_of_the_documentation_runs(bentoml_store: Path) -> None:
    notebook = json.loads((Path(__file__).parents[2] / "docs" / "import.ipynb").read_text("utf-8"))
    names: dict[str, Any] = {}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert names["stored"].tag == "flats:1"
    assert names["served"].engine.name == "numpy"
    assert names["served"].metrics["metric"]["value"] < 60_000  # the target has a range of more than 200,000


def test_a_level_outside_an_embedding_table_is_a_row_error(
    send_to_model: Callable[..., Any], bentoml_store: Path
) -> None:
    model = import_and_load(embedding_model(), "embeddings")
    (reply,) = send_to_model(model, [{"rows": [{"floor": floor, "score": 0.5} for floor in (5, 6, -1, 1e300)]}])
    assert reply.status == 422
    assert [error["row"] for error in reply.body["errors"]] == [1, 2, 3]


def test_an_unknown_level_is_handled_by_the_lookup_layer(
    send_to_model: Callable[..., Any], bentoml_store: Path
) -> None:
    """An unknown city maps to the lookup's unknown value, with a warning. An unknown size is refused, because its
    lookup has no unknown value.
    """
    row = {"age": 40, "income": 40_000.0, "score": 0.1, "city": "Bern"}
    case = lookup_model()
    model = import_and_load(case, "lookups")
    (reply,) = send_to_model(model, [{"rows": [row]}])
    assert reply.body["predictions"][0]["warnings"][0]["field"] == "city"
    expected = case.original_predictions(pd.DataFrame([row]))
    assert prediction_array(reply.body["predictions"]) == pytest.approx(expected, abs=1e-5)
    sized = import_and_load(several_inputs_model(), "sized")
    (refused,) = send_to_model(sized, [{"rows": [{"score": 1.0, "size": "XXL", "floor": 9, "age": 30}]}])
    assert [(error["field"], error["code"]) for error in refused.body["errors"]] == [("size", "unseen_level")]


def test_rows_with_missing_cells_are_excluded(bentoml_store: Path) -> None:
    table = TABLE.copy()
    table.loc[:9, "income"] = np.nan
    messages: list[str] = []
    sample = table[[*dense_model().columns, "price"]]
    stored = store_keras_model(dense_model().model, sample, "price", name="gaps", report=messages.append)
    assert any(
        "10 rows with a missing cell, or a value that the model's tables do not contain, are left out ('income')"
        in text
        for text in messages
    )
    model = store.load(stored)
    assert not any(feature.nullable for feature in model.schema.features)
    assert model.training["rows_used"] == len(TABLE) - 10


def test_constant_and_boolean_columns_are_imported(bentoml_store: Path) -> None:
    """Training ignores constant columns, but an imported model needs all its inputs."""
    table = TABLE.assign(age=7, income=TABLE["sold"] == "yes")
    model = import_and_load(dense_model(), "constant", table)
    assert [(feature.name, feature.kind) for feature in model.schema.features] == [
        ("age", "number"),
        ("income", "boolean"),
        ("score", "number"),
    ]


def test_columns_are_scaled_and_encoded_with_preprocessing_fit(
    send_to_model: Callable[..., Any], bentoml_store: Path
) -> None:
    """With the preprocessing `fit`, columns are scaled and encoded like the rows that trained the model."""
    import keras
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def model_input(table: pd.DataFrame) -> Any:
        scaler = StandardScaler().fit(TABLE[["age", "score"]])
        encoder = OneHotEncoder(sparse_output=False).fit(TABLE[["city"]])
        return np.hstack([scaler.transform(table[["age", "score"]]), encoder.transform(table[["city"]])]).astype("f4")

    stack = [keras.Input((6,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)]
    columns = ["age", "city", "score"]
    case = ImportableModel(
        keras.Sequential(stack), model_input, "price", columns, "value", options={"preprocessing": "fit"}
    )
    model = import_and_load(case, "scaled")
    (reply,) = send_to_model(model, [{"rows": rows_of(SERVED, columns)}])
    assert prediction_array(reply.body["predictions"]) == pytest.approx(
        case.original_predictions(SERVED), abs=1e-5 * model.tolerance()
    )
    with pytest.raises(UsageError, match="takes 6 numbers, but the columns of the sample make 5: age 1, city 4"):
        store_keras_model(
            case.model,
            TABLE[["age", "city", "price"]],
            "price",
            name="narrow",
            preprocessing="fit",
            report=lambda text: None,
        )


def test_probabilities_without_a_final_softmax_are_served(
    send_to_model: Callable[..., Any], bentoml_store: Path
) -> None:
    """A mean of two softmaxes is served by TensorFlow unchanged."""
    import keras
    from keras import layers

    numbers = keras.Input((3,), name="numbers")
    scaled = layers.Rescaling(1e-4)(numbers)
    mean = layers.Average()([layers.Dense(3, "softmax")(scaled) for _ in range(2)])
    case = ImportableModel(keras.Model(numbers, mean), matrix, "grade", options={"output": "probabilities"})
    model = import_and_load(case, "mean")
    assert "LogProbabilities" in model.engine.reason
    (reply,) = send_to_model(model, [{"rows": rows_of(SERVED, case.columns)}])
    assert prediction_array(reply.body["predictions"]) == pytest.approx(case.original_predictions(SERVED), abs=1e-5)


def test_outputs_that_do_not_sum_to_1_are_refused_as_probabilities() -> None:
    with pytest.raises(UsageError, match=r"a row of the sample sums to 1\.4"):
        to_served_outputs(np.array([[0.5, 0.5], [0.5, 0.9], [0.2, 0.8]]), "probabilities")


def test_a_single_output_for_two_classes_needs_the_output_option(bentoml_store: Path) -> None:
    with pytest.raises(UsageError, match="use --output logits or --output value"):
        import_and_load(ImportableModel(dense_model().model, matrix, "sold"), "unclear")


def test_the_command_imports_a_file(tmp_path: Path, bentoml_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = dense_model()
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
    assert record.get("test_set") is None  # the rows that trained the model are unknown


def test_the_sample_is_read_with_the_options_of_training(tmp_path: Path, bentoml_store: Path) -> None:
    """The schema declares lines above the header of the sample, and --rows limits the number of rows."""
    case = dense_model()
    case.model.save(tmp_path / "homes.keras")
    sample = TABLE[[*case.columns, "price"]].to_csv(index=False)
    (tmp_path / "sample.csv").write_text(f"Homes of the year\n{sample}")
    data, schema = ["--data", str(tmp_path / "sample.csv")], str(tmp_path / "features.json")
    assert main(["inspect", *data, "--target", "price", "--skip-rows", "1", "--out", schema]) == 0
    assert main(["import", str(tmp_path / "homes.keras"), *data, "--schema", schema, "--rows", "100"]) == 0
    record = json.loads((bentoml_store / "sample" / "1" / "training.json").read_text("utf-8"))
    assert record["rows_used"] == 100


def test_a_hostile_model_file_runs_no_code(tmp_path: Path, bentoml_store: Path) -> None:
    """A hostile file is refused before Keras reads it: unexpected archive members, classes, or paths of other files."""
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
    for case_name, layer in layers.items():
        config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}
        with pytest.raises(UsageError, match="not imported"):
            check_model_file(write_archive(tmp_path / f"{case_name}.keras", config))
    outside = write_archive(tmp_path / "outside.keras", {}, **{"assets/../../vocabulary.txt": b"x"})
    with pytest.raises(UsageError, match="a member with the name"):
        check_model_file(outside)
    # Keras selects the file format by the file name
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


def test_a_regression_served_by_tensorflow_has_intervals(
    send_to_model: Callable[..., Any], bentoml_store: Path
) -> None:
    """The name of the layer before the scale head must differ from the names of the model's layers."""
    import keras
    from keras import layers

    score = keras.Input((1,), name="score")
    bins = layers.Discretization(bin_boundaries=[-1.0, 0.0, 1.0])(score)
    flats = [layers.Flatten(name=f"flatten{end}")(layers.Embedding(4, 2)(bins)) for end in ("", "_1", "_2")]
    model = keras.Model(score, layers.Dense(1)(layers.Add()(flats)))
    case = ImportableModel(
        model, lambda table: table[["score"]].to_numpy("f4"), "price", ["score"], "value", "tensorflow"
    )
    served_model = import_and_load(case, "binned")
    assert served_model.engine.name == "tensorflow"
    (reply,) = send_to_model(served_model, [{"rows": rows_of(SERVED, ["score"])}], query="interval=0.8")
    predictions = reply.body["predictions"]
    assert prediction_array(predictions) == pytest.approx(
        case.original_predictions(SERVED), abs=1e-5 * served_model.tolerance()
    )
    assert all(entry["interval"]["low"] < entry["interval"]["high"] for entry in predictions)
