"""A model with a column of free text returns the same predictions and explanations in every format and protocol."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.explanation.background import Background
from models.feature import Feature, TrainingRange
from models.network.network import build
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text_score import MAX_CHARACTERS, TextScore
from service.capture.captured_tables import feature_column
from service.http.asgi import Application
from service.openapi.schemas import row_schema
from service.protocols.oip_rows import accepted_datatypes
from service.settings import Settings
from tests.training.posting import arrow_of, parquet_of

Row = dict[str, Any]
TEXTS = ["a red house", "Ein Haus, grün", None, "", "the old mill", "a red house by the lake"]
ROWS: list[Row] = [{"size": float(size), "title": title} for size, title in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def model() -> TabularModel:
    rng = np.random.default_rng(0)
    score = TextScore.from_arrays(0.0, rng.normal(size=256), rng.uniform(1, 3, 256))
    features = [
        Feature(name="size", kind="number", nullable=False, seen=TrainingRange(min=0, max=9)),
        Feature(name="title", kind="text", nullable=True, score=score, example="a red house"),
    ]
    schema = FeatureSchema(format=2, name="shops", task="regression", target="y", features=features)
    frame = schema.frames.from_rows(ROWS)
    encoder = Encoder.fit(schema, frame, rng.normal(size=len(ROWS)), numbers="quantile")
    network = build(Architecture(encoder.width, (), hidden=(8,)), rng)
    background = Background.fit(schema, frame, rng)
    return TabularModel("1", schema, encoder, NumpyEngine(network, "a test"), background=background)


@pytest.fixture(scope="module")
def expected(model: TabularModel) -> list[float]:
    """The expected predictions. An empty text is missing, as in training."""
    values: list[float] = (
        model.predict_rows([row | {"title": row["title"] or None} for row in ROWS]).primary[:, 0].tolist()
    )
    assert len(set(values)) >= 5
    return values


Post = Callable[..., Any]


@pytest.fixture
def post(make_app: Callable[..., Application], model: TabularModel, asgi: Callable[..., Any]) -> Iterator[Post]:
    asgi_app = make_app([model], Settings())
    with asyncio.Runner() as runner:

        def post(
            path: str, body: bytes, kind: str = "application/json", status: int = 200, method: str = "POST"
        ) -> Any:
            headers = {"content-type": kind, "accept": "application/json"}
            path, _, query = path.partition("?")
            reply = runner.run(asgi(asgi_app, method, path, body, query, headers))
            assert reply.status == status, reply.content[:500]
            return reply.body

        yield post
    asgi_app.plane.close()


def csv_body() -> bytes:
    text = io.StringIO()
    for row in [{"size": "size", "title": "title"}, *ROWS]:
        title = "" if row["title"] is None else row["title"]
        text.write(f'{row["size"]},"{title}"\n')
    return text.getvalue().encode()


def columns() -> Any:
    return pa.table({"size": [row["size"] for row in ROWS], "title": TEXTS})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/csv", csv_body()),
        ("application/json", json.dumps({"rows": ROWS}).encode()),
        ("application/x-ndjson", "\n".join(map(json.dumps, ROWS)).encode()),
        ("application/vnd.apache.arrow.stream", arrow_of(columns())),
        ("application/vnd.apache.parquet", parquet_of(columns())),
    ],
)
def test_each_format_returns_the_same_predictions(post: Post, expected: list[float], kind: str, body: bytes) -> None:
    predictions = [prediction["value"] for prediction in post("/predict/shops", body, kind)["predictions"]]
    np.testing.assert_allclose(predictions, expected, rtol=1e-6)


def test_each_protocol_returns_the_same_predictions(post: Post, model: TabularModel, expected: list[float]) -> None:
    rows, known = (
        [row for row in ROWS if row["title"]],
        [v for v, row in zip(expected, ROWS, strict=True) if row["title"]],
    )
    tensorflow = post("/v1/models/shops:predict", json.dumps({"instances": rows}).encode())
    np.testing.assert_allclose(tensorflow["predictions"], known, rtol=1e-6)
    split = {"columns": ["size", "title"], "data": [[*row.values()] for row in rows]}
    mlflow = post("/invocations", json.dumps({"dataframe_split": split}).encode())
    np.testing.assert_allclose(mlflow["predictions"], known, rtol=1e-6)
    inputs = [
        {"name": "size", "datatype": "FP64", "shape": [len(rows)], "data": [row["size"] for row in rows]},
        {"name": "title", "datatype": "BYTES", "shape": [len(rows)], "data": [row["title"] for row in rows]},
    ]
    tensors = post("/v2/models/shops/infer", json.dumps({"inputs": inputs}).encode())
    np.testing.assert_allclose(tensors["outputs"][0]["data"], known, rtol=1e-6)
    assert accepted_datatypes(model.schema.by_name["title"]) == ("BYTES",)


def test_single_rows_get_the_same_predictions_as_many_rows(post: Post, expected: list[float]) -> None:
    for row, value in zip(ROWS[:3], expected[:3], strict=True):
        (prediction,) = post("/predict/shops", json.dumps({"rows": [row]}).encode())["predictions"]
        assert prediction["value"] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("title", "code"), [(5, "wrong_type"), (["a"], "wrong_type"), ("x" * (MAX_CHARACTERS + 1), "too_long")]
)
def test_an_invalid_text_is_refused_with_its_field(post: Post, title: Any, code: str) -> None:
    problem = post("/predict/shops", json.dumps({"rows": [{"size": 1, "title": title}]}).encode(), status=422)
    assert [(error["field"], error["code"]) for error in problem["errors"]] == [("title", code)]


def test_a_text_is_explained_as_one_column(post: Post) -> None:
    body = json.dumps({"rows": [ROWS[0]]}).encode()
    (prediction,) = post("/predict/shops?explain=true", body)["predictions"]
    assert [*prediction["explanation"]["contributions"]] == ["size", "title"]


def test_the_metadata_of_a_model_contain_no_text_weights(post: Post) -> None:
    described = post("/models/shops", b"", method="GET")["schema"]["features"][1]
    assert described == {"name": "title", "kind": "text", "nullable": True, "example": "a red house"}


def test_the_openapi_document_and_captured_rows_contain_text(model: TabularModel) -> None:
    assert row_schema(model.schema)["properties"]["title"]["type"] == ["string", "null"]
    assert row_schema(model.schema)["properties"]["title"]["maxLength"] == MAX_CHARACTERS
    assert feature_column(model.schema.by_name["title"], ["a", None]).to_pylist() == ["a", None]
