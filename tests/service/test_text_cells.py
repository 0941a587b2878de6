"""The training file of a model is sent over every route: text is read as in training."""

import asyncio
import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.feature import Feature, Kind
from models.network.layers import Dense
from models.network.network import Network
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from service.http.asgi import Application
from service.openapi.schemas import row_schema
from service.protocols import native
from service.settings import Settings
from tests.training.posting import arrow_of, client_values, parquet_of
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.dataset import Dataset

Post = Callable[..., Any]
BodyOf = Callable[[str, TabularModel], bytes]
ROWS = 60
HEADER = ["price", "rate", "sold", "since", "people", "place", "y"]
CASES = Path(__file__).parents[1] / "training" / "cases"


def lines() -> list[list[str]]:
    """Lines with German numbers, a currency, percent, a missing text, dates with a zone, and levels with accents."""
    rng = np.random.default_rng(3)
    return [
        [
            f"{rng.integers(1, 90)}.{rng.integers(100, 999)},{rng.integers(10, 99)} €",
            "-" if row % 9 == 4 else f"{rng.integers(1, 99)},{rng.integers(1, 9)} %",
            str(rng.random() < 0.5).upper(),
            f"{rng.integers(10, 28)}.0{rng.integers(1, 9)}.2023 0{rng.integers(1, 9)}:15:00 UTC",
            f"{rng.integers(1, 90)}.{rng.integers(100, 999)}" if row % 3 else str(rng.integers(1, 999)),
            ["Ko\u0308ln", "Bonn", "Mu\u0308nchen"][row % 3],
            f"{rng.integers(1, 90)},5",
        ]
        for row in range(ROWS)
    ]


@pytest.fixture(scope="module")
def content() -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=";", lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(lines())
    return text.getvalue()


