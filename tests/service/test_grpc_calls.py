"""gRPC calls that end early: deadlines, cancelled calls, memory limits, and a draining server.

Server and client run in this process, with an engine that waits until a gate opens.
"""

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from models.tabular_model import TabularModel
from service.grpc_messages import COPIES, MAX_UNRESERVED_READS
from service.grpc_server import GrpcServer, metadata_of, tensors_key
from service.http.asgi import Application
from service.memory_budget import memory_of_body
from service.protocols.oip_messages import MESSAGES, SERVICE
from service.settings import Settings
from service.traffic_split import KEY_BYTES

SHORT_S, LONG_S = 0.2, 60.0


class GatedEngine:
    """A wrapper of an engine whose predictions wait until a gate opens."""

    name = "numpy"
    reason = "gated"

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.open = threading.Event()
        self.open.set()
        self.called = threading.Event()
        self.batches: list[int] = []

    def close(self) -> None:
        self.batches.clear()
        self.called.clear()
        self.open.clear()

    def outputs(self, x: Any) -> Any:
        self.called.set()
        assert self.open.wait(LONG_S)
        self.batches.append(len(x))
        return self.inner.outputs(x)


class GrpcSetup:
    """A gRPC server with a client channel, the application and the engine."""

    def __init__(self, asgi_app: Application, server: GrpcServer, channel: Any, engine: GatedEngine) -> None:
        self.asgi_app, self.server, self.channel, self.engine = asgi_app, server, channel, engine
        self.counters = asgi_app.plane.snapshot.find("income").counters

    def infer(self, rows: int = 1, timeout: float = LONG_S) -> Any:
        request = MESSAGES["ModelInferRequest"](model_name="income")
        request.inputs.add(name="age", datatype="INT32", shape=[rows]).contents.int_contents.extend([40] * rows)
        method = self.channel.unary_unary(f"/{SERVICE}/ModelInfer")
        return method(request.SerializeToString(), timeout=timeout)

    async def start_waiting_call(self, rows: int = 1) -> Any:
        """Start a call and wait until its prediction waits at the gate."""
        self.engine.close()
        call = self.infer(rows)
        assert await asyncio.to_thread(self.engine.called.wait, LONG_S)
        return call

    async def wait_for_queued_rows(self, rows: int) -> None:
        """Wait until this number of rows is queued."""
        while self.counters.queue_rows != rows:
            await asyncio.sleep(0.005)

    async def health(self) -> Any:
        reply = await health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(service=SERVICE))
        return reply.status


RunScenario = Callable[[Callable[[GrpcSetup], Awaitable[None]]], None]


@pytest.fixture
def run_scenario(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], settings: Settings
) -> RunScenario:
    """run_scenario(scenario) runs a coroutine with a started server."""
    income = next(model for model in tabular_models if model.name == "income")
    engine = GatedEngine(income.engine)

    async def run_with_server(scenario: Callable[[GrpcSetup], Awaitable[None]]) -> None:
        model = dataclasses.replace(income, engine=engine)
        asgi_app = make_app([model], dataclasses.replace(settings, batching="on"))
        server = GrpcServer(asgi_app.context)
        port = await server.start("127.0.0.1", 0)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await asyncio.wait_for(scenario(GrpcSetup(asgi_app, server, channel, engine)), 3 * LONG_S)
        finally:
            engine.open.set()
            await server.stop()
            asgi_app.plane.close()

    return lambda scenario: asyncio.run(run_with_server(scenario))


def test_a_call_that_expires_in_the_queue_is_not_predicted(run_scenario: RunScenario) -> None:
    async def scenario(setup: GrpcSetup) -> None:
        first = await setup.start_waiting_call()
        with pytest.raises(grpc.RpcError) as error:
            await setup.infer(rows=3, timeout=SHORT_S)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await setup.wait_for_queued_rows(0)
        setup.engine.open.set()
        await first
        await setup.infer(rows=2)
        assert setup.engine.batches == [1, 2]
        assert sum(setup.counters.rejected.values()) == 3

    run_scenario(scenario)


def test_a_call_without_remaining_time_gets_deadline_exceeded(run_scenario: RunScenario) -> None:
    async def scenario(setup: GrpcSetup) -> None:
        setup.engine.close()
        with pytest.raises(grpc.RpcError) as error:
            await setup.infer(rows=3, timeout=0)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert setup.engine.batches == []

    run_scenario(scenario)


def test_a_large_message_is_refused_while_the_memory_is_reserved(run_scenario: RunScenario) -> None:
    async def scenario(setup: GrpcSetup) -> None:
        memory, rows = setup.asgi_app.plane.memory, 70_000  # one byte per row
        memory.limit = memory_of_body(rows)
        memory.reserve(1, reserved=0)  # memory of another request
        with pytest.raises(grpc.RpcError) as error:
            await setup.infer(rows)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "retry-after" in dict(error.value.trailing_metadata())
        await setup.infer(1)  # a small message needs no reservation
        memory.release(1)
        with pytest.raises(grpc.RpcError) as error:  # the message is admitted and has too many rows
            await setup.infer(rows)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert memory.reserved == 0

    run_scenario(scenario)


async def silent_stream() -> AsyncIterator[bytes]:
    """A message stream that neither sends a message nor ends."""
    await asyncio.sleep(LONG_S)
    yield b""


