"""The Open Inference Protocol with JSON and binary tensors: Triton's client with a server, formats and errors.

This file has more than 400 lines: JSON and binary requests share their cases, so that both are tested with each.
"""

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from service.http.asgi import Application
from service.protocols import oip_json, oip_messages, oip_signature
from service.protocols.oip_messages import MESSAGES

NAMES = ["educational-num", "Outcome Type", "class", "model_x", "2nd", "_u"]
TYPES = ["FP64", "BYTES", "FP32", "BOOL", "BYTES", "INT64"]
HOMES: list[list[Any]] = [[12.0, "Adoption", 1.5, True, "2013-04-01", 2], [99.0, None, None, False, "2014-01-01", 3]]
"""Two rows of the model `homes`: a common row, and a row with missing cells and a warning."""
INFER = "/v2/models/homes/infer"


def tensors(rows: list[list[Any]] = HOMES) -> list[dict[str, Any]]:
    columns = zip(*rows, strict=True)
    return [
        {"name": name, "datatype": kind, "shape": [len(rows), 1], "data": [[cell] for cell in column]}
        for name, kind, column in zip(NAMES, TYPES, columns, strict=True)
    ]


def triton_inputs(module: Any, **options: Any) -> list[Any]:
    inputs = []
    for name, kind, column in zip(NAMES, TYPES, zip(*HOMES, strict=True), strict=True):
        if kind == "BYTES":
            array: Any = np.array(["NA" if cell is None else cell for cell in column], dtype=object)
        else:
            array = np.array([np.nan if cell is None else cell for cell in column], np.dtype(module_dtype(kind)))
        inputs.append(module.InferInput(name, [2, 1], kind))
        inputs[-1].set_data_from_numpy(array.reshape(2, 1), **options)
    return inputs


def module_dtype(kind: str) -> str:
    return {"FP64": "<f8", "FP32": "<f4", "BOOL": "?", "INT64": "<i8"}[kind]


@pytest.fixture
def send_v2(asgi_app: Application, asgi: Callable[..., Any]) -> Callable[..., Any]:
    def send_request(path: str, body: Any = None, method: str = "POST", **headers: str) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return asyncio.run(asgi(asgi_app, method, path, content, headers=named))

    return send_request


def native_predictions(send_request: Callable[..., Any], rows: list[list[Any]]) -> list[Any]:
    response = send_request("/predict/homes", {"rows": [dict(zip(NAMES, row, strict=True)) for row in rows]})
    predictions: list[Any] = response.body["predictions"]
    return predictions


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_gets_the_predictions_of_the_native_api(server: Any, binary: bool) -> None:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("homes", "1")
        assert client.get_server_metadata()["name"] == "tabserve"
        assert [spec["name"] for spec in client.get_model_metadata("homes")["inputs"]] == NAMES
        assert {"name": "homes", "version": "1", "state": "READY", "reason": ""} in client.get_model_repository_index()
        wanted = [triton.InferRequestedOutput("value", binary_data=binary)]
        inputs = triton_inputs(triton, binary_data=binary)
        result = client.infer("homes", inputs, request_id="a", outputs=wanted, parameters={"missing": "NA"})
        response = result.get_response()
        assert (response["id"], response["model_version"]) == ("a", "1")
        (warning,) = json.loads(response["parameters"]["warnings"])
        assert (warning["row"], warning["field"], warning["code"]) == (1, "educational-num", "outside_seen")
        import httpx

        rows = [dict(zip(NAMES, row, strict=True)) for row in HOMES]
        expected = httpx.post(f"{server.url}/predict/homes", json={"rows": rows}, timeout=60).json()["predictions"]
        np.testing.assert_allclose(result.as_numpy("value"), [entry["value"] for entry in expected], rtol=1e-5)
        with pytest.raises(InferenceServerException, match="did you mean 'homes'"):
            client.infer("home", inputs)


def test_tritons_async_client_gets_labels_and_probabilities(server: Any) -> None:
    async def send_request() -> Any:
        async with triton_aio.InferenceServerClient(server.url.removeprefix("http://")) as client:
            age, job = triton.InferInput("age", [3], "INT32"), triton.InferInput("job", [3], "BYTES")
            age.set_data_from_numpy(np.array([30, 40, 50], np.int32))
            job.set_data_from_numpy(np.array(["Private", "x", "100 %"], dtype=object))
            return await asyncio.gather(*(client.infer(name, [age, job]) for name in ("income", "house_class")))

    income, stars = asyncio.run(send_request())
    classes = np.array([b"<=50K", b"100 %s"])
    assert income.as_numpy("label").tolist() == classes[income.as_numpy("probabilities").argmax(axis=1)].tolist()
    assert stars.as_numpy("label").dtype == np.int64
    assert stars.as_numpy("label").tolist() == np.array([1, 2, 5])[stars.as_numpy("probabilities").argmax(1)].tolist()
    np.testing.assert_allclose(stars.as_numpy("probabilities").sum(axis=1), 1, rtol=1e-5)


