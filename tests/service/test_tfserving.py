"""TF Serving's REST and KServe's v1 protocol, used as in their documentation, with `requests` and a server."""

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from models.feature import Feature, TrainingRange
from models.schema import FeatureSchema
from service.protocols import tfserving

Row = dict[str, Any]


class Client(requests.Session):
    """A client of one server."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def send_request(self, path: str, body: Any) -> requests.Response:
        """Send a request as in TF Serving's examples: the data from json.dumps, without a content type."""
        return self.post(self.url + path, data=body if isinstance(body, bytes) else json.dumps(body), timeout=60)

    def get_path(self, path: str) -> requests.Response:
        return self.get(self.url + path, timeout=60)


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def error_text(reply: requests.Response, status: int) -> str:
    """Assert that a reply is an error in TF Serving's format. Returns its text."""
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/json")
    assert list(reply.json()) == ["error"]
    return str(reply.json()["error"])


# Predicting


def test_row_form_returns_predictions_and_column_form_returns_outputs(client: Client, home_row: Row) -> None:
    rows = client.send_request(
        "/v1/models/homes:predict", {"signature_name": "serving_default", "instances": [home_row] * 3}
    )
    assert rows.status_code == 200
    assert list(rows.json()) == ["predictions"]
    first, *others = rows.json()["predictions"]
    assert others == [first] * 2
    columns = {name: [value] * 3 for name, value in home_row.items()}
    assert client.send_request("/v1/models/homes:predict", {"inputs": columns}).json() == {"outputs": [first] * 3}


def test_several_outputs_are_objects_in_row_form_and_lists_in_column_form(client: Client) -> None:
    rows = client.send_request(
        "/v1/models/income:predict", {"instances": [{"age": 30}, {"age": 50, "job": "Private"}]}
    ).json()
    assert [list(prediction) for prediction in rows["predictions"]] == [["label", "probabilities"]] * 2
    columns = client.send_request(
        "/v1/models/income:predict", {"inputs": {"age": [30, 50], "job": [None, "Private"]}}
    ).json()
    assert list(columns["outputs"]) == ["label", "probabilities"]
    assert columns["outputs"]["label"] == [prediction["label"] for prediction in rows["predictions"]]
    assert columns["outputs"]["probabilities"] == [prediction["probabilities"] for prediction in rows["predictions"]]


def test_classify_returns_pairs_of_label_and_score(client: Client) -> None:
    body = {"context": {"job": "State-gov"}, "examples": [{"age": 30}, {"age": [50]}]}
    results = client.send_request("/v1/models/house_class:classify", body).json()["results"]
    assert [[label for label, _ in pairs] for pairs in results] == [["1", "2", "5"]] * 2
    assert all(math.isclose(sum(score for _, score in pairs), 1, rel_tol=1e-5) for pairs in results)


def test_regress_returns_values(client: Client, home_row: Row) -> None:
    body = {"signature_name": "tensorflow/serving/regress", "examples": [home_row]}
    results = client.send_request("/v1/models/homes:regress", body).json()["results"]
    assert results == client.send_request("/v1/models/homes:predict", {"instances": [home_row]}).json()["predictions"]


def test_tensors_of_one_element_base64_and_nan_are_accepted_as_values(client: Client, home_row: Row) -> None:
    (plain, missing) = client.send_request(
        "/v1/models/homes:predict", {"instances": [home_row, {**home_row, "class": None}]}
    ).json()["predictions"]
    packed = {"b64": base64.b64encode(b"Adoption").decode()}
    forms = [
        {name: [value] for name, value in home_row.items()},
        {**home_row, "Outcome Type": packed},
        {**home_row, "Outcome Type": [packed]},
        list(home_row.values()),
        [[value] for value in home_row.values()],
        {**home_row, "class": math.nan},
        {**home_row, "class": [math.nan]},
    ]
    predictions = client.send_request("/v1/models/homes:predict", {"instances": forms}).json()["predictions"]
    assert predictions == pytest.approx([plain] * 5 + [missing] * 2, rel=1e-5)
    inputs = {name: [[value]] for name, value in home_row.items()} | {"class": [math.nan]}
    assert client.send_request("/v1/models/homes:predict", {"inputs": inputs}).json()["outputs"] == pytest.approx(
        [missing]
    )


