"""One contract for all protocols: the same rows get the same predictions and warnings, the same invalid rows are
refused with row and field in the format of each protocol, and no input causes a 500. An adapter is a client of a
protocol. A new protocol needs an adapter.

This file has more than 400 lines: the adapters of all protocols stay together with the tests that use them.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import grpc
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from models.tabular_model import TabularModel
from service.protocols.oip_messages import CONTENTS, MESSAGES, SERVICE

Row = dict[str, Any]
Warned = set[tuple[int, str, str]]  # row, field, code


class UnsupportedRows(Exception):  # noqa: N818 - the name says what it is
    """The format of the protocol cannot express these rows. The message has the reason."""


class Clients(NamedTuple):
    """The HTTP and gRPC clients of a server."""

    http: httpx.Client
    grpc: str


class Outcome(NamedTuple):
    """The content of a response: the value or probabilities of each row, or the status and text of an error."""

    status: int | str
    numbers: list[list[float]]
    labels: list[Any]
    warnings: Warned
    text: str = ""


class Adapter(Protocol):
    invalid: int | str  # the status of invalid rows
    too_many: int | str | None  # the status of too many rows; None: there is no limit

    def send_request(self, model: TabularModel, rows: Sequence[Row]) -> Outcome:
        """Raises UnsupportedRows."""


class HttpAdapter:
    """The common part of adapters over HTTP: the request, and warnings in a header."""

    invalid: int | str = 400
    too_many: int | str | None = 413

    def __init__(self, clients: Clients) -> None:
        self.client = clients.http

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        """The path, the body (JSON or bytes) and the headers."""
        raise NotImplementedError

    def predictions(self, model: TabularModel, reply: httpx.Response) -> tuple[list[list[float]], list[Any]]:
        """The numbers and the label of each row."""
        raise NotImplementedError

    def warnings(self, reply: httpx.Response) -> Warned:
        parsed = json.loads(reply.headers.get("x-tabserve-warnings", '{"warnings": []}'))
        return {(warning["row"], warning["field"], warning["code"]) for warning in parsed["warnings"]}

    def send_request(self, model: TabularModel, rows: Sequence[Row]) -> Outcome:
        path, body, headers = self.request(model, rows)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = self.client.post(path, content=content, headers=headers)
        if reply.status_code != 200:
            return Outcome(reply.status_code, [], [], set(), self.error(reply))
        numbers, labels = self.predictions(model, reply)
        return Outcome(200, numbers, labels, self.warnings(reply))

    def error(self, reply: httpx.Response) -> str:
        """The text of an error. Asserts that the error has the format of the protocol."""
        raise NotImplementedError


JSON = {"content-type": "application/json"}


def values_by_column(rows: Sequence[Row]) -> dict[str, list[Any]]:
    names = list(rows[0])
    if any(list(row) != names for row in rows):
        raise UnsupportedRows("all rows need the same columns")
    return {name: [row[name] for row in rows] for name in names}


def numbers_and_labels(model: TabularModel, predictions: list[Any]) -> tuple[list[list[float]], list[Any]]:
    """The numbers and labels of predictions in the format of the native API."""
    if model.schema.classes is None:
        return [[prediction["value"]] for prediction in predictions], []
    keys = [str(label) for label in model.schema.classes]
    numbers = [[prediction["probabilities"][key] for key in keys] for prediction in predictions]
    return numbers, [prediction["label"] for prediction in predictions]


class NativeAdapter(HttpAdapter):
    """The native protocol, the reference for the other protocols."""

    invalid: int | str = 422

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        return f"/predict/{model.name}", {"rows": list(rows)}, JSON

    def predictions(self, model: TabularModel, reply: httpx.Response) -> tuple[list[list[float]], list[Any]]:
        return numbers_and_labels(model, reply.json()["predictions"])

    def warnings(self, reply: httpx.Response) -> Warned:
        return {
            (row, warning["field"], warning["code"])
            for row, prediction in enumerate(reply.json()["predictions"])
            for warning in prediction.get("warnings", ())
        }

    def error(self, reply: httpx.Response) -> str:
        assert reply.headers["content-type"] == "application/problem+json"
        problem = reply.json()
        return " ".join([problem["detail"], *(error["message"] for error in problem["errors"])])


class TableAdapter(NativeAdapter):
    """The common part of adapters for table bodies on the native route, with any number of rows."""

    kind = ""
    too_many = None

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        return f"/predict/{model.name}", self.body(model, rows), {"content-type": self.kind}

    def body(self, model: TabularModel, rows: Sequence[Row]) -> bytes:
        raise NotImplementedError

    def records(self, reply: httpx.Response) -> list[Row]:
        """The rows of the response table."""
        raise NotImplementedError

    def predictions(self, model: TabularModel, reply: httpx.Response) -> tuple[list[list[float]], list[Any]]:
        assert reply.headers["content-type"].startswith(self.kind)
        records = self.records(reply)
        assert not any(record["error"] for record in records)
        if model.schema.classes is None:
            return [[float(record["value"])] for record in records], []
        names = [f"probability_{label}" for label in model.schema.classes]
        by_text = {str(label): label for label in model.schema.classes}
        numbers = [[float(record[name]) for name in names] for record in records]
        return numbers, [by_text[str(record["label"])] for record in records]

    def warnings(self, reply: httpx.Response) -> Warned:
        return {
            (row, name, code)
            for row, record in enumerate(self.records(reply))
            for code, name in re.findall(r"(\w+): feature '([^']*)':", record["warnings"] or "")
        }


class NdjsonAdapter(TableAdapter):
    kind = "application/x-ndjson"

    def body(self, model: TabularModel, rows: Sequence[Row]) -> bytes:
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    def records(self, reply: httpx.Response) -> list[Row]:
        return [json.loads(line) for line in reply.text.splitlines()]

    def predictions(self, model: TabularModel, reply: httpx.Response) -> tuple[list[list[float]], list[Any]]:
        assert reply.headers["content-type"] == self.kind
        return numbers_and_labels(model, self.records(reply))

    def warnings(self, reply: httpx.Response) -> Warned:
        return {
            (row, warning["field"], warning["code"])
            for row, record in enumerate(self.records(reply))
            for warning in record.get("warnings", ())
        }


class CsvAdapter(TableAdapter):
    kind = "text/csv"

    def body(self, model: TabularModel, rows: Sequence[Row]) -> bytes:
        return as_csv(model, rows)

    def records(self, reply: httpx.Response) -> list[Row]:
        return list(csv.DictReader(io.StringIO(reply.text)))


class ArrowAdapter(TableAdapter):
    """Arrow IPC streams with record batches of three rows."""

    kind = "application/vnd.apache.arrow.stream"

    def body(self, model: TabularModel, rows: Sequence[Row]) -> bytes:
        table, sink = table_of_rows(rows), io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
        return sink.getvalue()

    def records(self, reply: httpx.Response) -> list[Row]:
        found: list[Row] = pa.ipc.open_stream(reply.content).read_all().to_pylist()
        return found


class ParquetAdapter(ArrowAdapter):
    kind = "application/vnd.apache.parquet"

    def body(self, model: TabularModel, rows: Sequence[Row]) -> bytes:
        sink = io.BytesIO()
        try:
            pq.write_table(table_of_rows(rows), sink)
        except pa.ArrowNotImplementedError as error:
            raise UnsupportedRows(f"Parquet has no such type: {error}") from None
        return sink.getvalue()

    def records(self, reply: httpx.Response) -> list[Row]:
        found: list[Row] = pq.read_table(io.BytesIO(reply.content)).to_pylist()
        return found


def table_of_rows(rows: Sequence[Row]) -> pa.Table:
    columns = values_by_column(rows)
    for name, column in columns.items():
        if bool in map(type, column) and not {*map(type, column)} <= {bool, type(None)}:
            raise UnsupportedRows(f"{name}: a column holds values of one type")
    try:
        return pa.table(columns)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise UnsupportedRows(f"a column holds values of one type: {error}") from None


class TfServingAdapter(HttpAdapter):
    """TF Serving's `:predict` in row form."""

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        return f"/v1/models/{model.name}:predict", {"instances": list(rows)}, {}

    def predictions(self, model: TabularModel, reply: httpx.Response) -> tuple[list[list[float]], list[Any]]:
        (predictions,) = reply.json().values()
        if model.schema.classes is None:
            return [[value] for value in predictions], []
        return [row["probabilities"] for row in predictions], [row["label"] for row in predictions]

    def error(self, reply: httpx.Response) -> str:
        assert reply.headers["content-type"] == "application/json"
        (text,) = reply.json().values()
        assert list(reply.json()) == ["error"]
        return str(text)


