"""Every writer writes additional output columns that are registered as `OutputColumn`.

This file has more than 400 lines: all writers are tested with the same columns and expected values.
"""

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.formats.csv_encoder import CsvEncoder
from models.formats.json_encoder import JsonWriter
from models.formats.ndjson_encoder import NdjsonEncoder
from models.formats.record_batches import RecordBatchWriter
from models.frame import Frame
from models.output_columns import OutputColumn, OutputSpec, OutputTensor
from models.outputs import NO_OUTPUTS, Array, Outputs
from models.row_warnings import RowWarning
from models.rows import RowError, ValidatedRows
from models.tabular_model import TabularModel
from service.http.asgi import Application
from service.openapi.document import document
from service.protocols import invocations, oip_messages, tfserving
from service.protocols.oip_signature import ModelSignature
from service.protocols.oip_tensors import InferRequest
from service.settings import Settings

Row = dict[str, Any]
SendRequest = Callable[..., Any]
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
NDJSON, CSV, JSON = "application/x-ndjson", "text/csv", "application/json"
NAMES = ("first", "second", "third")


def row_mean(primary: Array) -> Array:
    """(rows,)"""
    total: Array = primary.astype(np.float64).sum(axis=1)
    return total / 3


def shares_of_mean(primary: Array) -> Array:
    """(rows, 3)"""
    return np.outer(row_mean(primary), [0.25, 0.5, 1.5]).astype(np.float32)


def divisible_steps(primary: Array) -> Array:
    """(rows, 3)"""
    steps = np.floor(row_mean(primary) * 1000)
    return np.stack([steps < np.inf, steps % 2 == 0, steps % 3 == 0], axis=1)


@dataclass(frozen=True, eq=False)
class SetColumn(OutputColumn):
    """A column whose values are lists of different lengths."""

    def json_values(self, outputs: Outputs) -> list[bytes]:
        mask = self.tensors[0].array(outputs).tolist()
        return [orjson.dumps([name for name, there in zip(NAMES, row, strict=True) if there]) for row in mask]


# Three additional columns, two of them with their own arrays.

SPREAD = OutputColumn.scalar("spread", "float64", lambda outputs: outputs.extras["spread"])
PARTS = ("shares_0", "shares_1", "shares_2")
TENSOR = OutputTensor("shares", "float32", lambda outputs: outputs.extras["shares"], PARTS, matrix=True)
SHARES = OutputColumn("shares", (TENSOR,), b"[%s,%s,%s]", {"type": "array", "maxItems": 3})
ABOVE = SetColumn(
    "above",
    (OutputTensor("above", "bool", lambda outputs: divisible_steps(outputs.primary), tuple(NAMES), matrix=True),),
    b"",
    {"title": "Above", "type": "array", "items": {"type": "string", "enum": NAMES}},
)


class ExtendedModel(TabularModel):
    """A model with the additional columns."""

    @cached_property
    def output_spec(self) -> OutputSpec:
        return OutputSpec.from_schema(self.schema).with_columns(SPREAD, SHARES, ABOVE)

    def predict(self, frame: Frame) -> Outputs:
        primary = super().predict(frame).primary
        return Outputs(primary, {"spread": row_mean(primary), "shares": shares_of_mean(primary)})


# The expected values of the additional columns, in each format.


@dataclass
class Expected:
    spread: list[float]
    shares: list[list[float]]
    above: list[list[bool]]

    @property
    def flat(self) -> list[list[float | bool]]:
        return [[a, *b, *c] for a, b, c in zip(self.spread, self.shares, self.above, strict=True)]

    def named_values(self, row: int) -> dict[str, Any]:
        names = [name for name, there in zip(NAMES, self.above[row], strict=True) if there]
        return {"spread": self.spread[row], "shares": self.shares[row], "above": names}


FLAT_NAMES = ["spread", "shares_0", "shares_1", "shares_2", *NAMES]


def with_extra_columns(model: TabularModel) -> ExtendedModel:
    return ExtendedModel(**{field.name: getattr(model, field.name) for field in fields(model)})


