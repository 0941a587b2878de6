"""The OpenAPI document is valid and complete, and BentoML's client works with the types of the schema."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import bentoml
import httpx
import jsonschema_rs
import pytest
import schemathesis
from bentoml.exceptions import BentoMLException

from models.feature import Feature, TrainingRange
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from service import errors
from service.errors import ClientDisconnected, RequestError, Unauthorized
from service.http.negotiation import FORMATS
from service.openapi import schemas
from service.openapi.document import document as openapi_document
from service.openapi.responses import ALWAYS, TRANSPORT
from service.settings import Settings

PAGES = {"/models", "/models/{name}", "/livez", "/readyz", "/metrics", "/schema.json"}
PROBLEM = "application/problem+json"


class Operation(NamedTuple):
    path: str
    method: str
    description: Any

    @property
    def responses(self) -> dict[str, Any]:
        responses: dict[str, Any] = self.description["responses"]
        return responses

    @property
    def predicts(self) -> bool:
        return "requestBody" in self.description and self.description["tags"] not in (["Versions"], ["Monitoring"])


@pytest.fixture(scope="module")
def document(tabular_models: list[TabularModel], settings: Settings) -> Any:
    return json.loads(openapi_document(tabular_models, settings, "1.0"))


@pytest.fixture(scope="module")
def operations(document: Any) -> list[Operation]:
    return [
        Operation(path, method, description)
        for path, item in document["paths"].items()
        for method, description in item.items()
    ]


def resolve(document: Any, schema: Any) -> Any:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def path_of(operation: Operation, name: str) -> str:
    return operation.path.replace("{name}", name).replace("{model}", name)


def values_of_key(value: Any, key: str) -> Iterator[Any]:
    """The values of a key at any depth of a JSON value."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from values_of_key(inner, key)


def test_the_document_is_valid_openapi_3_1(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(document).validate()
    for schema in [*values_of_key(document["paths"], "schema"), *document["components"]["schemas"].values()]:
        jsonschema_rs.meta.validate(schema)


def test_every_route_is_described_and_every_reference_is_defined(document: Any, operations: list[Operation]) -> None:
    native = {"/predict/homes", "/predict/house_class", "/predict/income", "/predict/{model}", *PAGES}
    assert native <= set(document["paths"])
    for prefix in ("/v1/models/homes", "/v2/models/homes", "/invocations", "/ping"):
        assert any(operation.path.startswith(prefix) for operation in operations)
    for reference in values_of_key(document, "$ref"):
        assert resolve(document, {"$ref": reference})
    names = [operation.description["operationId"] for operation in operations]
    assert len(set(names)) == len(names)


# Statuses


def test_every_error_status_is_documented(operations: list[Operation]) -> None:
    classes = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, RequestError) and hasattr(kind, "status")
    ]
    documented = {int(status) for operation in operations for status in operation.responses}
    with_keys_only = {Unauthorized.status}  # tests/service/test_key_access.py
    assert {kind.status for kind in classes if kind is not ClientDisconnected} - with_keys_only == documented - {200}
    for operation in operations:
        assert {str(kind.status) for kind in ALWAYS} <= set(operation.responses)
        for kind in TRANSPORT:
            response = operation.responses[str(kind.status)]
            assert PROBLEM in response["content"]
            assert kind.title in response["description"]


def test_prediction_operations_document_all_statuses_of_the_contract(operations: list[Operation]) -> None:
    shared = {"200", "400", "404", "405", "408", "413", "415", "429", "431", "500", "503", "504"}
    for operation in operations:
        if operation.predicts:
            native = {"406", "422"} if operation.path.startswith("/predict/") else set()
            assert set(operation.responses) == shared | native
            assert "Retry-After" in operation.responses["429"]["headers"]
            assert "Allow" in operation.responses["405"]["headers"]


def test_the_operation_of_a_model_has_a_single_format(document: Any) -> None:
    """The operation of a model has a single format, because client generators derive no types from several formats.
    Tables have a separate operation.
    """
    json_format, *tables = [form.media_types[0].decode() for form in FORMATS]
    for path, formats in (("/predict/homes", [json_format]), ("/predict/{model}", tables)):
        operation = document["paths"][path]["post"]
        assert list(operation["requestBody"]["content"]) == formats
        for status, response in operation["responses"].items():
            assert list(response["content"]) == (formats if status == "200" else [PROBLEM])


