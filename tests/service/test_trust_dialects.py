"""Intervals, label sets and explanations in other protocols have the same values as in the native API.

This file has more than 400 lines: all protocols are compared with the same predictions.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from models.tabular_model import TabularModel
from service.grpc_server import GrpcServer
from service.http.asgi import Application
from service.openapi.document import document
from service.protocols.oip_messages import MESSAGES, SERVICE
from service.settings import Settings
from tests.service.trusted_models import trusted_models

Row = dict[str, Any]
SendRequest = Callable[..., Any]
SETTINGS = Settings(max_rows=5000, max_evaluations=20_000, predict_route="/vertex/1:predict")
CLARIFY, ATTRIBUTES = "x-amzn-sagemaker-enable-explanations", "x-amzn-sagemaker-custom-attributes"
KINDS = {"number": "numerical"}


@pytest.fixture(scope="module")
def models(tabular_models: list[TabularModel], random_rows: Callable[..., list[Row]]) -> dict[str, TabularModel]:
    return trusted_models(tabular_models, random_rows)


@pytest.fixture(scope="module")
def asgi_app(models: dict[str, TabularModel], make_app: Callable[..., Application]) -> Iterator[Application]:
    asgi_app = make_app([*models.values()], SETTINGS)
    yield asgi_app
    asgi_app.plane.close()


@pytest.fixture(scope="module")
def send_request(asgi_app: Application, asgi: Callable[..., Any]) -> SendRequest:
    """send_request(path, body, query, headers) sends a POST request."""

    def send_request(path: str, body: Any, query: str = "", headers: dict[str, str] | None = None) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return asyncio.run(asgi(asgi_app, "POST", path, content, query, headers))

    return send_request


@pytest.fixture
def rows_for(models: dict[str, TabularModel], random_rows: Callable[..., list[Row]]) -> Callable[..., list[Row]]:
    return lambda name, count: random_rows(models[name].schema, count, np.random.default_rng(6))


def native_predictions(send_request: SendRequest, name: str, rows: list[Row], query: str) -> list[Any]:
    predictions: list[Any] = send_request(f"/predict/{name}", {"rows": rows}, query).body["predictions"]
    return predictions


def tensors(model: TabularModel, rows: list[Row]) -> list[dict[str, Any]]:
    """A tensor for each feature, with JSON values."""
    datatypes = {"number": "FP64", "boolean": "BOOL", "text": "BYTES", "date": "BYTES"}
    found = []
    for feature in model.schema.features:
        kind = feature.level_type if feature.kind == "category" else feature.kind
        data = [row.get(feature.name) for row in rows]
        found.append({"name": feature.name, "datatype": datatypes[kind], "shape": [len(rows)], "data": data})
    return found


def outputs_by_name(reply: Any) -> dict[str, Any]:
    assert reply.status == 200, reply.content
    return {
        output["name"]: np.array(output["data"]).reshape(output["shape"]).tolist() for output in reply.body["outputs"]
    }


# Open Inference Protocol


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("place", ["output", "request"])
def test_an_oip_request_selects_the_ends_of_an_interval(
    send_request: SendRequest,
    models: dict[str, TabularModel],
    rows_for: Callable[..., list[Row]],
    count: int,
    place: str,
) -> None:
    rows, parameters = rows_for("homes", count), {"level": 0.8}
    own = {"parameters": parameters} if place == "output" else {}
    body: dict[str, Any] = {"inputs": tensors(models["homes"], rows)}
    body["outputs"] = [{"name": name, **own} for name in ("value", "low", "high")]
    if place == "request":
        body["parameters"] = parameters
    found = outputs_by_name(send_request("/v2/models/homes/infer", body))
    expected = native_predictions(send_request, "homes", rows, "interval=0.8")
    assert found["value"] == [one["value"] for one in expected]
    assert found["low"] == [one["interval"]["low"] for one in expected]
    assert found["high"] == [one["interval"]["high"] for one in expected]


def test_the_default_level_of_an_oip_interval_is_90_percent(
    send_request: SendRequest, models: dict[str, TabularModel], rows_for: Callable[..., list[Row]]
) -> None:
    rows = rows_for("homes", 2)
    body = {"inputs": tensors(models["homes"], rows), "outputs": [{"name": "high"}]}
    expected = native_predictions(send_request, "homes", rows, "interval=0.9")
    assert outputs_by_name(send_request("/v2/models/homes/infer", body)) == {
        "high": [one["interval"]["high"] for one in expected]
    }


def test_an_oip_request_selects_the_label_set(
    send_request: SendRequest, models: dict[str, TabularModel], rows_for: Callable[..., list[Row]]
) -> None:
    rows, classes = rows_for("income", 3), models["income"].schema.classes
    outputs = [{"name": "label"}, {"name": "set", "parameters": {"level": "0.7"}}]
    reply = send_request("/v2/models/income/infer", {"inputs": tensors(models["income"], rows), "outputs": outputs})
    expected = native_predictions(send_request, "income", rows, "set=0.7")
    assert classes is not None
    assert outputs_by_name(reply)["set"] == [[label in one["set"]["labels"] for label in classes] for one in expected]


@pytest.mark.parametrize("mode", [True, "fast"])
@pytest.mark.parametrize("name", ["homes", "income"])
def test_an_oip_request_selects_the_explanation(
    send_request: SendRequest, models: dict[str, TabularModel], rows_for: Callable[..., list[Row]], mode: Any, name: str
) -> None:
    rows = rows_for(name, 2)
    body = {"inputs": tensors(models[name], rows), "parameters": {"explain": mode}}
    reply = send_request(
        f"/v2/models/{name}/infer", {**body, "outputs": [{"name": "baseline"}, {"name": "contributions"}]}
    )
    found = outputs_by_name(reply)
    expected = [
        one["explanation"] for one in native_predictions(send_request, name, rows, f"explain={str(mode).lower()}")
    ]
    assert found["baseline"] == [one["baseline"] for one in expected]
    assert found["contributions"] == [[*one["contributions"].values()] for one in expected]


def test_oip_metadata_lists_the_optional_outputs(
    asgi_app: Application, asgi: Callable[..., Any], models: dict[str, TabularModel]
) -> None:
    def parameters_of_output(name: str) -> Any:
        return asyncio.run(asgi(asgi_app, "GET", f"/v2/models/{name}")).body["properties"]

    assert [output["name"] for output in parameters_of_output("homes")["optional_outputs"]] == [
        *("low", "high", "baseline", "contributions")
    ]
    width = len(models["income"].schema.features)
    assert {"name": "contributions", "datatype": "FP64", "shape": [-1, width]} in parameters_of_output("income")[
        "optional_outputs"
    ]
    assert "optional_outputs" not in parameters_of_output("old")


def test_grpc_returns_the_same_optional_outputs(
    asgi_app: Application,
    send_request: SendRequest,
    models: dict[str, TabularModel],
    rows_for: Callable[..., list[Row]],
) -> None:
    rows = rows_for("income", 2)
    expected = native_predictions(send_request, "income", rows, "set=0.7&explain=fast")
    request = MESSAGES["ModelInferRequest"](model_name="income")
    fields = {"FP64": "fp64_contents", "BOOL": "bool_contents", "BYTES": "bytes_contents"}
    for tensor in tensors(models["income"], rows):
        added = request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        data = [one.encode() if isinstance(one, str) else one for one in tensor["data"]]
        getattr(added.contents, fields[tensor["datatype"]]).extend(data)
    request.outputs.add(name="set").parameters["level"].double_param = 0.7
    request.outputs.add(name="contributions").parameters["explain"].string_param = "fast"

    async def infer() -> Any:
        server = GrpcServer(asgi_app.context)
        port = await server.start("127.0.0.1", 0)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
                return MESSAGES["ModelInferResponse"].FromString(await method(request.SerializeToString(), timeout=60))
        finally:
            await server.stop()

    in_set, contributions = asyncio.run(infer()).outputs
    classes = models["income"].schema.classes or []
    assert list(in_set.contents.bool_contents) == [
        label in one["set"]["labels"] for one in expected for label in classes
    ]
    assert list(contributions.contents.fp64_contents) == [
        value for one in expected for value in one["explanation"]["contributions"].values()
    ]


@pytest.mark.parametrize(
    ("model", "outputs", "message"),
    [
        ("homes", [{"name": "low", "parameters": {"level": 2}}], "2 is not a level between 0 and 1"),
        ("homes", [{"name": "low", "parameters": {"level": True}}], "true is not a level between 0 and 1"),
        ("homes", [{"name": "low", "parameters": {"level": 0.9999}}], "the largest level is 0.995"),
        ("homes", [{"name": "low", "parameters": {"level": 0.8}}, {"name": "high"}], "expected one"),
        ("homes", [{"name": "contributions", "parameters": {"explain": "quickly"}}], "expected true, fast or false"),
        ("homes", [{"name": "contributions", "parameters": {"explain": False}}], "contradicts"),
        ("homes", [{"name": "set"}], "this model is a regression"),
        ("homes", [{"name": "lower"}], "expected value, low, high, baseline, contributions"),
        ("income", [{"name": "low"}], "this model classifies"),
        ("old", [{"name": "low"}], "old:1 was stored without uncertainty"),
        ("old", [{"name": "baseline"}], "old:1 was stored without a background"),
    ],
)
def test_oip_outputs_that_cannot_be_computed_are_refused(
    send_request: SendRequest,
    models: dict[str, TabularModel],
    rows_for: Callable[..., list[Row]],
    model: str,
    outputs: list[Any],
    message: str,
) -> None:
    body = {"inputs": tensors(models[model], rows_for(model, 1)), "outputs": outputs}
    reply = send_request(f"/v2/models/{model}/infer", body)
    assert reply.status == 400
    assert message in reply.body["error"]


# KServe v1


@pytest.mark.parametrize("name", ["homes", "income"])
@pytest.mark.parametrize("path", ["/v1/models/{}:explain", "/v1/models/{}/versions/1:EXPLAIN"])
def test_kserve_explanations_are_returned_with_the_predictions(
    send_request: SendRequest, rows_for: Callable[..., list[Row]], name: str, path: str
) -> None:
    rows = rows_for(name, 3)
    body = {"instances": rows}
    found = send_request(path.format(name), body).body
    assert [*found] == ["predictions", "explanations"]
    assert found["predictions"] == send_request(f"/v1/models/{name}:predict", body).body["predictions"]
    assert found["explanations"] == [
        one["explanation"] for one in native_predictions(send_request, name, rows, "explain=true")
    ]
    fast = send_request(path.format(name), {**body, "parameters": {"explain": "fast"}}).body
    assert fast["explanations"] == [
        one["explanation"] for one in native_predictions(send_request, name, rows, "explain=fast")
    ]


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("homes", {"parameters": {"explain": "much"}}, "expected true, fast or false"),
        ("homes", {"parameters": {"explain": False}}, "use :predict"),
        ("homes", {"parameters": []}, "'parameters' is an array"),
        ("old", {}, "old:1 was stored without a background"),
    ],
)
def test_invalid_kserve_explanations_are_refused(
    send_request: SendRequest, rows_for: Callable[..., list[Row]], model: str, more: dict[str, Any], message: str
) -> None:
    reply = send_request(f"/v1/models/{model}:explain", {"instances": rows_for(model, 1), **more})
    assert reply.status == 400
    assert message in reply.body["error"]


def test_the_limit_of_evaluations_applies_in_every_protocol(
    send_request: SendRequest, models: dict[str, TabularModel], rows_for: Callable[..., list[Row]]
) -> None:
    rows = rows_for("homes", 100)
    header = {ATTRIBUTES: "model=homes"}
    oip = {"inputs": tensors(models["homes"], rows), "outputs": [{"name": "baseline"}]}
    replies = [
        send_request("/v1/models/homes:explain", {"instances": rows}),
        send_request("/v2/models/homes/infer", oip),
        send_request("/vertex/1:explain", {"instances": rows}, "", header),
        send_request("/invocations", {"instances": rows}, "", {**header, CLARIFY: "`true`"}),
    ]
    for reply in replies:
        assert reply.status == 400
        assert "the limit is 20000" in reply.content.decode()


# MLflow, Vertex AI, SageMaker


@pytest.mark.parametrize("path", ["/invocations", "/vertex/1:predict"])
@pytest.mark.parametrize("key", ["parameters", "params"])
def test_interval_bounds_have_the_names_of_vertex_ai(
    send_request: SendRequest, rows_for: Callable[..., list[Row]], path: str, key: str
) -> None:
    rows = rows_for("homes", 2)
    expected = native_predictions(send_request, "homes", rows, "interval=0.9")
    body = {"instances": rows, key: {"interval": 0.9}}
    found = send_request(path, body, "", {ATTRIBUTES: "model=homes"}).body["predictions"]
    assert found == [
        {"value": one["value"], "lower_bound": one["interval"]["low"], "upper_bound": one["interval"]["high"]}
        for one in expected
    ]


def test_levels_label_sets_and_explanations_equal_those_of_the_native_api(
    send_request: SendRequest, rows_for: Callable[..., list[Row]]
) -> None:
    rows = rows_for("homes", 2)
    parameters = {"interval": [0.5, 0.9], "explain": "fast"}
    reply = send_request(
        "/vertex/1:predict", {"instances": rows, "parameters": parameters}, "", {ATTRIBUTES: "model=homes"}
    )
    assert reply.body["predictions"] == native_predictions(send_request, "homes", rows, "interval=0.5,0.9&explain=fast")
    rows = rows_for("income", 2)
    body = {"instances": rows, "parameters": {"set": 0.7}}
    reply = send_request("/invocations", body, "", {ATTRIBUTES: "model=income"})
    assert reply.body["predictions"] == native_predictions(send_request, "income", rows, "set=0.7")


@pytest.mark.parametrize("name", ["homes", "income"])
def test_vertex_ai_explanations_have_attributions(
    send_request: SendRequest, models: dict[str, TabularModel], rows_for: Callable[..., list[Row]], name: str
) -> None:
    rows, header = rows_for(name, 2), {ATTRIBUTES: f"model={name}"}
    found = send_request("/vertex/1:explain", {"instances": rows}, "", header).body
    assert (
        found["predictions"] == send_request("/vertex/1:predict", {"instances": rows}, "", header).body["predictions"]
    )
    expected = native_predictions(send_request, name, rows, "explain=true")
    assert len(found["explanations"]) == len(rows)
    for explanation, one in zip(found["explanations"], expected, strict=True):
        (attribution,) = explanation["attributions"]
        assert attribution["featureAttributions"] == one["explanation"]["contributions"]
        assert attribution["baselineOutputValue"] == one["explanation"]["baseline"]
        if name == "homes":
            assert attribution["instanceOutputValue"] == one["value"]
            assert "outputIndex" not in attribution
        else:
            classes = models[name].schema.classes or []
            assert attribution["outputIndex"] == [classes.index(one["label"])]
            assert attribution["outputDisplayName"] == str(one["label"])
            assert attribution["instanceOutputValue"] == one["probabilities"][str(one["label"])]


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_sagemaker_clarify_responses_contain_attributions(
    send_request: SendRequest, models: dict[str, TabularModel], rows_for: Callable[..., list[Row]], accept: str
) -> None:
    rows = rows_for("homes", 2)
    body, headers = {"instances": rows}, {ATTRIBUTES: "model=homes", "accept": accept}
    plain = send_request("/invocations", body, "", headers)
    reply = send_request("/invocations", body, "", {**headers, CLARIFY: "`true`"})
    assert reply.headers["content-type"] == "application/json"
    assert reply.body["version"] == "1.0"
    assert reply.body["predictions"] == {"content_type": plain.headers["content-type"], "data": plain.content.decode()}
    expected = native_predictions(send_request, "homes", rows, "explain=true")
    for found, one in zip(reply.body["explanations"]["kernel_shap"], expected, strict=True):
        contributions = one["explanation"]["contributions"]
        assert {entry["feature_header"]: entry["attributions"][0]["attribution"] for entry in found} == {
            name: [value] for name, value in contributions.items()
        }
        kinds = [KINDS.get(feature.kind, "categorical") for feature in models["homes"].schema.features]
        assert [entry["feature_type"] for entry in found] == kinds
    without = send_request("/invocations", body, "", {**headers, CLARIFY: "`false`"}).body
    assert without == {**reply.body, "explanations": {}}


def test_custom_attributes_request_intervals_in_csv_responses(
    send_request: SendRequest, models: dict[str, TabularModel], rows_for: Callable[..., list[Row]]
) -> None:
    row = rows_for("homes", 1)[0]
    names = [feature.name for feature in models["homes"].schema.features]
    text = ",".join(names) + "\n" + ",".join("" if row.get(name) is None else str(row[name]) for name in names)
    headers = {ATTRIBUTES: "model=homes;interval=0.8", "content-type": "text/csv", "accept": "text/csv"}
    reply = send_request("/invocations", text.encode(), "", headers)
    as_json = {"content-type": "text/csv", "accept": "application/json"}
    (expected,) = send_request("/predict/homes", text.encode(), "interval=0.8", as_json).body["predictions"]
    ends = expected["interval"]
    assert [*map(float, reply.content.decode().split(","))] == [expected["value"], ends["low"], ends["high"]]


@pytest.mark.parametrize(
    ("model", "headers", "parameters", "message"),
    [
        ("homes", {CLARIFY: "[0]>`0.8`"}, {}, "'[0]>`0.8`' is not supported"),
        ("homes", {}, {"interval": 7}, "7 is not a level"),
        ("homes", {}, {"set": 0.9}, "this model is a regression"),
        ("old", {}, {"interval": 0.9}, "old:1 was stored without uncertainty"),
        ("old", {CLARIFY: "`true`"}, {}, "old:1 was stored without a background"),
    ],
)
def test_invocations_refuse_unavailable_outputs(
    send_request: SendRequest,
    rows_for: Callable[..., list[Row]],
    model: str,
    headers: dict[str, str],
    parameters: dict[str, Any],
    message: str,
) -> None:
    body = {"instances": rows_for(model, 1), "parameters": parameters}
    reply = send_request("/invocations", body, "", {ATTRIBUTES: f"model={model}", **headers})
    assert reply.status == 400
    assert message in reply.body["message"]


# The OpenAPI document


def test_the_openapi_document_describes_the_optional_outputs(models: dict[str, TabularModel]) -> None:
    described = json.loads(document([*models.values()], SETTINGS, "1.0"))["paths"]
    assert {"/v1/models/homes:explain", "/vertex/1:explain"} <= described.keys()
    assert "/v1/models/old:explain" not in described
    assert "low, high, baseline, contributions" in described["/v2/models/homes/infer"]["post"]["description"]
    invocations = described["/invocations"]["post"]
    properties = invocations["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert [*properties["parameters"]["properties"]] == ["interval", "set", "explain"]
    assert CLARIFY in [parameter["name"] for parameter in invocations["parameters"]]


def test_the_document_of_versions_without_optional_outputs_describes_none(models: dict[str, TabularModel]) -> None:
    text = document([models["old"]], SETTINGS, "1.0").decode()
    assert ":explain" not in text
    assert CLARIFY not in text
    assert '"parameters":{"type":"object","properties"' not in text