def base64_text(text: Any) -> Any:
    return None if text is None else base64.b64encode(text.encode()).decode()


def test_base64_content_of_mlserver_is_decoded(send_v2: Callable[..., Any]) -> None:
    plain, encoded = tensors(), tensors()
    for tensor in encoded:
        if tensor["datatype"] == "BYTES":
            tensor["data"] = [[base64_text(cell)] for (cell,) in tensor["data"]]
            tensor["parameters"] = {"content_type": "base64"}
        else:
            tensor["parameters"] = {"content_type": "np"}
    assert send_v2(INFER, {"inputs": encoded}).body == send_v2(INFER, {"inputs": plain}).body
    one = {"inputs": tensors(HOMES[:1])}
    one["inputs"][1] |= {"data": ["QWRvcHRpb24="], "parameters": {"content_type": "base64"}}  # one row, a flat list
    assert send_v2(INFER, one).body == send_v2(INFER, {"inputs": tensors(HOMES[:1])}).body


@pytest.mark.parametrize("element", ["Adoption!", "Adopt", "größe", "/w==", 5, True])
def test_an_element_that_is_not_base64_of_text_is_refused(send_v2: Callable[..., Any], element: Any) -> None:
    inputs = tensors()
    inputs[1] |= {"data": [["QWRvcHRpb24="], [element]], "parameters": {"content_type": "base64"}}
    reply = send_v2(INFER, {"inputs": inputs})
    assert reply.status == 400
    assert "element 1" in reply.body["error"]
    assert "base64" in reply.body["error"]


def test_base64_content_of_a_number_tensor_is_refused(send_v2: Callable[..., Any]) -> None:
    inputs = tensors()
    inputs[0]["parameters"] = {"content_type": "base64"}
    reply = send_v2(INFER, {"inputs": inputs})
    assert (reply.status, "BYTES" in reply.body["error"]) == (400, True)


@pytest.mark.parametrize("raw", [True, False])
def test_base64_is_decoded_in_grpc_and_binary_tensors(raw: bool) -> None:
    request = MESSAGES["ModelInferRequest"]()
    tensor = request.inputs.add(name="job", datatype="BYTES", shape=[1])
    tensor.parameters["content_type"].string_param = "base64"
    if raw:
        request.raw_input_contents.append(struct.pack("<I", 12) + b"QWRvcHRpb24=")
    else:
        tensor.contents.bytes_contents.append(b"QWRvcHRpb24=")
    assert list(oip_messages.read(request).inputs[0].data) == ["Adoption"]


def test_metadata_describes_the_models(send_v2: Callable[..., Any]) -> None:
    metadata = send_v2("/v2/models/house_class/versions/1", method="GET").body
    assert metadata["versions"] == ["1"]
    assert metadata["properties"]["classes"] == [1, 2, 5]
    assert metadata["outputs"] == [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    ]
    assert "binary_tensor_data" in send_v2("/v2", method="GET").body["extensions"]
    assert "homes" in send_v2("/v2/models", method="GET").body["models"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/nope/infer", 404),
        ("/v2/models/homes/versions/2/infer", 404),
        ("/v2/nope", 404),
        ("/v2/models/homes/config", 404),
        ("/v2/repository/models/homes/unload", 403),
        ("/v2/models/homes", 405),
    ],
)
def test_unknown_addresses_are_refused(send_v2: Callable[..., Any], path: str, status: int) -> None:
    response = send_v2(path, {"inputs": tensors()})
    assert response.status == status
    assert list(response.body) == ["error"]


def test_a_draining_server_is_not_ready(asgi_app: Application, send_v2: Callable[..., Any]) -> None:
    assert send_v2("/v2/health/ready", method="GET").body == {"ready": True}
    asgi_app.context.state.begin_draining()
    assert send_v2("/v2/health/ready", method="GET").status == 503
    assert send_v2("/v2/models/homes/ready", method="GET").status == 503
    assert send_v2("/v2/health/live", method="GET").body == {"live": True}
    assert send_v2(INFER, {"inputs": tensors()}).status == 200


