"""Calls that end before their response: deadlines, clients that disconnect, a server that stops.

In this process, with an engine that waits until it is released.
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


class Gated:
    """Wraps the engine of another model; predictions wait until the gate is open."""

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


class Story:
    """A server, a client, and the parts behind the server."""

    def __init__(self, asgi_app: Application, server: GrpcServer, channel: Any, engine: Gated) -> None:
        self.asgi_app, self.server, self.channel, self.engine = asgi_app, server, channel, engine
        self.counters = asgi_app.plane.snapshot.find("income").counters

    def infer(self, rows: int = 1, timeout: float = LONG_S) -> Any:
        request = MESSAGES["ModelInferRequest"](model_name="income")
        request.inputs.add(name="age", datatype="INT32", shape=[rows]).contents.int_contents.extend([40] * rows)
        method = self.channel.unary_unary(f"/{SERVICE}/ModelInfer")
        return method(request.SerializeToString(), timeout=timeout)

    async def begun(self, rows: int = 1) -> Any:
        """A call whose prediction has begun and waits at the gate."""
        self.engine.close()
        call = self.infer(rows)
        assert await asyncio.to_thread(self.engine.called.wait, LONG_S)
        return call

    async def queued(self, rows: int) -> None:
        """Waits until this number of rows is queued."""
        while self.counters.queue_rows != rows:
            await asyncio.sleep(0.005)

    async def health(self) -> Any:
        reply = await health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(service=SERVICE))
        return reply.status


Tell = Callable[[Callable[[Story], Awaitable[None]]], None]


@pytest.fixture
def tell(make_app: Callable[..., Application], tabular_models: list[TabularModel], settings: Settings) -> Tell:
    """Runs a test against a started server."""
    income = next(model for model in tabular_models if model.name == "income")
    engine = Gated(income.engine)

    async def happen(story: Callable[[Story], Awaitable[None]]) -> None:
        model = dataclasses.replace(income, engine=engine)
        asgi_app = make_app([model], dataclasses.replace(settings, batching="on"))
        server = GrpcServer(asgi_app.context)
        port = await server.start("127.0.0.1", 0)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await asyncio.wait_for(story(Story(asgi_app, server, channel, engine)), 3 * LONG_S)
        finally:
            engine.open.set()
            await server.stop()
            asgi_app.plane.close()

    return lambda story: asyncio.run(happen(story))


def test_a_call_past_its_deadline_is_not_predicted(tell: Tell) -> None:
    async def story(setup: Story) -> None:
        first = await setup.begun()
        with pytest.raises(grpc.RpcError) as error:
            await setup.infer(rows=3, timeout=SHORT_S)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await setup.queued(0)
        setup.engine.open.set()
        await first
        await setup.infer(rows=2)
        assert setup.engine.batches == [1, 2]
        assert sum(setup.counters.rejected.values()) == 3

    tell(story)


def test_a_call_after_its_deadline_is_deadline_exceeded(tell: Tell) -> None:
    async def story(setup: Story) -> None:
        setup.engine.close()
        with pytest.raises(grpc.RpcError) as error:
            await setup.infer(rows=3, timeout=0)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert setup.engine.batches == []

    tell(story)


def test_a_large_message_is_refused_while_others_take_the_memory(tell: Tell) -> None:
    async def story(setup: Story) -> None:
        memory, rows = setup.asgi_app.plane.memory, 70_000  # a byte for each
        memory.limit = memory_of_body(rows)
        memory.reserve(1, reserved=0)  # by another request
        with pytest.raises(grpc.RpcError) as error:
            await setup.infer(rows)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "retry-after" in dict(error.value.trailing_metadata())
        await setup.infer(1)  # a small message needs no reservation
        memory.release(1)
        with pytest.raises(grpc.RpcError) as error:  # admitted: more rows than a request may have
            await setup.infer(rows)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert memory.reserved == 0

    tell(story)


async def nothing() -> AsyncIterator[bytes]:
    """The messages of a call that sends none and does not end."""
    await asyncio.sleep(LONG_S)
    yield b""


def test_a_message_that_does_not_arrive_takes_memory_and_no_other_call_waits_for_it(
    tell: Tell, settings: Settings
) -> None:
    async def story(setup: Story) -> None:
        memory = setup.asgi_app.plane.memory
        memory.limit = COPIES * settings.max_body_bytes
        method = setup.channel.stream_unary(f"/{SERVICE}/ModelInfer")
        stalled = [method(nothing(), timeout=LONG_S) for _ in range(3 * MAX_UNRESERVED_READS)]
        await setup.infer()
        codes = [asyncio.ensure_future(call.code()) for call in stalled]
        while sum(code.done() for code in codes) < len(codes) - 1:  # one call keeps the reserved memory
            await asyncio.sleep(0.005)
        assert {code.result() for code in codes if code.done()} == {grpc.StatusCode.UNAVAILABLE}
        assert memory.reserved == memory.limit
        for call in stalled:
            call.cancel()
        await asyncio.gather(*codes, return_exceptions=True)
        while memory.reserved:
            await asyncio.sleep(0.005)

    tell(story)


def test_a_call_without_a_message_is_invalid(tell: Tell) -> None:
    async def empty() -> AsyncIterator[bytes]:
        for message in list[bytes]():
            yield message

    async def story(setup: Story) -> None:
        with pytest.raises(grpc.RpcError) as error:
            await setup.channel.stream_unary(f"/{SERVICE}/ModelInfer")(empty(), timeout=LONG_S)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    tell(story)


def test_a_watch_reports_that_the_server_drains(tell: Tell) -> None:
    async def story(setup: Story) -> None:
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        watch = health_pb2_grpc.HealthStub(setup.channel).Watch(request, timeout=LONG_S)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await setup.server.drain()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()

    tell(story)


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_the_health_service_keeps_no_large_message(tell: Tell, method: str) -> None:
    async def story(setup: Story) -> None:
        request = health_pb2.HealthCheckRequest(service="x" * 5000)
        call = getattr(health_pb2_grpc.HealthStub(setup.channel), method)(request, timeout=LONG_S)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT

    tell(story)


def test_a_cancelled_call_that_waits_is_not_predicted(tell: Tell) -> None:
    async def story(setup: Story) -> None:
        first = await setup.begun()
        second = setup.infer(rows=5)
        third = setup.infer(rows=2)
        await setup.queued(7)
        second.cancel()
        await setup.queued(2)
        setup.engine.open.set()
        await asyncio.gather(first, third)
        assert setup.engine.batches == [1, 2]
        assert setup.counters.rejected == {"client_gone": 5}
        assert setup.asgi_app.context.state.inflight == 0
        assert setup.counters.requests[("grpc", 499)] == 1

    tell(story)


def test_a_server_that_drains_says_so_and_answers_what_is_in_flight(tell: Tell) -> None:
    async def story(setup: Story) -> None:
        assert await setup.health() == health_pb2.HealthCheckResponse.SERVING
        call = await setup.begun()
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

    tell(story)


def test_a_full_queue_has_retry_after(tell: Tell) -> None:
    async def story(setup: Story) -> None:
        setup.asgi_app.plane.snapshot.find("income").batcher.queue_rows = 4
        first = await setup.begun()
        second = setup.infer(rows=4)
        await setup.queued(4)
        with pytest.raises(grpc.RpcError) as error:
            await setup.infer()
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(error.value.trailing_metadata())["retry-after"]) >= 1
        setup.engine.open.set()
        await asyncio.gather(first, second)

    tell(story)


def test_the_key_of_a_request_is_the_start_of_its_tensors() -> None:
    message = MESSAGES["ModelInferRequest"](
        inputs=[{"name": "a", "datatype": "FP64", "shape": [2]}, {"name": "b"}],
        raw_input_contents=[b"1" * 100, b"2" * KEY_BYTES, b"3" * KEY_BYTES],
    )
    whole = b"".join([*(tensor.SerializeToString() for tensor in message.inputs), *message.raw_input_contents])
    assert tensors_key(message) == whole[:KEY_BYTES]
    del message.raw_input_contents[1:]
    assert tensors_key(message) == whole[: whole.index(b"2")]


@pytest.mark.parametrize("name", ["forwarded", "via", "x-forwarded-for", "x-forwarded-port"])
def test_the_metadata_of_a_proxy_are_kept_for_the_access_control(name: str) -> None:
    metadata = metadata_of(SimpleNamespace(invocation_metadata=lambda: ((name, "x"), ("user-agent", "grpc"))))
    assert metadata == {name.encode(): b"x"}