@pytest.fixture(scope="module")
def dataset(content: str, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("table") / "shops.csv"
    path.write_text(content, encoding="utf-8")
    return load_dataset(DataOptions(data=str(path), target="y"))


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> TabularModel:
    """A model trained with the file, with a schema that was written and read again."""
    frame = dataset.schema.frames.from_columns(dataset.columns)
    encoder = Encoder.fit(dataset.schema, frame, dataset.target, bins=0)
    layer = Dense(np.linspace(-1, 1, encoder.width).reshape(-1, 1), np.zeros(1))
    schema = FeatureSchema.from_json(dataset.schema.to_json())
    return TabularModel("1", schema, encoder, NumpyEngine(Network([layer]), "a test"))


@pytest.fixture(scope="module")
def expected(model: TabularModel, dataset: Dataset) -> list[float]:
    """The predictions of the training rows as read by training."""
    values: list[float] = model.predict(dataset.schema.frames.from_columns(dataset.columns)).primary[:, 0].tolist()
    return values


@pytest.fixture
def post(make_app: Callable[..., Application], model: TabularModel, asgi: Callable[..., Any]) -> Iterator[Post]:
    asgi_app = make_app([model], Settings())
    with asyncio.Runner() as runner:

        def post(path: str, body: bytes, kind: str = "application/json", accept: str = "application/json") -> Any:
            reply = runner.run(asgi(asgi_app, "POST", path, body, "", {"content-type": kind, "accept": accept}))
            assert reply.status == 200, reply.content[:500]
            return reply.body

        yield post
    asgi_app.plane.close()


def columns(model: TabularModel) -> dict[str, list[Any]]:
    cells = dict(zip(HEADER, map(list, zip(*lines(), strict=True)), strict=True))
    return dict(client_values(model.schema, cells))


def rows(model: TabularModel) -> list[dict[str, Any]]:
    values = columns(model)
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def csv_body(content: str, model: TabularModel) -> bytes:
    return content.encode()


def json_body(content: str, model: TabularModel) -> bytes:
    return json.dumps({"rows": rows(model)}).encode()


def ndjson_body(content: str, model: TabularModel) -> bytes:
    return "\n".join(map(json.dumps, rows(model))).encode()


def arrow_body(content: str, model: TabularModel) -> bytes:
    return arrow_of(pa.table(columns(model)))


def parquet_body(content: str, model: TabularModel) -> bytes:
    return parquet_of(pa.table(columns(model)))


@pytest.mark.parametrize(
    ("kind", "body_of"),
    [
        ("text/csv", csv_body),
        ("application/json", json_body),
        ("application/x-ndjson", ndjson_body),
        ("application/vnd.apache.arrow.stream", arrow_body),
        ("application/vnd.apache.parquet", parquet_body),
    ],
)
def test_the_training_file_gets_the_same_predictions_in_each_format(
    post: Post, content: str, model: TabularModel, expected: list[float], kind: str, body_of: BodyOf
) -> None:
    predictions = post("/predict/shops", body_of(content, model), kind)["predictions"]
    np.testing.assert_allclose([prediction["value"] for prediction in predictions], expected, rtol=1e-5)


def test_other_protocols_return_the_same_predictions(post: Post, model: TabularModel, expected: list[float]) -> None:
    used = [{name: row[name] for name in model.schema.by_name} for row in rows(model)]
    tensorflow = post("/v1/models/shops:predict", json.dumps({"instances": used}).encode())
    np.testing.assert_allclose(tensorflow["predictions"], expected, rtol=1e-5)
    split = {"columns": [*used[0]], "data": [[*row.values()] for row in used]}
    mlflow = post("/invocations", json.dumps({"dataframe_split": split}).encode())
    np.testing.assert_allclose(mlflow["predictions"], expected, rtol=1e-5)
    inputs = [
        {
            "name": name,
            "datatype": "BYTES",
            "shape": [ROWS],
            "data": ["" if row[name] is None else str(row[name]) for row in used],
        }
        | {"parameters": {"missing": ""}}
        for name in model.schema.by_name
    ]
    tensors = post("/v2/models/shops/infer", json.dumps({"inputs": inputs}).encode())
    np.testing.assert_allclose(tensors["outputs"][0]["data"], expected, rtol=1e-5)


def test_a_single_row_is_read_like_many_rows(post: Post, model: TabularModel, expected: list[float]) -> None:
    for row, value in [*zip(rows(model), expected, strict=True)][:12]:
        (prediction,) = post("/predict/shops", json.dumps({"rows": [row]}).encode())["predictions"]
        assert prediction["value"] == pytest.approx(value, rel=1e-5)


def test_numbers_and_dates_written_by_pandas_get_the_same_predictions(
    post: Post, model: TabularModel, dataset: Dataset, expected: list[float]
) -> None:
    """The rows have JSON numbers, and dates in milliseconds since 1970, as written by to_json of pandas."""
    read = {name: values.tolist() for name, values in dataset.columns.items()}
    read["since"] = [int(seconds * 1000) for seconds in read["since"]]
    read["sold"] = [bool(flag) for flag in read["sold"]]
    read["rate"] = [None if math.isnan(rate) else rate for rate in read["rate"]]
    typed = [dict(zip(read, row, strict=True)) for row in zip(*read.values(), strict=True)]
    predictions = post("/predict/shops", json.dumps({"rows": typed}).encode())["predictions"]
    np.testing.assert_allclose([prediction["value"] for prediction in predictions], expected, rtol=1e-5)


def test_the_openapi_document_allows_text_for_numbers(model: TabularModel) -> None:
    properties = row_schema(model.schema)["properties"]
    assert properties["price"]["type"] == ["number", "string"]
    assert properties["rate"]["type"] == ["number", "string", "null"]
    assert properties["place"]["type"] == "string"


def trip_columns() -> FeatureSchema:
    """The columns of a table of trips that was written by pandas."""
    rows = json.loads((CASES / "trips_df_to_json_records_epoch.json").read_text())["rows"]
    kinds: dict[type, Kind] = {bool: "boolean", str: "category", int: "number", float: "number"}
    features = [
        Feature(name=name, kind="date" if name == "when" else kinds[type(value)], nullable=False)
        for name, value in rows[0].items()
        if name != "fare"
    ]
    return FeatureSchema(name="trips", task="regression", target="fare", features=features)


def test_dates_that_pandas_writes_as_numbers_are_accepted() -> None:
    body = (CASES / "trips_df_to_json_records_epoch.json").read_bytes()
    validated = native.validate_body(trip_columns(), body, "fail", 100)
    assert not validated.errors
    assert validated.frame.numbers[0, 0] == datetime(2024, 8, 18, 10, 29, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (1_723_976_940, "2024-08-18T10:29:00+00:00"),
        (1_723_976_940_000, "2024-08-18T10:29:00+00:00"),
        (-1_000_000_000_000, "1938-04-24T22:13:20+00:00"),
        (253_402_214_400_000, "9999-12-31T00:00:00+00:00"),
        (1_723_976_940_000_000, None),
        (20_240_818, None),
        (True, None),
    ],
)
def test_numbers_for_dates_are_interpreted_by_their_size_or_refused(number: float, moment: str | None) -> None:
    seconds = trip_columns().by_name["when"].to_number(number)
    assert seconds == (None if moment is None else datetime.fromisoformat(moment).timestamp())


def test_a_byte_order_mark_before_json_is_skipped() -> None:
    body = (CASES / "housing_UTF_8_BOM.json").read_bytes()
    (row,) = json.loads(body.decode("utf-8-sig"))["rows"]
    features = [Feature(name=name, kind="number", nullable=False) for name in row]
    schema = FeatureSchema(name="housing", task="regression", target="y", features=features)
    for content in (body, body.replace(b"\xef\xbb\xbf", b"")):
        assert native.validate_body(schema, content, "fail", 100).frame.numbers.tolist() == [
            [*map(float, row.values())]
        ]