class TfServingArraysAdapter(TfServingAdapter):
    """TF Serving's `:predict` with arrays in the order of the features."""

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        names = [feature.name for feature in model.schema.features]
        if any(set(row) != set(names) for row in rows):
            raise UnsupportedRows("an array has a value for each feature and no names")
        instances = [[row[name] for name in names] for row in rows]
        return f"/v1/models/{model.name}:predict", {"instances": instances}, {}


class TfServingColumnsAdapter(TfServingAdapter):
    """TF Serving's `:predict` in column form, where each value is a tensor of one element."""

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        inputs = {name: [[value] for value in column] for name, column in values_by_column(rows).items()}
        return f"/v1/models/{model.name}/versions/1:predict", {"inputs": inputs}, {}

    def predictions(self, model: TabularModel, reply: httpx.Response) -> tuple[list[list[float]], list[Any]]:
        outputs = reply.json()["outputs"]
        if model.schema.classes is None:
            return [[value] for value in outputs], []
        return outputs["probabilities"], outputs["label"]


class TfServingExamplesAdapter(TfServingAdapter):
    """`:classify` and `:regress`."""

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        method = "regress" if model.schema.classes is None else "classify"
        return f"/v1/models/{model.name}:{method}", {"examples": list(rows)}, {}

    def predictions(self, model: TabularModel, reply: httpx.Response) -> tuple[list[list[float]], list[Any]]:
        results = reply.json()["results"]
        if model.schema.classes is None:
            return [[value] for value in results], []
        assert all([label for label, _ in pairs] == [str(label) for label in model.schema.classes] for pairs in results)
        numbers = [[score for _, score in pairs] for pairs in results]
        return numbers, [model.schema.classes[int(np.argmax(scores))] for scores in numbers]