def test_nan_in_a_required_column_and_infinity_are_refused(client: Client, home_row: Row) -> None:
    rows = [{**home_row, "educational-num": math.nan}, {**home_row, "class": math.inf}]
    text = error_text(client.send_request("/v1/models/homes:predict", {"instances": rows}), 400)
    assert "row 0, feature 'educational-num': is null" in text
    assert "row 1, feature 'class': is not a finite number" in text


def test_routes_accept_the_served_version_and_ignore_case(client: Client, home_row: Row) -> None:
    body = {"instances": [home_row]}
    for path in (
        "/v1/models/homes/versions/1:predict",
        "/V1/MODELS/homes:PREDICT",
        "/v1/models/homes/versions/01:predict",
    ):
        assert client.send_request(path, body).status_code == 200


UNKNOWN_PATHS = {
    "/v1/models/homes/versions/2:predict": "Servable not found for request: Specific(homes, 2)",
    "/v1/models/homes/labels/stable:predict": "Unrecognized servable version label: stable",
    "/v1/models/home:predict": "Servable not found for request: Latest(home), did you mean homes?",
    "/v1/models/homes/versions/" + "9" * 5000 + ":predict": "Servable not found",
}


@pytest.mark.parametrize(("path", "text"), UNKNOWN_PATHS.items(), ids=lambda text: text[-30:])
def test_unknown_versions_labels_and_models_return_404(client: Client, home_row: Row, path: str, text: str) -> None:
    assert text in error_text(client.send_request(path, {"instances": [home_row]}), 404)
    assert text in error_text(client.get_path(path.removesuffix(":predict")), 404)


REFUSED: dict[str, tuple[str, Any, str]] = {
    "neither form": (":predict", {}, "Missing 'inputs' or 'instances' key"),
    "both forms": (":predict", {"instances": [1], "inputs": {}}, "expected one"),
    "broken": (":predict", b'{"instances": [', "JSON Parse error: "),
    "nothing": (":predict", b"", "JSON Parse error: "),
    "an array": (":predict", [1], "is not an object"),
    "too deep": (":predict", b'{"instances":' + b"[" * 100_000, "JSON Parse error: "),
    "another signature": (":predict", {"signature_name": "x", "instances": [1]}, 'Serving signature name: "x"'),
    "an invalid signature": (":predict", {"signature_name": 3, "instances": [1]}, "must be a string"),
    "no instances": (":predict", {"instances": []}, "is empty"),
    "invalid instances": (":predict", {"instances": {"a": 1}}, "is not a list"),
    "a value for many features": (":predict", {"instances": [1]}, "row 0: a single value, expected an object"),
    "too few values": (":predict", {"instances": [[1, 2]]}, "row 0: 2 values, expected 6: educational-num, "),
    "inputs of different lengths": (":predict", {"inputs": {"class": [1], "_u": [1, 2]}}, "numbers of rows: 1 and 2"),
    "an input that is not a list": (":predict", {"inputs": {"class": 1}}, "input 'class' is not a list"),
    "no inputs": (":predict", {"inputs": {}}, "'inputs' is empty"),
    "inputs without rows": (":predict", {"inputs": {"class": []}}, "'inputs' is empty"),
    "no examples": (":regress", {"instances": [1]}, "key 'examples' is expected and was not found"),
    "an invalid context": (":regress", {"examples": [{}], "context": 3}, "'context' is not an object"),
    "a feature in both": (":regress", {"examples": [{"class": 1}], "context": {"class": 1}}, "is also in 'context'"),
    "another task": (":classify", {"examples": [{}]}, "Expected classification signature"),
}  # fmt: skip