JSON = {"content-type": "application/json"}
LONG_BODY = str(10**12)
INVALID_REQUESTS: dict[str, tuple[str | None, bytes, dict[str, str]]] = {
    # method (None: the method of the operation), body, headers
    "another method": ("PATCH", b"", {}),
    "invalid JSON": (None, b"{", JSON),
    "an empty object": (None, b"{}", JSON),
    "an empty body": (None, b"", JSON),
    "an unknown coding": (None, b"{}", {**JSON, "content-encoding": "br"}),
    "invalid gzip": (None, b"{}", {**JSON, "content-encoding": "gzip"}),
    "an unknown content type": (None, b"{}", {"content-type": "text/html"}),
    "another charset": (None, b"{}", {"content-type": "application/json; charset=latin-1"}),
    "a long body": (None, b"{}", {**JSON, "content-length": LONG_BODY}),
    "not a number of seconds": (None, b"{}", {**JSON, "x-request-timeout": "soon"}),
    "an expired deadline": (None, b"", {**JSON, "x-request-timeout": "1e-9"}),
    "an unknown Accept": (None, b"{}", {**JSON, "accept": "image/png"}),
    "an unknown model": (None, b"{}", {**JSON, "x-amzn-sagemaker-custom-attributes": "model=nothing"}),
}
MODEL = {"x-amzn-sagemaker-custom-attributes": "model=homes"}


def check_documented(document: Any, operation: Operation, reply: Any) -> None:
    """Assert that an operation documents the status, content type and body keys of a reply."""
    response = operation.responses[str(reply.status)]
    content_type = reply.headers["content-type"].partition(";")[0]
    schema = resolve(document, response["content"][content_type]["schema"])
    if reply.status != 200:
        assert set(schema["required"]) == set(json.loads(reply.content))
    assert ("retry-after" in reply.headers) <= ("Retry-After" in response.get("headers", ()))
    assert ("allow" in reply.headers) == ("Allow" in response.get("headers", ()))


@pytest.mark.parametrize("name", INVALID_REQUESTS)
def test_the_status_of_an_invalid_request_is_documented(
    document: Any, operations: list[Operation], send_asgi: Callable[..., Any], name: str
) -> None:
    method, body, headers = INVALID_REQUESTS[name]
    for operation in operations:
        if operation.path == "/schema.json":  # a route of BentoML, which this application does not have
            continue
        path = path_of(operation, "nothing" if name == "an unknown model" else "homes")
        fields = {**MODEL, **headers}
        if not operation.predicts and method is None:
            fields.pop("content-type", None)
        reply = send_asgi(method or operation.method.upper(), path, body, **fields)
        check_documented(document, operation, reply)


def test_every_documented_status_of_a_prediction_can_occur(
    operations: list[Operation], send_asgi: Callable[..., Any], home_row: dict[str, Any]
) -> None:
    """Statuses that need a slow client, a full queue, an internal error or another server state are excluded."""
    elsewhere = {"200", "408", "429", "431", "500", "503"}
    for operation in operations:
        if not operation.predicts:
            continue
        seen = set()
        if operation.path == "/predict/{model}":  # the operation of tables, which the invalid requests do not use
            continue
        example = json.dumps(operation.description["requestBody"]["content"]["application/json"]["example"]).encode()
        for name, (method, body, headers) in INVALID_REQUESTS.items():
            sent = example if name in ("an expired deadline", "an unknown Accept") else body
            reply = send_asgi(method or "POST", operation.path, sent, **{**MODEL, **headers})
            seen.add(str(reply.status))
        unknown = {"404"} if operation.path != "/invocations" else set()  # only after its model is deleted
        assert set(operation.responses) - elsewhere - unknown == seen - {"200"}, operation.path


@pytest.mark.parametrize("state", ["loading", "draining"])
def test_the_status_of_an_unready_server_is_documented(
    document: Any,
    operations: list[Operation],
    make_app: Callable[..., Any],
    asgi: Callable[..., Any],
    tabular_models: list[TabularModel],
    settings: Settings,
    state: str,
) -> None:
    asgi_app = make_app(tabular_models, settings)
    if state == "loading":
        asgi_app.context.state = type(asgi_app.context.state)()
    else:
        asgi_app.context.state.begin_draining()
    for operation in operations:
        if operation.path == "/schema.json":
            continue
        path = path_of(operation, "homes")
        reply = asyncio.run(asgi(asgi_app, operation.method.upper(), path, b"{}", "", {**MODEL, **JSON}))
        check_documented(document, operation, reply)
        if state == "loading":
            assert (reply.status == 503) == ("503" in operation.responses)
    asgi_app.plane.close()


# Schemas


def test_only_declared_limits_are_in_the_schema(document: Any) -> None:
    columns = document["components"]["schemas"]["Homes" + "Row"]["properties"]
    assert columns["educational-num"]["minimum"] == 0
    assert columns["educational-num"]["maximum"] == 120
    assert columns["educational-num"]["type"] == "number"
    assert columns["class"]["type"] == ["number", "null"]
    assert "minimum" not in columns["class"]
    assert columns["Outcome Type"]["x-levels"] == ["Adoption", "Transfer", ""]
    assert all("enum" not in column and column["title"] == name for name, column in columns.items())
    assert "Accepted and ignored" in columns["id"]["description"]