class MlflowAdapter(HttpAdapter):
    """`dataframe_records`."""

    key = "dataframe_records"

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        return "/invocations", {self.key: self.table(rows)}, {**JSON, **self.selecting_headers(model)}

    def selecting_headers(self, model: TabularModel) -> dict[str, str]:
        return {"x-amzn-sagemaker-custom-attributes": f"model={model.name}"}

    def table(self, rows: Sequence[Row]) -> Any:
        return list(rows)

    def predictions(self, model: TabularModel, reply: httpx.Response) -> tuple[list[list[float]], list[Any]]:
        predictions = reply.json()["predictions"]
        return (
            ([[value] for value in predictions], [])
            if model.schema.classes is None
            else numbers_and_labels(model, predictions)
        )

    def error(self, reply: httpx.Response) -> str:
        assert reply.headers["content-type"] == "application/json"
        assert list(reply.json()) == ["error_code", "message"]
        return str(reply.json()["message"])


class MlflowSplitAdapter(MlflowAdapter):
    key = "dataframe_split"

    def table(self, rows: Sequence[Row]) -> Any:
        columns = values_by_column(rows)
        data = [list(values) for values in zip(*columns.values(), strict=True)]
        return {"columns": list(columns), "index": list(range(len(data))), "data": data}


class MlflowInputsAdapter(MlflowAdapter):
    key = "inputs"

    def table(self, rows: Sequence[Row]) -> Any:
        return values_by_column(rows)