@pytest.mark.parametrize(("method", "body", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_an_invalid_request_returns_an_invalid_argument_error(
    client: Client, method: str, body: Any, text: str
) -> None:
    assert text in error_text(client.send_request(f"/v1/models/homes{method}", body), 400)


def test_wrong_methods_and_malformed_paths_are_refused(client: Client) -> None:
    reply = client.get_path("/v1/models/homes:predict")
    assert "POST" in error_text(reply, 405)
    assert reply.headers["allow"] == "POST"
    assert "Malformed request: /v1/models/homes:explode" in error_text(
        client.send_request("/v1/models/homes:explode", {}), 400
    )
    assert "Malformed request" in error_text(client.get_path("/v1/"), 400)


def test_too_many_rows_get_413_and_an_exceeded_deadline_gets_504(client: Client, home_row: Row) -> None:
    assert "2001 rows" in error_text(
        client.send_request("/v1/models/homes:predict", {"instances": [home_row] * 2001}), 413
    )
    columns = {name: [value] * 2001 for name, value in home_row.items()}
    assert "2001 rows" in error_text(client.send_request("/v1/models/homes:predict", {"inputs": columns}), 413)
    late = client.post(
        client.url + "/v1/models/homes:predict",
        json={"instances": [home_row]},
        headers={"x-request-timeout": "1e-9"},
        timeout=60,
    )
    error_text(late, 504)


def test_warnings_are_in_a_header_of_bounded_size(client: Client, home_row: Row) -> None:
    reply = client.send_request(
        "/v1/models/homes:predict", {"instances": [home_row, {**home_row, "Outcome Type": "\x7f🦊\n"}]}
    )
    (warning,) = json.loads(reply.headers["x-tabserve-warnings"])["warnings"]
    assert (warning["row"], warning["field"], warning["code"]) == (1, "Outcome Type", "unseen_level")
    many = client.send_request("/v1/models/homes:predict", {"instances": [{**home_row, "class": 9}] * 500})
    parsed = json.loads(many.headers["x-tabserve-warnings"])
    assert len(many.headers["x-tabserve-warnings"]) <= 4096
    assert len(parsed["warnings"]) + parsed["omitted"] == 500
    assert (
        "x-tabserve-warnings" not in client.send_request("/v1/models/homes:predict", {"instances": [home_row]}).headers
    )


def test_large_bodies_are_answered(client: Client, home_row: Row) -> None:
    rows = [{**home_row, "id": "x" * 300}] * 1200
    assert len(client.send_request("/v1/models/homes:predict", {"instances": rows}).json()["predictions"]) == 1200


def test_requests_are_counted_by_protocol(client: Client, home_row: Row) -> None:
    client.send_request("/v1/models/homes:predict", {"instances": [home_row]})
    assert (
        'tabserve_requests_total{model="homes",protocol="tfserving",status="200",version="1"}'
        in client.get_path("/metrics").text
    )


# Reading


def test_the_status_has_the_formats_of_tf_serving_and_kserve(client: Client) -> None:
    state = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    right = {"model_version_status": [state], "name": "homes", "ready": True}
    assert client.get_path("/v1/models/homes").json() == right
    assert client.get_path("/v1/models/homes/versions/1").json() == right
    assert client.get_path("/v1/models").json() == {"models": ["homes", "house_class", "income"]}


def test_the_metadata_list_inputs_and_outputs(client: Client) -> None:
    document = client.get_path("/v1/models/homes/metadata").json()
    assert document["model_spec"] == {"name": "homes", "signature_name": "", "version": "1"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "regression"}
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    dtypes = {name: tensor["dtype"] for name, tensor in default["inputs"].items()}
    assert dtypes == {
        "educational-num": "DT_DOUBLE",
        "Outcome Type": "DT_STRING",
        "class": "DT_DOUBLE",
        "model_x": "DT_BOOL",
        "2nd": "DT_STRING",
        "_u": "DT_DOUBLE",
    }
    assert list(default["outputs"]) == ["value"]
    document = client.get_path("/v1/models/house_class/versions/1/metadata").json()
    outputs = document["metadata"]["signature_def"]["signature_def"]["serving_default"]["outputs"]
    assert outputs["label"]["dtype"] == "DT_INT64"
    assert [size["size"] for size in outputs["probabilities"]["tensor_shape"]["dim"]] == ["-1", "3"]
    assert document["metadata"]["tabserve"]["classes"] == [1, 2, 5]


# Reading bodies without a server


@pytest.fixture(scope="module")
def one_feature() -> FeatureSchema:
    feature = Feature(name="x", kind="number", nullable=False, seen=TrainingRange(min=0, max=1))
    return FeatureSchema(name="line", task="regression", target="y", features=[feature])


@pytest.mark.parametrize("instances", [[1.0, 2.0, 5.0], [[1.0], [2.0], [5.0]], [{"x": 1.0}, {"x": [2.0]}, {"x": 5.0}]])
def test_bare_values_are_accepted_for_one_feature(one_feature: FeatureSchema, instances: list[Any]) -> None:
    right = [{"x": 1.0}, {"x": 2.0}, {"x": 5.0}]
    assert tfserving.read_predict(one_feature, json.dumps({"instances": instances}).encode(), 3).rows == right
    if not isinstance(instances[0], dict):
        assert tfserving.read_predict(one_feature, json.dumps({"inputs": instances}).encode(), 3).rows == right