def test_nan_null_and_an_absent_tensor_mean_a_missing_value(send_v2: Callable[..., Any]) -> None:
    inputs = tensors()
    (_, expected) = (entry["value"] for entry in native_predictions(send_v2, HOMES))
    assert send_v2(INFER, {"inputs": inputs}).body["outputs"][0]["data"][1] == expected
    inputs[2]["data"] = [1.5, float("nan")]
    assert send_v2(INFER, {"inputs": inputs}).body["outputs"][0]["data"][1] == expected
    one = tensors(HOMES[1:])
    del one[1:3]
    assert send_v2(INFER, {"inputs": one}).body["outputs"][0]["data"] == [pytest.approx(expected)]  # a single row


def test_only_a_single_common_row_takes_the_fast_path(asgi_app: Application) -> None:
    served = asgi_app.plane.snapshot.find("homes")
    signature = served.compiled(oip_signature.ModelSignature)

    def predict_fast(inputs: list[Any], **parameters: Any) -> Any:
        inference = oip_json.read(json.dumps({"inputs": inputs, "parameters": parameters}).encode())
        row = signature.fast_row(inference)
        return None if row is None else asgi_app.plane.predict_row_fast(served, row, "")

    def with_changed_cell(place: int, cell: Any) -> list[dict[str, Any]]:
        return tensors([[*HOMES[0][:place], cell, *HOMES[0][place + 1 :]]])

    outputs = predict_fast(tensors(HOMES[:1]), binary_data_output=True)
    assert (outputs.primary.shape, served.counters.valid_rows) == ((1, 1), 1)
    above, refused, boolean = with_changed_cell(2, 6.5), with_changed_cell(5, 4), with_changed_cell(0, True)
    for other in (above, refused, boolean, tensors(), tensors(HOMES[:1]) * 2, tensors(HOMES[:1])[1:]):
        assert predict_fast(other) is None
    assert predict_fast(tensors(HOMES[:1]), missing="Adoption") is None
    assert predict_fast(tensors(HOMES[:1]), on_invalid="skip") is None
    assert served.counters.valid_rows == 1


UNUSUAL_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 1, 1.0, "x", "FP64", "BYTES", "FP", [], [1], [[1]], [True], [1.0], [1, 1], [1, True], {}]
)
KEYS = ["name", "datatype", "shape", "data", "parameters"]


@given(st.dictionaries(st.sampled_from(KEYS), UNUSUAL_VALUES) | UNUSUAL_VALUES)
@settings(max_examples=500, deadline=None)
def test_the_fast_path_reads_tensors_of_one_element_like_the_general_path(unusual: Any) -> None:
    common = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1.5]}
    for entry in (unusual, common | unusual if isinstance(unusual, dict) else common):
        single = oip_json.fast_tensor(entry)
        assert single is None or (single, 0) == oip_json.read_tensor(entry, b"", 0)
    assert oip_json.fast_tensor(common) is not None


def test_the_fast_path_writes_a_value_like_the_general_path(send_v2: Callable[..., Any]) -> None:
    inputs = tensors(HOMES[:1])
    short = send_v2(INFER, {"inputs": inputs})
    long = send_v2(INFER, {"inputs": inputs, "outputs": [{"name": "value"}]})
    named = send_v2(INFER, {"inputs": inputs, "id": "7"})
    assert short.body == long.body
    assert named.body == {**short.body, "id": "7"}
    assert list(short.body) == ["model_name", "model_version", "outputs"]


def test_invalid_rows_are_reported_or_skipped(send_v2: Callable[..., Any]) -> None:
    rows = [[*HOMES[0][:5], 7], HOMES[0]]
    refused = send_v2(INFER, {"inputs": tensors(rows)})
    assert refused.status == 400
    assert "row 0, feature '_u': 7 is none of the 3 levels" in refused.body["error"]
    body = send_v2(INFER, {"inputs": tensors(rows), "parameters": {"on_invalid": "skip"}}).body
    first, second = body["outputs"][0]["data"]
    assert first is None
    assert second == native_predictions(send_v2, HOMES[:1])[0]["value"]
    (error,) = json.loads(body["parameters"]["errors"])
    assert (error["row"], error["field"], error["code"]) == (0, "_u", "unseen_level")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": []}, "there are no inputs"),
        ({"inputs": 3}, "'inputs' is missing or not an array"),
        ({"inputs": [5]}, "expected an object"),
        ({"id": 5}, "'id' is not a string"),
        ({"parameters": {"on_invalid": "maybe"}}, "expected fail or skip"),
        ({"outputs": [{"name": "x"}]}, "unknown output 'x', expected value"),
        ({"outputs": [{"name": "value", "parameters": {"classification": 2}}]}, "not supported"),
        ({"shape": [2, 3]}, "holds arrays of different sizes"),
        ({"shape": [-2]}, "is not [rows]"),
        ({"shape": [2**63, 2**63]}, "is not [rows]"),
        ({"shape": [2**62, 2**62]}, "holds"),
        ({"shape": [1]}, "holds"),
        ({"datatype": "FP8"}, "unknown datatype"),
        ({"datatype": "BYTES"}, "does not fit a number column"),
        ({"name": "educational_num"}, "did you mean 'educational-num'"),
        ({"name": "class"}, "the same name"),
        ({"parameters": {"binary_data_size": 16}}, "both data and binary"),
        ({"data": None}, "'data' is missing or not an array"),
    ],
)
def test_errors_are_reported(send_v2: Callable[..., Any], change: dict[str, Any], message: str) -> None:
    body: dict[str, Any] = {"inputs": tensors()}
    if set(change) & {"shape", "datatype", "name", "data"} or "binary_data_size" in str(change):
        body["inputs"][0] |= change
    else:
        body |= change
    response = send_v2(INFER, body)
    assert response.status == 400
    assert message in response.body["error"]