class SagemakerAdapter(MlflowAdapter):
    """SageMaker's protocol with CSV requests and responses."""

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        headers = {"content-type": "text/csv", "accept": "text/csv", **self.selecting_headers(model)}
        return "/invocations", as_csv(model, rows), headers

    def predictions(self, model: TabularModel, reply: httpx.Response) -> tuple[list[list[float]], list[Any]]:
        lines = list(csv.reader(io.StringIO(reply.text)))
        if model.schema.classes is None:
            return [[float(value)] for (value,) in lines], []
        by_text = {str(label): label for label in model.schema.classes}
        return [list(map(float, numbers)) for _, *numbers in lines], [by_text[label] for label, *_ in lines]


def as_csv(model: TabularModel, rows: Sequence[Row]) -> bytes:
    """Encode rows as CSV. Raises UnsupportedRows for values whose text has another meaning."""
    columns = values_by_column(rows)
    for name, column in columns.items():
        feature = model.schema.by_name.get(name)
        texts = feature is not None and feature.kind == "category" and feature.level_type == "text"
        for value in column:
            if texts and value is not None and not isinstance(value, str):
                raise UnsupportedRows(f"{name}: every text is a level, including {str(value)[:20]!r}")
            if isinstance(value, str) and value in model.schema.missing:
                raise UnsupportedRows(f"{name}: {value!r} is the text of a missing value")
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return lines.getvalue().encode()


class OipAdapter(HttpAdapter):
    """The Open Inference Protocol over REST, with a tensor for each column, whose datatype is read from the
    metadata.
    """

    def __init__(self, clients: Clients) -> None:
        super().__init__(clients)
        self.datatypes: dict[str, dict[str, str]] = {}

    def tensors(self, model: TabularModel, rows: Sequence[Row]) -> list[tuple[str, str, list[Any]]]:
        """The name, datatype and values of each column."""
        if model.name not in self.datatypes:
            inputs = self.client.get(f"/v2/models/{model.name}").json()["inputs"]
            self.datatypes[model.name] = {tensor["name"]: tensor["datatype"] for tensor in inputs}
        types = self.datatypes[model.name]
        return [
            (name, datatype, values_of_datatype(datatype, values))
            for name, values in values_by_column(rows).items()
            for datatype in (datatype_of(values, types.get(name)),)
        ]

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        inputs = [
            {"name": name, "datatype": datatype, "shape": [len(values)], "data": values}
            for name, datatype, values in self.tensors(model, rows)
        ]
        return f"/v2/models/{model.name}/infer", {"inputs": inputs}, JSON

    def predictions(self, model: TabularModel, reply: httpx.Response) -> tuple[list[list[float]], list[Any]]:
        outputs = {output["name"]: output["data"] for output in reply.json()["outputs"]}
        if model.schema.classes is None:
            return [[value] for value in outputs["value"]], []
        return np.reshape(outputs["probabilities"], (-1, len(model.schema.classes))).tolist(), outputs["label"]

    def warnings(self, reply: httpx.Response) -> Warned:
        parsed = json.loads(reply.json().get("parameters", {}).get("warnings", "[]"))
        return {(warning["row"], warning["field"], warning["code"]) for warning in parsed}

    def error(self, reply: httpx.Response) -> str:
        assert list(reply.json()) == ["error"]
        return str(reply.json()["error"])


class OipBinaryAdapter(OipAdapter):
    """The `/v2` protocol with binary tensors."""

    def request(self, model: TabularModel, rows: Sequence[Row]) -> tuple[str, Any, dict[str, str]]:
        inputs, raws = [], []
        for name, datatype, values in self.tensors(model, rows):
            raws.append(binary_values(datatype, values))
            parameters = {"binary_data_size": len(raws[-1]), "missing": NO_TEXT}
            inputs.append({"name": name, "datatype": datatype, "shape": [len(values), 1], "parameters": parameters})
        head = json.dumps({"inputs": inputs}).encode()
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
        return f"/v2/models/{model.name}/versions/1/infer", head + b"".join(raws), headers


NO_TEXT = "\0"
FITTING: dict[str, tuple[type, ...]] = {"BYTES": (str,), "BOOL": (bool,), "INT64": (int,), "FP64": (int, float)}