@pytest.fixture(scope="module", params=["homes", "income", "house_class"])
def model(request: pytest.FixtureRequest, tabular_models: list[TabularModel]) -> ExtendedModel:
    return with_extra_columns(next(model for model in tabular_models if model.name == request.param))


@pytest.fixture(scope="module")
def rows(model: ExtendedModel, random_rows: Callable[..., list[Row]]) -> list[Row]:
    return random_rows(model.schema, 40, np.random.default_rng(1))


@pytest.fixture(scope="module")
def expected(model: ExtendedModel, rows: list[Row]) -> Expected:
    outputs = model.predict_rows(rows)
    short = orjson.loads(orjson.dumps(outputs.extras["shares"], option=orjson.OPT_SERIALIZE_NUMPY))
    return Expected(outputs.extras["spread"].tolist(), short, divisible_steps(outputs.primary).tolist())


@pytest.fixture(scope="module", params=["auto", "on"])
def send_request(
    request: pytest.FixtureRequest, model: ExtendedModel, make_app: Callable[..., Application], asgi: Callable[..., Any]
) -> Iterator[SendRequest]:
    """send_request(path, body, query, **headers) queries a server of this model, with and without batching."""
    asgi_app = make_app([model], Settings(max_rows=200, max_body_bytes=20_000, batching=request.param))

    def send_request(path: str, body: Any = None, query: str = "", **headers: str) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = asyncio.run(asgi(asgi_app, "GET" if body is None else "POST", path, content, query, named))
        assert reply.status == 200, reply.content
        return reply

    yield send_request
    asgi_app.plane.close()


def ends_with_columns(found: Mapping[str, Any], expected: Expected, row: int) -> bool:
    """Whether a JSON prediction ends with the additional columns of a row."""
    assert [*found][-3:] == ["spread", "shares", "above"]
    return {key: found[key] for key in ("spread", "shares", "above")} == expected.named_values(row)


# The native formats


def test_json_responses_have_the_additional_columns(
    send_request: SendRequest, model: ExtendedModel, rows: list[Row], expected: Expected
) -> None:
    for some in (rows[:1], rows):
        predictions = send_request(f"/predict/{model.name}", {"rows": some}).body["predictions"]
        assert all(ends_with_columns(found, expected, row) for row, found in enumerate(predictions) if len(some) > 1)
        assert [found["spread"] for found in predictions] == pytest.approx(expected.spread[: len(some)])
    skipped = send_request(f"/predict/{model.name}", {"rows": [{}, *rows]}, "on_invalid=skip").body
    assert skipped["predictions"][0] is None
    assert all(ends_with_columns(found, expected, row) for row, found in enumerate(skipped["predictions"][1:]))


