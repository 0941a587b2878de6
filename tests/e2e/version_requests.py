"""Requests with the same rows in every protocol, and functions that read version and predictions from the responses."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

Row = dict[str, float]
ONE: list[Row] = [{"a": 1.5, "b": 2.5}]
MANY: list[Row] = [{"a": number / 5, "b": 10 - number / 7} for number in range(40)]
JSON, CSV, NDJSON = "application/json", "text/csv", "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
FIXED = "fixed"  # an alias that the changes do not move
VERSION_HEADER = "x-model-version"


class VersionRequest(NamedTuple):
    """A request and the functions that read its response."""

    name: str
    path: str
    body: bytes
    rows: Sequence[Row]
    values: Callable[[bytes], list[float]]
    version: Callable[[Any], str] | None = None
    content_type: str = JSON
    accept: str = JSON
    fixed: bool = False  # whether the request names the alias FIXED

    def version_of(self, headers: Mapping[str, str], body: bytes) -> str:
        return headers[VERSION_HEADER] if self.version is None else str(self.version(json.loads(body)))


def native_values(body: bytes) -> list[float]:
    return [prediction["value"] for prediction in json.loads(body)["predictions"]]


def plain_array_values(body: bytes) -> list[float]:
    found: list[float] = json.loads(body)["predictions"]
    return found


def oip_values(body: bytes) -> list[float]:
    found: list[float] = json.loads(body)["outputs"][0]["data"]
    return found


def csv_values(body: bytes) -> list[float]:
    return [float(row["value"]) for row in csv.DictReader(io.StringIO(body.decode()))]


def ndjson_values(body: bytes) -> list[float]:
    return [json.loads(line)["value"] for line in body.splitlines()]


def arrow_values(body: bytes) -> list[float]:
    found: list[float] = pa.ipc.open_stream(body).read_all()["value"].to_pylist()
    return found


def body_field(field: str) -> Callable[[Any], str]:
    return lambda content: str(content[field])


def as_csv(rows: Sequence[Row]) -> bytes:
    return "\n".join(["a,b", *(f"{row['a']},{row['b']}" for row in rows)]).encode()


def as_arrow(rows: Sequence[Row]) -> bytes:
    sink, table = io.BytesIO(), pa.Table.from_pylist([*rows])
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def as_oip(rows: Sequence[Row]) -> bytes:
    inputs = [
        {"name": name, "shape": [len(rows)], "datatype": "FP64", "data": [row[name] for row in rows]} for name in "ab"
    ]
    return json.dumps({"inputs": inputs}).encode()


def http_requests() -> list[VersionRequest]:
    """Requests with one row and with a batch, in all protocols over HTTP."""
    found: list[VersionRequest] = []
    for rows in (ONE, MANY):
        native = json.dumps({"rows": rows}).encode()
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        instances = json.dumps({"instances": rows}).encode()
        records = json.dumps({"dataframe_records": rows}).encode()
        path, version_field = "/predict/small", body_field("version")
        found += [
            VersionRequest("native", path, native, rows, native_values, version_field),
            VersionRequest("CSV", path, as_csv(rows), rows, csv_values, None, CSV, CSV),
            VersionRequest("NDJSON", path, lines, rows, ndjson_values, None, NDJSON, NDJSON),
            VersionRequest("Arrow", path, as_arrow(rows), rows, arrow_values, None, ARROW, ARROW),
            VersionRequest("TF Serving", "/v1/models/small:predict", instances, rows, plain_array_values),
            VersionRequest(
                "OIP", "/v2/models/small/infer", as_oip(rows), rows, oip_values, body_field("model_version")
            ),
            VersionRequest("MLflow", "/invocations", records, rows, plain_array_values),
            VersionRequest("alias", f"{path}/aliases/{FIXED}", native, rows, native_values, version_field, fixed=True),
        ]
    return found