def datatype_of(values: list[Any], known: str | None) -> str:
    """The datatype of a column, or that of its values if all values have another type."""
    for datatype, kinds in FITTING.items():
        if all(type(value) in kinds for value in values) and (known is None or type(values[0]) not in FITTING[known]):
            return datatype
    return known or "FP64"


def values_of_datatype(datatype: str, values: list[Any]) -> list[Any]:
    """The values converted for a tensor of a datatype. Raises UnsupportedRows if the tensor cannot hold them."""
    held = [int(value) if datatype == "INT64" and value == 2.0 else value for value in values]
    for value in held:
        right = isinstance(value, FITTING[datatype]) and (datatype == "BOOL") == isinstance(value, bool)
        if not right and (value is not None or datatype in ("BOOL", "INT64")):
            raise UnsupportedRows(f"a tensor of {datatype} cannot hold {str(value)[:20]}")
    return held


def binary_values(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        texts = [(NO_TEXT if value is None else value).encode() for value in values]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    if datatype == "FP64" and any(value is not None and abs(value) > 1e308 for value in values):
        raise UnsupportedRows("a 64-bit float cannot exceed 1.8e308")
    return np.array(values, {"BOOL": "?", "INT64": "<i8", "FP64": "<f8"}[datatype]).tobytes()


class GrpcRawAdapter(OipAdapter):
    """The gRPC protocol with Triton's client, which sends raw contents."""

    invalid = too_many = "INVALID_ARGUMENT"

    def __init__(self, clients: Clients) -> None:
        super().__init__(clients)
        self.address = clients.grpc

    def send_request(self, model: TabularModel, rows: Sequence[Row]) -> Outcome:
        inputs = []
        for name, datatype, values in self.tensors(model, rows):
            inputs.append(triton.InferInput(name, [len(values), 1], datatype))
            inputs[-1]._raw_content = binary_values(datatype, values)
        with triton.InferenceServerClient(self.address) as client:
            try:
                result = client.infer(model.name, inputs, parameters={"missing": NO_TEXT})
            except InferenceServerException as error:
                return Outcome(error.status().removeprefix("StatusCode."), [], [], set(), error.message())
        parsed = result.get_response().parameters["warnings"].string_param or "[]"
        warnings = {(warning["row"], warning["field"], warning["code"]) for warning in json.loads(parsed)}
        if model.schema.classes is None:
            return Outcome(200, result.as_numpy("value").reshape(-1, 1).tolist(), [], warnings)
        labels = [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label").tolist()]
        return Outcome(200, result.as_numpy("probabilities").tolist(), labels, warnings)


class GrpcTypedAdapter(GrpcRawAdapter):
    """The gRPC protocol without generated code, with typed contents."""

    def send_request(self, model: TabularModel, rows: Sequence[Row]) -> Outcome:
        request = MESSAGES["ModelInferRequest"](model_name=model.name)
        request.parameters["missing"].string_param = NO_TEXT
        for name, datatype, values in self.tensors(model, rows):
            tensor = request.inputs.add(name=name, datatype=datatype, shape=[len(values)])
            contents = getattr(tensor.contents, CONTENTS[datatype][0])
            if datatype == "BYTES":
                contents.extend((NO_TEXT if value is None else value).encode() for value in values)
            else:
                contents.extend(np.frombuffer(binary_values(datatype, values), CONTENTS[datatype][1]).tolist())
        with grpc.insecure_channel(self.address) as channel:
            try:
                reply = channel.unary_unary(f"/{SERVICE}/ModelInfer")(request.SerializeToString(), timeout=60)
            except grpc.RpcError as error:
                return Outcome(error.code().name, [], [], set(), error.details())
        response = MESSAGES["ModelInferResponse"].FromString(reply)
        parsed = response.parameters["warnings"].string_param or "[]"
        warnings = {(warning["row"], warning["field"], warning["code"]) for warning in json.loads(parsed)}
        outputs = {output.name: output.contents for output in response.outputs}
        if model.schema.classes is None:
            return Outcome(200, [[value] for value in outputs["value"].fp64_contents], [], warnings)
        numbers = np.reshape(outputs["probabilities"].fp32_contents, (-1, len(model.schema.classes))).tolist()
        label = outputs["label"]
        return Outcome(200, numbers, [*map(bytes.decode, label.bytes_contents)] or [*label.int64_contents], warnings)


KINDS: tuple[type[HttpAdapter], ...] = (
    NativeAdapter,
    NdjsonAdapter,
    CsvAdapter,
    ArrowAdapter,
    ParquetAdapter,
    TfServingAdapter,
    TfServingArraysAdapter,
    TfServingColumnsAdapter,
    TfServingExamplesAdapter,
    MlflowAdapter,
    MlflowSplitAdapter,
    MlflowInputsAdapter,
    SagemakerAdapter,
    OipAdapter,
    OipBinaryAdapter,
    GrpcRawAdapter,
    GrpcTypedAdapter,
)


@pytest.fixture(scope="module")
def clients(server: Any) -> Iterator[Clients]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield Clients(client, server.grpc)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def adapter(request: pytest.FixtureRequest, clients: Clients) -> Adapter:
    made: Adapter = request.param(clients)
    return made


@pytest.fixture(scope="module")
def reference(clients: Clients) -> Adapter:
    return NativeAdapter(clients)


def outcome_of(adapter: Adapter, model: TabularModel, rows: Sequence[Row]) -> Outcome:
    try:
        return adapter.send_request(model, rows)
    except UnsupportedRows as reason:
        pytest.skip(f"the protocol cannot express these rows: {reason}")


def assert_same(model: TabularModel, actual: Outcome, expected: Outcome) -> None:
    """Assert that predictions are equal as defined in docs/reference/models.md."""
    assert (actual.status, expected.status) == (200, 200), actual.text
    assert np.shape(actual.numbers) == np.shape(expected.numbers)
    distance = np.abs(np.array(actual.numbers) - np.array(expected.numbers))
    assert (distance <= 1e-5 * np.maximum(np.abs(expected.numbers), model.tolerance())).all()
    assert actual.labels == expected.labels
    assert actual.warnings == expected.warnings


@pytest.mark.parametrize("count", [1, 7, 300])
def test_the_same_rows_get_the_same_predictions_in_every_protocol(
    adapter: Adapter,
    reference: Adapter,
    tabular_models: list[TabularModel],
    random_rows: Callable[..., list[Row]],
    count: int,
) -> None:
    for model in tabular_models:
        rows = random_rows(model.schema, count, np.random.default_rng(count))
        assert_same(model, outcome_of(adapter, model, rows), reference.send_request(model, rows))


CHANGES: dict[str, Row] = {
    "missing where the training table had missing cells": {"class": None, "Outcome Type": None},
    "an integer for a number": {"class": 3},
    "an integral decimal for an integer level": {"_u": 2.0},
    "a column that the model does not use": {"id": "h7", "price": 12.5},
    "a time with a zone": {"2nd": "2013-04-01T12:30:00+02:00"},
    "above the range seen": {"class": 6.5},
    "below the range seen": {"class": -1e300},
    "a level never seen": {"Outcome Type": "Return to owner"},
    "a level with non-ASCII letters": {"Outcome Type": 'Ünïcode „🦊“, "quoted"\nnext line'},
    "a date before training": {"2nd": "1999-12-31"},
}


@pytest.mark.parametrize("cells", CHANGES.values(), ids=CHANGES.keys())
def test_validity_and_warnings_are_the_same_in_every_protocol(
    adapter: Adapter, reference: Adapter, tabular_model: TabularModel, home_row: Row, cells: Row
) -> None:
    rows = [dict.fromkeys(cells) | home_row if "id" in cells else home_row, {**home_row, **cells}]
    if "id" in cells:
        rows = [rows[1]] * 2
    assert_same(tabular_model, outcome_of(adapter, tabular_model, rows), reference.send_request(tabular_model, rows))


def test_an_absent_value_is_missing_if_training_had_missing_cells(
    adapter: Adapter, reference: Adapter, tabular_model: TabularModel, home_row: Row
) -> None:
    rows = [{name: value for name, value in home_row.items() if name != "class"}] * 2
    missing = [{**home_row, "class": None}] * 2
    assert_same(tabular_model, outcome_of(adapter, tabular_model, rows), reference.send_request(tabular_model, missing))


INVALID: dict[str, tuple[Row, str]] = {
    "null where training had no missing cells": ({"educational-num": None}, "educational-num"),
    "text that is not a number": ({"educational-num": "twelve"}, "educational-num"),
    "a boolean for a number": ({"educational-num": True}, "educational-num"),
    "a number for a boolean": ({"model_x": 1}, "model_x"),
    "an object for a number": ({"class": {}}, "class"),
    "a number for text": ({"Outcome Type": 1}, "Outcome Type"),
    "text for a level that is a number": ({"_u": "two"}, "_u"),
    "text that is not a date": ({"2nd": "yesterday"}, "2nd"),
    "below a declared limit": ({"educational-num": -0.5}, "educational-num"),
    "above a declared limit": ({"educational-num": 212.0}, "educational-num"),
    "a date before a declared minimum": ({"2nd": "1989-12-31"}, "2nd"),
    "an unseen level that is declared an error": ({"_u": 4}, "_u"),
    "an integer too large for a number": ({"class": 10**400}, "class"),
}


@pytest.mark.parametrize(("cells", "name"), INVALID.values(), ids=INVALID.keys())
def test_an_invalid_row_is_refused_with_row_and_field(
    adapter: Adapter, tabular_model: TabularModel, home_row: Row, cells: Row, name: str
) -> None:
    outcome = outcome_of(adapter, tabular_model, [home_row, {**home_row, **cells}])
    assert outcome.status == adapter.invalid
    assert f"row 1, feature '{name}'" in outcome.text


@pytest.mark.parametrize(("cells", "name"), INVALID.values(), ids=INVALID.keys())
def test_a_column_that_is_invalid_in_every_row_is_refused(
    adapter: Adapter, tabular_model: TabularModel, home_row: Row, cells: Row, name: str
) -> None:
    """Protocols in which a column has a single type are included."""
    outcome = outcome_of(adapter, tabular_model, [{**home_row, **cells}] * 3)
    assert outcome.status == adapter.invalid
    assert f"'{name}'" in outcome.text


def test_an_unknown_column_is_refused_with_the_nearest_name(
    adapter: Adapter, tabular_model: TabularModel, home_row: Row
) -> None:
    outcome = outcome_of(adapter, tabular_model, [{**home_row, "Outcome_Type": "x"}])
    assert outcome.status == adapter.invalid
    assert "'Outcome_Type'" in outcome.text
    assert "did you mean 'Outcome Type'?" in outcome.text


def test_a_required_column_that_is_absent_is_an_error(
    adapter: Adapter, tabular_model: TabularModel, home_row: Row
) -> None:
    rows = [{name: value for name, value in home_row.items() if name != "model_x"}]
    outcome = outcome_of(adapter, tabular_model, rows)
    assert outcome.status == adapter.invalid
    assert "'model_x': is absent" in outcome.text


def test_all_errors_are_returned_in_one_response(adapter: Adapter, tabular_model: TabularModel, home_row: Row) -> None:
    rows = [{**home_row, "educational-num": 500}, home_row, {**home_row, "2nd": "never"}]
    outcome = outcome_of(adapter, tabular_model, rows)
    assert "2 of 3 rows are not valid" in outcome.text
    assert "row 0, feature 'educational-num'" in outcome.text
    assert "row 2, feature '2nd'" in outcome.text


def test_rows_over_the_limit_are_refused_or_answered_in_blocks(
    adapter: Adapter, tabular_model: TabularModel, home_row: Row
) -> None:
    outcome = outcome_of(adapter, tabular_model, [home_row] * 2001)
    if adapter.too_many is None:
        assert (outcome.status, len(outcome.numbers)) == (200, 2001)
    else:
        assert outcome.status == adapter.too_many
        assert "rows, expected at most 2000" in outcome.text