def encode_ndjson(rows: list[Row]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_responses_in_blocks_have_the_additional_columns(
    send_request: SendRequest, model: ExtendedModel, rows: list[Row], expected: Expected
) -> None:
    body = encode_ndjson(rows * 20)
    assert len(body) > 20_000  # exceeds the body limit of the settings, so the response is sent in blocks
    headers = {"content_type": NDJSON, "accept": JSON}
    predictions = send_request(f"/predict/{model.name}", body, **headers).body["predictions"]
    assert len(predictions) == 20 * len(rows)
    assert [found["spread"] for found in predictions] == pytest.approx(expected.spread * 20)


def test_ndjson_responses_have_the_additional_columns(
    send_request: SendRequest, model: ExtendedModel, rows: list[Row], expected: Expected
) -> None:
    reply = send_request(f"/predict/{model.name}", encode_ndjson(rows), content_type=NDJSON)
    lines = reply.content.splitlines()
    assert len(lines) == len(rows)
    assert all(ends_with_columns(json.loads(line), expected, row) for row, line in enumerate(lines))


def test_csv_responses_have_the_additional_columns(
    send_request: SendRequest, model: ExtendedModel, rows: list[Row], expected: Expected
) -> None:
    body = encode_ndjson([{}, *rows])
    reply = send_request(f"/predict/{model.name}", body, "on_invalid=skip", content_type=NDJSON, accept=CSV)
    head, invalid, *lines = csv.reader(io.StringIO(reply.content.decode()))
    assert head[-9:] == [*FLAT_NAMES, "warnings", "error"]
    assert invalid[:-1] == [""] * (len(head) - 1)
    assert [[*map(json.loads, line[-9:-2])] for line in lines] == expected.flat


@pytest.mark.parametrize("form", [ARROW, PARQUET])
def test_arrow_and_parquet_responses_have_the_additional_columns(
    send_request: SendRequest, model: ExtendedModel, rows: list[Row], expected: Expected, form: str
) -> None:
    body = encode_ndjson([{}, *rows])
    content = send_request(f"/predict/{model.name}", body, "on_invalid=skip", content_type=NDJSON, accept=form).content
    table = pa.ipc.open_stream(content).read_all() if form == ARROW else pq.read_table(io.BytesIO(content))
    assert table.column_names[-9:] == [*FLAT_NAMES, "warnings", "error"]
    assert [*map(str, table.schema.types[-9:-2])] == ["double", *["float"] * 3, *["bool"] * 3]
    found = [[row[name] for name in FLAT_NAMES] for row in table.to_pylist()]
    assert found[0] == [None] * len(FLAT_NAMES)
    assert np.array(found[1:], float) == pytest.approx(np.array(expected.flat, float))


# The tensor protocols


def infer_body(rows: list[Row], model: ExtendedModel, **more: Any) -> dict[str, Any]:
    inputs = [
        {"name": spec.name, "datatype": spec.datatype, "shape": [len(rows)], "data": [row[spec.name] for row in rows]}
        for spec in ModelSignature(model).inputs
    ]
    return {"inputs": inputs, **more}


def test_oip_responses_have_the_additional_columns(
    send_request: SendRequest, model: ExtendedModel, rows: list[Row], expected: Expected
) -> None:
    metadata = send_request(f"/v2/models/{model.name}").body["outputs"]
    described = [("spread", "FP64", [-1]), ("shares", "FP32", [-1, 3]), ("above", "BOOL", [-1, 3])]
    assert [(one["name"], one["datatype"], one["shape"]) for one in metadata][-3:] == described
    outputs = send_request(f"/v2/models/{model.name}/infer", infer_body(rows, model)).body["outputs"]
    assert [one["name"] for one in outputs] == [one["name"] for one in metadata]
    spread, shares, above = (one["data"] for one in outputs[-3:])
    assert outputs[-1]["shape"] == [len(rows), 3]
    assert (spread, np.reshape(shares, (-1, 3)).tolist()) == (expected.spread, expected.shares)
    assert np.reshape(above, (-1, 3)).tolist() == expected.above
    one = send_request(
        f"/v2/models/{model.name}/infer", infer_body(rows[:1], model, outputs=[{"name": "spread"}])
    ).body["outputs"]
    assert [(only["name"], only["data"]) for only in one] == [("spread", [pytest.approx(expected.spread[0])])]


def test_binary_responses_have_the_additional_columns(
    send_request: SendRequest, model: ExtendedModel, rows: list[Row], expected: Expected
) -> None:
    wanted = [{"name": "spread"}, {"name": "shares"}, {"name": "above"}]
    body = infer_body(rows, model, outputs=wanted, parameters={"binary_data_output": True})
    reply = send_request(f"/v2/models/{model.name}/infer", body)
    raw = reply.content[int(reply.headers["inference-header-content-length"]) :]
    count = len(rows)
    assert np.frombuffer(raw, "<f8", count).tolist() == expected.spread
    shares = np.frombuffer(raw, "<f4", 3 * count, 8 * count).reshape(-1, 3)
    np.testing.assert_array_equal(shares, np.array(expected.shares, np.float32))
    assert np.frombuffer(raw, "?", 3 * count, 20 * count).reshape(-1, 3).tolist() == expected.above


@pytest.mark.parametrize("raw", [False, True])
def test_grpc_messages_have_the_additional_columns(
    model: ExtendedModel, rows: list[Row], expected: Expected, raw: bool
) -> None:
    accepted = ValidatedRows(model.schema.frames.from_rows(rows), len(rows))
    reply = oip_messages.MESSAGES["ModelInferResponse"]()
    tensors = ModelSignature(model).response_tensors(accepted, model.predict_rows(rows), InferRequest([]))
    oip_messages.write(reply, tensors, {}, raw=raw)
    described = [(one.name, one.datatype, [*one.shape]) for one in reply.outputs]
    assert described[-3:] == [("spread", "FP64", [40]), ("shares", "FP32", [40, 3]), ("above", "BOOL", [40, 3])]
    if raw:
        assert np.frombuffer(reply.raw_output_contents[-3], "<f8").tolist() == expected.spread
    else:
        assert [*reply.outputs[-3].contents.fp64_contents] == expected.spread
        assert np.reshape(reply.outputs[-1].contents.bool_contents, (-1, 3)).tolist() == expected.above


def test_tf_serving_responses_have_the_additional_columns(
    send_request: SendRequest, model: ExtendedModel, rows: list[Row], expected: Expected
) -> None:
    predictions = send_request(f"/v1/models/{model.name}:predict", {"instances": rows}).body["predictions"]
    assert [[one["spread"], *one["shares"], *one["above"]] for one in predictions] == expected.flat
    inputs = {name: [row[name] for row in rows] for name in rows[0]}
    outputs = send_request(f"/v1/models/{model.name}:predict", {"inputs": inputs}).body["outputs"]
    assert [*outputs][-3:] == ["spread", "shares", "above"]
    assert (outputs["spread"], outputs["shares"]) == (expected.spread, expected.shares)
    metadata = send_request(f"/v1/models/{model.name}/metadata").body["metadata"]["signature_def"]["signature_def"]
    described = metadata["serving_default"]["outputs"]
    assert [(one, described[one]["dtype"]) for one in described][-3:] == [
        ("spread", "DT_DOUBLE"),
        ("shares", "DT_FLOAT"),
        ("above", "DT_BOOL"),
    ]
    assert [dimension["size"] for dimension in described["shares"]["tensor_shape"]["dim"]] == ["-1", "3"]


def test_classify_and_regress_responses_do_not_have_the_additional_columns(
    send_request: SendRequest, model: ExtendedModel, rows: list[Row]
) -> None:
    method = "regress" if model.schema.classes is None else "classify"
    results = send_request(f"/v1/models/{model.name}:{method}", {"examples": rows}).body["results"]
    classes = model.schema.classes
    assert np.shape(results) == ((40,) if classes is None else (40, len(classes), 2))


# /invocations and the OpenAPI document


@pytest.mark.parametrize("parameters", [{}, {"params": {"warnings": True}}])
def test_mlflow_and_vertex_responses_have_the_additional_columns(
    send_request: SendRequest, model: ExtendedModel, rows: list[Row], expected: Expected, parameters: Any
) -> None:
    predictions = send_request("/invocations", {"instances": rows, **parameters}).body["predictions"]
    assert all(ends_with_columns(found, expected, row) for row, found in enumerate(predictions))


def test_csv_responses_of_invocations_have_the_additional_columns(
    send_request: SendRequest, rows: list[Row], expected: Expected
) -> None:
    reply = send_request("/invocations", {"instances": rows}, accept=CSV)
    lines = csv.reader(io.StringIO(reply.content.decode()))
    assert [[*map(json.loads, line[-7:])] for line in lines] == expected.flat


def test_the_openapi_document_describes_the_additional_columns(model: ExtendedModel, settings: Settings) -> None:
    schemas = json.loads(document([model], settings, "1.0"))["components"]["schemas"]
    [prediction] = [schema for name, schema in schemas.items() if name.endswith("Prediction")]
    assert [*prediction["properties"]][-4:] == ["spread", "shares", "above", "warnings"]
    assert prediction["required"][-3:] == ["spread", "shares", "above"]
    assert prediction["properties"]["spread"] == {"title": "Spread", "type": "number"}
    assert prediction["properties"]["shares"]["maxItems"] == 3


# Writers with the columns of one request


def test_a_writer_whose_columns_differ_from_the_model_writes_its_own_columns(
    tabular_model: TabularModel, random_rows: Callable[..., list[Row]]
) -> None:
    outputs = tabular_model.predict_rows(random_rows(tabular_model.schema, 5, np.random.default_rng(2)))
    spec = tabular_model.output_spec.with_columns(ABOVE)
    found = json.loads(JsonWriter(tabular_model, spec).write_plain(outputs))["predictions"]
    assert [[*one] for one in found] == [["value", "above"]] * 5
    assert CsvEncoder(tabular_model, spec).head() == b"value,first,second,third,warnings,error\n"
    assert RecordBatchWriter(tabular_model, spec).schema.names[:4] == ["value", *NAMES]
    assert [one.name for one in ModelSignature(tabular_model, spec).outputs] == ["value", "above"]


# Fast paths of common responses


def validated_rows(rows: int, outcome: str) -> tuple[ValidatedRows, int]:
    """Validated rows: all valid, with warnings, or partly skipped. Returns the rows and the number of valid rows."""
    valid = rows if outcome != "skipped" else rows - rows // 2
    accepted = ValidatedRows(Frame(np.zeros((valid, 1)), np.zeros((valid, 0), np.int64)), rows)
    if outcome == "skipped":
        accepted.valid = [*range(rows // 2, rows)]
        accepted.errors = [RowError(row, "x", "missing", "row: no x") for row in range(rows // 2)]
    if outcome != "plain":
        accepted.warnings = {valid - 1: [RowWarning("x", "outside_seen", 'x is "1,5" %')]}
    return accepted, valid


@pytest.mark.parametrize("outcome", ["plain", "warnings", "skipped"])
@pytest.mark.parametrize("count", [1, 2, 100, 5000])
def test_responses_of_the_fast_writers_equal_those_of_the_general_writers(
    tabular_models: list[TabularModel], count: int, outcome: str
) -> None:
    for model in tabular_models:
        accepted, valid = validated_rows(count, outcome)
        rng = np.random.default_rng(count)
        chances = rng.dirichlet(np.ones(len(model.schema.classes or [1])), valid).astype(np.float32)
        outputs = Outputs(chances if model.schema.classes else rng.normal(size=(valid, 1)) * 1e6)
        fast, general = (
            written_bytes(model, spec, accepted, outputs) for spec in specs_with_and_without_fast_path(model)
        )
        assert fast == general


def specs_with_and_without_fast_path(model: TabularModel) -> tuple[OutputSpec, OutputSpec]:
    """The output columns of a model with and without the fast path."""
    fast, general = model.output_spec, model.output_spec.with_columns()
    assert fast.common
    assert general.common is None
    return fast, general


def written_bytes(model: TabularModel, spec: OutputSpec, accepted: ValidatedRows, outputs: Outputs) -> list[bytes]:
    """The bytes of all writers that have a fast path."""
    json_writer, tf_writer = JsonWriter(model, spec), tfserving.TFServingWriter(model, spec)
    found = [
        json_writer.write(accepted, outputs, skip=accepted.valid is not None),
        json_writer.write_plain(outputs),
        NdjsonEncoder(json_writer).block(accepted, outputs, 0),
        RecordBatchWriter(model, spec).message(accepted, outputs, 0),
        ModelSignature(model, spec).write(accepted, outputs, InferRequest([]))[0],
        tf_writer.predictions(outputs),
        invocations.write_csv(spec, outputs),
    ]
    if spec.by_name.get("value") and len(outputs) == 1:
        found.append(json_writer.write_value(outputs.primary.item()))
        assert found[-1] == found[1]
    return found


def test_responses_without_rows_are_the_same_on_both_paths(tabular_models: list[TabularModel]) -> None:
    for model in tabular_models:
        accepted = ValidatedRows(Frame(np.zeros((0, 1)), np.zeros((0, 0), np.int64)), 2, valid=[])
        fast, general = (
            [
                JsonWriter(model, spec).write(accepted, NO_OUTPUTS, skip=True),
                NdjsonEncoder(JsonWriter(model, spec)).block(accepted, NO_OUTPUTS, 0),
                RecordBatchWriter(model, spec).message(accepted, NO_OUTPUTS, 0),
                ModelSignature(model, spec).write(accepted, NO_OUTPUTS, InferRequest([]))[0],
            ]
            for spec in specs_with_and_without_fast_path(model)
        )
        assert fast == general