def test_the_example_of_each_model_works(server: Any) -> None:
    document = httpx.get(f"{server.url}/docs.json", timeout=60).json()
    for path, item in document["paths"].items():
        if path.startswith("/predict/") and path != "/predict/{model}":
            content = item["post"]["requestBody"]["content"]["application/json"]
            reply = httpx.post(server.url + path, json=content["example"], timeout=60)
            assert reply.status_code == 200, reply.text
            right = item["post"]["responses"]["200"]["content"]["application/json"]["example"]
            assert set(reply.json()) == set(right)
            row = resolve(document, resolve(document, content["schema"])["properties"]["rows"]["items"])
            assert set(content["example"]["rows"][0]) <= set(row["properties"])


def test_the_example_of_tables_works(server: Any) -> None:
    operation = httpx.get(f"{server.url}/docs.json", timeout=60).json()["paths"]["/predict/{model}"]["post"]
    name = operation["parameters"][0]["schema"]["default"]
    media_type, content = next(iter(operation["requestBody"]["content"].items()))
    headers = {"content-type": media_type}
    reply = httpx.post(f"{server.url}/predict/{name}", content=content["example"], headers=headers, timeout=60)
    assert reply.status_code == 200
    assert len(reply.text.splitlines()) == len(content["example"].splitlines())


def test_class_labels_are_not_property_names(document: Any) -> None:
    """In generated clients `<=50K` and `>50K` would become the same identifier, and one value would be lost."""
    probabilities = document["components"]["schemas"]["IncomePrediction"]["properties"]["probabilities"]
    assert probabilities["additionalProperties"] == {"type": "number"}
    assert probabilities["x-keys"] == ["<=50K", "100 %s"]
    assert "properties" not in probabilities


def test_columns_with_ambiguous_names_are_additional_properties() -> None:
    names = ["a b", "a_b", "A.B", "c", "%", "größe", "to_dict"]
    features = [Feature(name=name, kind="number", nullable=False, seen=TrainingRange()) for name in names]
    row = schemas.row_schema(FeatureSchema(name="x", task="regression", target="y", features=features))
    assert [*row["properties"]] == ["a b", "c", "größe", "y"]
    assert row["required"] == ["a b", "c", "größe"]
    assert row["additionalProperties"] == {"description": "Further columns: %, A.B, a_b, to_dict"}


def test_client_generators_find_items_content_types_and_defaults(document: Any) -> None:
    """Arrays declare their items, and a body has one content type and a default from which Postman creates a
    request.
    """
    assert all("items" in schema for schema in possible_schemas(document) if schema.get("type") == "array")
    assert document["servers"][0] == {"url": "/", "description": "Without a path prefix"}
    for path, item in document["paths"].items():
        body = item.get("post", {}).get("requestBody")
        if body and path != "/predict/{model}":
            assert list(body["content"]) == ["application/json"]
            assert resolve(document, body["content"]["application/json"]["schema"])["default"]


def possible_schemas(value: Any) -> Iterator[Any]:
    """Yields every object in the document that may be a schema, except examples and defaults."""
    if isinstance(value, dict):
        yield value
        value = [inner for key, inner in value.items() if key not in ("example", "examples", "default")]
    if isinstance(value, list):
        for inner in value:
            yield from possible_schemas(inner)


def test_type_names_are_distinct() -> None:
    names = ["ab", "a_b", "a__b", "a_b_", "house_class", "houseclass"]
    assert len({schemas.type_name(name) for name in names}) == len(names)


def test_a_model_without_golden_rows_is_described_by_its_examples(tabular_model: TabularModel) -> None:
    import dataclasses

    from models.tabular_model import GoldenRows

    feature = Feature(name="a", kind="number", nullable=False, seen=TrainingRange(), example=2)
    schema = FeatureSchema(name="m", task="regression", target="y", features=[feature])
    bare = dataclasses.replace(tabular_model, schema=schema, golden=GoldenRows([], []))
    assert schemas.example_rows(bare) == [{"a": 2}]
    assert b'"/predict/m"' in openapi_document([bare], Settings(), "1")


@pytest.mark.parametrize("which", ["server"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # BentoML's own client
def test_bentomls_client_gets_predictions_and_errors(
    request: pytest.FixtureRequest, which: str, home_row: dict[str, Any]
) -> None:
    with bentoml.SyncHTTPClient(request.getfixturevalue(which).url) as client:
        response = client.predict_homes(rows=[home_row, {**home_row, "class": 7.5}])
        assert len(response["predictions"]) == 2
        assert response["predictions"][1]["warnings"][0]["code"] == "outside_seen"
        assert client.predict_income(rows=[{"age": 30}])["predictions"][0]["probabilities"]
        with pytest.raises(BentoMLException, match="unknown_field"):
            client.predict_homes(rows=[{**home_row, "Class": 1}])
        client._temp_dir.cleanup()  # BentoML does not close these resources explicitly
