"""Any input gets a response in the format of its protocol, and never a 500."""

import json
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from models.rows import validate_rows
from models.tabular_model import TabularModel
from service.errors import RequestError
from service.protocols import invocations, oip_json, oip_rows, tfserving

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["class", "_u", "b64", "columns", "data", "name", "shape", "datatype"]), inner
        )
    ),
    max_leaves=8,
)
KEYS = [
    "instances",
    "inputs",
    "examples",
    "context",
    "signature_name",
    "dataframe_split",
    "dataframe_records",
    "params",
]
DOCUMENTS = st.dictionaries(st.sampled_from(KEYS), JSON_VALUES) | JSON_VALUES
Read = Callable[[TabularModel, bytes], Any]
READERS: dict[str, Read] = {
    "predict": lambda model, body: tfserving.read_predict(model.schema, body, 5).rows,
    "classify": lambda model, body: tfserving.read_examples(model.schema, body, "classify", 5).rows,
    "scoring": lambda model, body: invocations.read(model.schema, body, 5).rows,
    "v2": lambda model, body: oip_rows.validate_inputs(model.schema, oip_json.read(body), 5) and [{}],
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
@given(document=DOCUMENTS)
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_json_is_read_as_rows_or_refused(tabular_model: TabularModel, read: Read, document: Any) -> None:
    body = json.dumps(document).encode("utf-8", "replace")
    refused: RequestError | None = None
    rows: Any = None
    try:
        rows = read(tabular_model, body)
    except RequestError as error:
        refused = error
    if refused is None:
        assert 1 <= len(rows) <= 5
        validate_rows(tabular_model.schema, rows)
    else:
        assert refused.status in (400, 413, 422)
        assert tfserving.error_body(refused)
        assert invocations.error_body(refused)


ROW = {"age": 38, "job": "Private"}
JSON, CSV = {"content_type": "application/json"}, {"content_type": "text/csv"}
NAMED = {"x_amzn_sagemaker_custom_attributes": "model=income"}
TENSORS = [
    {"name": "age", "shape": [2, 1], "datatype": "FP64", "data": [38, 50]},
    {"name": "job", "shape": [2], "datatype": "BYTES", "data": ["Private", "x"]},
]
CAPTURED: dict[str, tuple[str, dict[str, str], list[Any]]] = {
    "native": ("/predict/income", JSON, [{"rows": [ROW, {"age": 50}]}]),
    "tfserving": (
        "/v1/models/income:predict",
        {},
        [
            {"signature_name": "serving_default", "instances": [ROW, {"age": [50]}]},
            {"instances": [[38, "Private"], [50, math.nan]]},
            {"inputs": {"age": [38, 50], "job": [["Private"], [{"b64": "UHJpdmF0ZQ=="}]]}},
        ],
    ),
    "tfserving classify": (
        "/v1/models/income:classify",
        {},
        [{"context": {"job": "Private"}, "examples": [{"age": 38}, {"age": [50]}]}],
    ),
    "scoring": (
        "/invocations",
        {**JSON, **NAMED},
        [
            {"dataframe_split": {"columns": ["age", "job"], "index": [0], "data": [[38, "Private"]]}},
            {"dataframe_records": [ROW, {"age": 50, "job": None}], "params": {"warnings": True}},
            {"inputs": {"age": [38], "job": ["Private"]}},
        ],
    ),
    "scoring csv": ("/invocations", {**CSV, **NAMED}, [b"age,job\n38,Private\n50,\n", b'38,"100 %"\n50,\n']),
    "v2": ("/v2/models/income/infer", JSON, [{"id": "a", "inputs": TENSORS, "outputs": [{"name": "label"}]}]),
}
PIECES = [b"NaN", b"[", b"]", b"{", b"}", b'"', b",", b":", b"\n", b"1e999", b"9" * 5000, b"\xff", rb"\ud800", b"null"]


@st.composite
def mutated_body(draw: st.DrawFn, bodies: list[Any]) -> bytes:
    """A valid body with some bytes changed, removed or inserted."""
    body: Any = draw(st.sampled_from(bodies))
    changed: bytes = body if isinstance(body, bytes) else json.dumps(body).encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(changed)))
        put = draw(st.sampled_from(PIECES) | st.binary(max_size=3))
        changed = changed[:start] + put + changed[start + draw(st.integers(0, 6)) :]
    return changed


@pytest.mark.parametrize(("path", "headers", "bodies"), CAPTURED.values(), ids=CAPTURED.keys())
@given(data=st.data())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_a_mutated_body_is_answered_in_the_format_of_the_protocol(
    send_asgi: Callable[..., Any], path: str, headers: dict[str, str], bodies: list[Any], data: st.DataObject
) -> None:
    reply = send_asgi("POST", path, data.draw(mutated_body(bodies)), **headers)
    assert reply.status in (200, 400, 413, 422)
    prediction_keys = {"predictions", "outputs", "results"}
    error_keys = {"error"} if path.startswith("/v") else {"error_code"} if path == "/invocations" else {"detail"}
    assert set(reply.body) & (prediction_keys if reply.status == 200 else error_keys)


@pytest.mark.parametrize(("path", "headers", "bodies"), CAPTURED.values(), ids=CAPTURED.keys())
def test_the_unmutated_bodies_are_answered_with_200(
    send_asgi: Callable[..., Any], path: str, headers: dict[str, str], bodies: list[Any]
) -> None:
    for body in bodies:
        reply = send_asgi("POST", path, body, **headers)
        assert reply.status == 200, reply.content


# Requests generated from /docs.json


def test_the_examples_of_the_openapi_document_work(server: Any) -> None:
    worked = []
    for path, item in httpx.get(f"{server.url}/docs.json", timeout=60).json()["paths"].items():
        operation = item.get("post", {})
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in content and "{" not in path:  # other operations change versions
            parameters = operation.get("parameters", ())
            headers = {each["name"]: each["schema"]["default"] for each in parameters if each.get("required")}
            reply = httpx.post(server.url + path, json=content["example"], headers=headers, timeout=60)
            assert reply.status_code == 200, (path, reply.text)
            worked.append(path)
    assert {"/v1/models/homes:regress", "/v1/models/income:classify", "/invocations", "/v2/models/homes/infer"} <= {
        *worked
    }


CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def test_every_operation_answers_as_documented(server: Any) -> None:
    """Valid and invalid requests are generated from the document. The status, content type and body of every response
    must be documented.
    """
    document = schemathesis.openapi.from_url(f"{server.url}/docs.json")
    operations: list[Any] = [found.ok() for found in document.get_all_operations() if isinstance(found, Ok)]
    assert {"/predict/homes", "/v1/models/homes:predict", "/invocations", "/v2/models/homes/infer"} <= {
        operation.path for operation in operations
    }
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def send_request(case: Any) -> None:
            response = case.call(timeout=60)
            assert response.status_code != 500  # the timeout in the request may cause a 504
            case.validate_response(response, checks=CHECKS)

        send_request()