def test_stalled_messages_do_not_block_other_calls(run_scenario: RunScenario, settings: Settings) -> None:
    async def scenario(setup: GrpcSetup) -> None:
        memory = setup.asgi_app.plane.memory
        memory.limit = COPIES * settings.max_body_bytes
        method = setup.channel.stream_unary(f"/{SERVICE}/ModelInfer")
        stalled = [method(silent_stream(), timeout=LONG_S) for _ in range(3 * MAX_UNRESERVED_READS)]
        await setup.infer()
        codes = [asyncio.ensure_future(call.code()) for call in stalled]
        while sum(code.done() for code in codes) < len(codes) - 1:  # one call holds the reserved memory
            await asyncio.sleep(0.005)
        assert {code.result() for code in codes if code.done()} == {grpc.StatusCode.UNAVAILABLE}
        assert memory.reserved == memory.limit
        for call in stalled:
            call.cancel()
        await asyncio.gather(*codes, return_exceptions=True)
        while memory.reserved:
            await asyncio.sleep(0.005)

    run_scenario(scenario)


def test_a_call_without_a_message_is_invalid(run_scenario: RunScenario) -> None:
    async def empty_stream() -> AsyncIterator[bytes]:
        for message in list[bytes]():
            yield message

    async def scenario(setup: GrpcSetup) -> None:
        with pytest.raises(grpc.RpcError) as error:
            await setup.channel.stream_unary(f"/{SERVICE}/ModelInfer")(empty_stream(), timeout=LONG_S)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    run_scenario(scenario)


def test_a_watch_reports_that_the_server_drains(run_scenario: RunScenario) -> None:
    async def scenario(setup: GrpcSetup) -> None:
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        watch = health_pb2_grpc.HealthStub(setup.channel).Watch(request, timeout=LONG_S)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await setup.server.drain()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()

    run_scenario(scenario)


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_the_health_service_refuses_large_messages(run_scenario: RunScenario, method: str) -> None:
    async def scenario(setup: GrpcSetup) -> None:
        request = health_pb2.HealthCheckRequest(service="x" * 5000)
        call = getattr(health_pb2_grpc.HealthStub(setup.channel), method)(request, timeout=LONG_S)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT

    run_scenario(scenario)


def test_a_cancelled_waiting_call_is_not_predicted(run_scenario: RunScenario) -> None:
    async def scenario(setup: GrpcSetup) -> None:
        first = await setup.start_waiting_call()
        second = setup.infer(rows=5)
        third = setup.infer(rows=2)
        await setup.wait_for_queued_rows(7)
        second.cancel()
        await setup.wait_for_queued_rows(2)
        setup.engine.open.set()
        await asyncio.gather(first, third)
        assert setup.engine.batches == [1, 2]
        assert setup.counters.rejected == {"client_gone": 5}
        assert setup.asgi_app.context.state.inflight == 0
        assert setup.counters.requests[("grpc", 499)] == 1

    run_scenario(scenario)


def test_a_draining_server_reports_not_serving_and_completes_calls(run_scenario: RunScenario) -> None:
    async def scenario(setup: GrpcSetup) -> None:
        assert await setup.health() == health_pb2.HealthCheckResponse.SERVING
        call = await setup.start_waiting_call()
        setup.asgi_app.context.state.begin_draining()
        await setup.server.drain()
        assert await setup.health() == health_pb2.HealthCheckResponse.NOT_SERVING
        ready = setup.channel.unary_unary(f"/{SERVICE}/ServerReady")
        reply = MESSAGES["ServerReadyResponse"].FromString(await ready(b""))
        assert not reply.ready
        assert setup.asgi_app.context.state.inflight == 1
        stopping = asyncio.create_task(setup.server.stop())
        await asyncio.sleep(0)
        setup.engine.open.set()
        assert await call
        await stopping
        with pytest.raises(grpc.RpcError) as error:
            await setup.infer()
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE

    run_scenario(scenario)


def test_a_call_to_a_full_queue_gets_retry_after(run_scenario: RunScenario) -> None:
    async def scenario(setup: GrpcSetup) -> None:
        setup.asgi_app.plane.snapshot.find("income").batcher.queue_rows = 4
        first = await setup.start_waiting_call()
        second = setup.infer(rows=4)
        await setup.wait_for_queued_rows(4)
        with pytest.raises(grpc.RpcError) as error:
            await setup.infer()
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(error.value.trailing_metadata())["retry-after"]) >= 1
        setup.engine.open.set()
        await asyncio.gather(first, second)

    run_scenario(scenario)


def test_the_traffic_key_of_a_request_is_the_start_of_its_tensors() -> None:
    message = MESSAGES["ModelInferRequest"](
        inputs=[{"name": "a", "datatype": "FP64", "shape": [2]}, {"name": "b"}],
        raw_input_contents=[b"1" * 100, b"2" * KEY_BYTES, b"3" * KEY_BYTES],
    )
    whole = b"".join([*(tensor.SerializeToString() for tensor in message.inputs), *message.raw_input_contents])
    assert tensors_key(message) == whole[:KEY_BYTES]
    del message.raw_input_contents[1:]
    assert tensors_key(message) == whole[: whole.index(b"2")]


@pytest.mark.parametrize("name", ["forwarded", "via", "x-forwarded-for", "x-forwarded-port"])
def test_proxy_metadata_are_passed_to_access_control(name: str) -> None:
    metadata = metadata_of(SimpleNamespace(invocation_metadata=lambda: ((name, "x"), ("user-agent", "grpc"))))
    assert metadata == {name.encode(): b"x"}
