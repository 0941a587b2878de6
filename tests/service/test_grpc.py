"""The Open Inference Protocol over gRPC: Triton's client, typed contents, health, errors, and shutdown."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from service.protocols.oip_messages import MESSAGES, SERVICE
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
TEXTS = np.array(["Private", "x", "100 %"], dtype=object)
AGES = np.array([30, 40, 50], np.int32)


def settings_of(store_folder: Path, port: int) -> dict[str, str]:
    return {
        "TABSERVE_STORE": str(store_folder),
        "TABSERVE_WORKERS": "2",
        "TABSERVE_MAX_ROWS": "2000",
        "TABSERVE_MAX_BODY_BYTES": "600000",
        "TABSERVE_DRAIN_S": "1",
        "TABSERVE_GRPC_PORT": str(port),
    }


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Any], store_folder: Path) -> Any:
    port = free_port()
    server = make_server(**settings_of(store_folder, port))
    server.grpc = f"127.0.0.1:{port}"
    until = time.monotonic() + 300
    while server.log.read_text().count("gRPC server listening") < 2:  # wait for both workers
        assert time.monotonic() < until
        time.sleep(0.05)
    return server


@pytest.fixture
def call(server: Any) -> Iterator[Callable[..., Any]]:
    """call(name, message or bytes) calls a method of the service without generated code."""
    with grpc.insecure_channel(server.grpc) as channel:

        def send_request(name: str, message: Any, timeout: float = 60, **metadata: str) -> Any:
            body = message if isinstance(message, bytes) else message.SerializeToString()
            method = channel.unary_unary(f"/{SERVICE}/{name}")
            reply, call = method.with_call(body, timeout=timeout, metadata=[*metadata.items()])
            return MESSAGES[f"{name}Response"].FromString(reply), dict(call.trailing_metadata())

        yield send_request


def triton_inputs() -> list[Any]:
    age, job = triton.InferInput("age", [3, 1], "INT32"), triton.InferInput("job", [3], "BYTES")
    age.set_data_from_numpy(AGES.reshape(3, 1))
    job.set_data_from_numpy(TEXTS)
    return [age, job]


def typed_request(model: str = "income", **more: Any) -> Any:
    """A request with typed contents."""
    request = MESSAGES["ModelInferRequest"](model_name=model, **more)
    age = request.inputs.add(name="age", datatype="INT32", shape=[3])
    age.contents.int_contents.extend(AGES.tolist())
    job = request.inputs.add(name="job", datatype="BYTES", shape=[3])
    job.contents.bytes_contents.extend(text.encode() for text in TEXTS)
    return request


HAS_PARAMETERS = {"ModelMetadataResponse", "RepositoryModelLoadRequest", "RepositoryModelUnloadRequest"}
"""The messages for which only one of the two descriptions has the field `parameters`, which is ignored."""


def test_the_messages_equal_those_of_tritons_client() -> None:
    def descriptor_fields(descriptor: Any) -> set[Any]:
        return {
            (
                field.name,
                field.number,
                field.type,
                field.is_repeated,
                field.message_type and field.message_type.full_name,
            )
            for field in descriptor.fields
        }

    for name, ours in MESSAGES.items():
        theirs = service_pb2.DESCRIPTOR.message_types_by_name[name.partition(".")[0]]
        for inner in name.split(".")[1:]:
            theirs = theirs.nested_types_by_name[inner]
        more = {field[0] for field in descriptor_fields(ours.DESCRIPTOR) ^ descriptor_fields(theirs)}
        assert more == ({"parameters"} if name in HAS_PARAMETERS else set()), name


def test_tritons_client_gets_the_same_predictions_as_over_http(server: Any) -> None:
    with triton.InferenceServerClient(server.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("income", "1")
        assert client.get_server_metadata().name == "tabserve"
        assert [spec.name for spec in client.get_model_metadata("income").inputs] == ["age", "job"]
        assert "income" in {model.name for model in client.get_model_repository_index().models}
        wanted = [triton.InferRequestedOutput("probabilities")]
        result = client.infer("income", triton_inputs(), outputs=wanted, request_id="b")
        assert result.get_response().id == "b"
        assert result.as_numpy("label") is None
        probabilities = result.as_numpy("probabilities")
    import httpx

    rows = [{"age": int(age), "job": job} for age, job in zip(AGES, TEXTS, strict=True)]
    native = httpx.post(f"{server.url}/predict/income", json={"rows": rows}, timeout=60).json()["predictions"]
    expected = [list(entry["probabilities"].values()) for entry in native]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-6)
    (warning,) = json.loads(result.get_response().parameters["warnings"].string_param)
    assert (warning["row"], warning["code"]) == (1, "unseen_level")


def test_tritons_async_client_sends_concurrent_requests(server: Any) -> None:
    async def send_request() -> list[Any]:
        async with triton_aio.InferenceServerClient(server.grpc) as client:
            return await asyncio.gather(*(client.infer("house_class", triton_inputs()) for _ in range(8)))

    results = asyncio.run(send_request())
    assert {tuple(result.as_numpy("label")) for result in results} <= {(a, b, c) for a in C for b in C for c in C}
    assert results[0].as_numpy("probabilities").shape == (3, 3)


C = (1, 2, 5)


def test_typed_inputs_get_typed_outputs(call: Callable[..., Any]) -> None:
    reply, metadata = call("ModelInfer", typed_request(), **{"x-request-id": "mine"})
    label, probabilities = reply.outputs
    assert not reply.raw_output_contents
    assert len(label.contents.bytes_contents) == 3
    assert len(probabilities.contents.fp32_contents) == 6
    assert metadata["x-request-id"] == "mine"
    metadata, _ = call("ModelMetadata", MESSAGES["ModelMetadataRequest"](name="income"))
    assert json.loads(metadata.parameters["classes"].string_param) == ["<=50K", "100 %s"]


def request_without_age() -> Any:
    request = typed_request()
    del request.inputs[0]
    return request


def typed_and_raw_request() -> Any:
    return typed_request(raw_input_contents=[b"", b""])


def request_with_too_many_rows() -> Any:
    request = MESSAGES["ModelInferRequest"](model_name="income")
    request.inputs.add(name="age", datatype="UINT8", shape=[2001])
    request.raw_input_contents.append(bytes(2001))
    return request


@pytest.mark.parametrize(
    ("request_of", "code", "message"),
    [
        (lambda: typed_request("nope"), "NOT_FOUND", "there is no model 'nope'"),
        (lambda: typed_request(model_version="7"), "NOT_FOUND", "no version '7'"),
        (request_without_age, "INVALID_ARGUMENT", "'age': is absent"),
        (typed_and_raw_request, "INVALID_ARGUMENT", "no typed contents"),
        (request_with_too_many_rows, "INVALID_ARGUMENT", "the request has 2001 rows, expected at most 2000"),
        (lambda: b"\xff\xff\xff", "INVALID_ARGUMENT", "it is not a valid ModelInferRequest"),
        (lambda: os.urandom(8) * 90_000, "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)
def test_errors_have_grpc_status_codes(call: Callable[..., Any], request_of: Any, code: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        call("ModelInfer", request_of())
    assert error.value.code().name == code
    assert message in error.value.details()


def test_invalid_messages_never_cause_a_server_error(call: Callable[..., Any]) -> None:
    rng, good = np.random.default_rng(0), typed_request().SerializeToString()
    codes = {}
    for _ in range(150):
        body = bytearray(good)
        for place in rng.integers(0, len(body), 3):
            body[place] = rng.integers(256)
        try:
            call("ModelInfer", bytes(body))
        except grpc.RpcError as error:
            codes[error.code().name] = error.details()
    assert codes.keys() == {"INVALID_ARGUMENT", "NOT_FOUND"}, codes


def test_calls_are_counted_by_model(server: Any, call: Callable[..., Any]) -> None:
    import httpx

    call("ModelInfer", typed_request("house_class"))
    until = time.monotonic() + 300
    wanted = 'tabserve_requests_total{model="house_class",protocol="grpc",status="200",version="1"}'
    while wanted not in httpx.get(f"{server.url}/metrics", timeout=60).text:
        assert time.monotonic() < until
        time.sleep(0.2)


def test_every_worker_listens_on_the_grpc_port(server: Any) -> None:
    port = int(server.grpc.rpartition(":")[2])
    tree = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    listeners = {
        process.pid
        for process in tree
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    assert len(listeners) == 2
    body = typed_request().SerializeToString()
    for _ in range(20):
        with grpc.insecure_channel(server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            assert channel.unary_unary(f"/{SERVICE}/ModelInfer")(body, timeout=60)


def test_a_grpc_port_in_use_stops_the_start(server: Any) -> None:
    environment = {**server.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "import service.app"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "the port is in use" in done.stderr


def test_a_stopping_server_reports_not_serving_and_completes_calls(
    make_server: Callable[..., Any], store_folder: Path
) -> None:
    port = free_port()
    settings = {"TABSERVE_WORKERS": "1", "TABSERVE_DRAIN_S": "3"}
    server = make_server(**settings_of(store_folder, port) | settings)
    address, failures, answered = f"127.0.0.1:{port}", list[str](), [0]
    serving = health_pb2.HealthCheckResponse.SERVING
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60).status == serving
        watched = health.Watch(health_pb2.HealthCheckRequest(), timeout=120)
        assert next(watched).status == serving

        def send_until_unready() -> None:
            with triton.InferenceServerClient(address) as client:
                try:
                    while client.is_server_ready():
                        client.infer("income", triton_inputs())
                        answered[0] += 1
                except InferenceServerException as error:
                    failures.append(str(error))

        sender = threading.Thread(target=send_until_unready)
        sender.start()
        until = time.monotonic() + 300
        while not answered[0] and time.monotonic() < until:
            time.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        sender.join(60)
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert server.process.wait(60) == 0
    assert answered[0]
    assert not failures