def binary_body(body: dict[str, Any], *raws: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(body).encode()
    return b"".join([head, *raws]), {"Inference_Header_Content_Length": str(len(head))}


def test_binary_and_json_tensors_may_be_mixed(send_v2: Callable[..., Any]) -> None:
    inputs = tensors()
    texts = [b"Adoption", b"-"]
    raws = [struct.pack("<2d", 12, 99), b"".join(struct.pack("<I", len(text)) + text for text in texts)]
    for tensor, raw in zip(inputs, raws, strict=False):
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(raw), "missing": "-"}
    body, headers = binary_body(
        {"inputs": inputs, "outputs": [{"name": "value", "parameters": {"binary_data": True}}]}, *raws
    )
    response = send_v2(INFER, body, content_type="application/octet-stream", **headers)
    assert response.status == 200, response.content
    length = int(response.headers["inference-header-content-length"])
    values = np.frombuffer(response.content[length:], "<f8")
    np.testing.assert_allclose(values, [entry["value"] for entry in native_predictions(send_v2, HOMES)], rtol=1e-6)


@pytest.mark.parametrize(
    ("length", "extra", "size", "message"),
    [
        ("x", b"", 16, "is not valid for a body of"),
        ("99999999", b"", 16, "is not valid for a body of"),
        ("-1", b"", 16, "is not valid for a body of"),
        ("0", b"", 16, "no JSON before"),
        (None, b"!", 16, "1 byte follows"),
        (None, b"", 17, "binary_data_size"),
        (None, b"", -1, "binary_data_size"),
        (None, b"", 8, "expected 16"),
        (None, b"", True, "binary_data_size"),
    ],
)
def test_inconsistent_binary_sizes_are_errors(
    send_v2: Callable[..., Any], length: str | None, extra: bytes, size: int, message: str
) -> None:
    inputs = tensors()
    del inputs[0]["data"]
    inputs[0]["parameters"] = {"binary_data_size": size}
    body, headers = binary_body({"inputs": inputs}, bytes(16) + extra)
    if length is not None:
        headers = {"Inference_Header_Content_Length": length}
    response = send_v2(INFER, body, **headers)
    assert response.status == 400
    assert message in response.body["error"]


def triton_body() -> tuple[bytes, int]:
    """A body encoded by Triton's client, and the length of its JSON."""
    body, length = triton.InferenceServerClient.generate_request_body(
        triton_inputs(triton), parameters={"missing": "NA"}
    )
    return body, length


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_a_mutated_binary_body_never_causes_a_server_error(send_v2: Callable[..., Any], data: st.DataObject) -> None:
    whole, length = triton_body()
    body = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(body), len(body), data.draw(st.integers(0, len(body)))]))
    declared = data.draw(st.sampled_from([length, length, data.draw(st.integers(0, len(body) + 2))]))
    response = send_v2(INFER, bytes(body[:cut]), Inference_Header_Content_Length=str(declared))
    assert response.status in (200, 400, 413)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([*NAMES, *TYPES]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "shape", "data"]), inner),
    max_leaves=8,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(key=st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), at=st.integers(0, 5), value=JSON)
def test_random_json_in_a_tensor_never_causes_a_server_error(
    send_v2: Callable[..., Any], key: str, at: int, value: Any
) -> None:
    inputs = tensors()
    inputs[at][key] = value
    assert send_v2(INFER, {"inputs": inputs}).status in (200, 400, 413)
