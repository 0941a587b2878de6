"""The parts of `bench explanations` and `bench intervals` that run without a server and without a training."""

import asyncio
from dataclasses import replace

import numpy as np

from loadtest.bench.clients import run_bundled_client
from loadtest.bench.fast_models import regression
from loadtest.bench.interval_cost import cost
from models import uncertainty
from models.engines import NumpyEngine


def test_the_cost_of_a_scale_is_that_of_both_predictions() -> None:
    model = regression()
    engine = model.engine
    assert isinstance(engine, NumpyEngine)
    network = engine.network
    scores = uncertainty.fit(np.linspace(0, 1, 100))
    scaled = replace(model, uncertainty=scores, scaled_engine=Doubled(engine))
    plain, more = cost(scaled, np.zeros((1, network.inputs), np.float32), rounds=2)
    assert plain > 0
    assert more > 0


class Doubled:
    """An engine with a second output."""

    name, reason = "numpy", "a test"

    def __init__(self, engine: NumpyEngine) -> None:
        self._engine = engine

    def outputs(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([self._engine.outputs(x), np.zeros((len(x), 1), np.float32)], axis=1)


def test_the_bundled_client_sends_the_query() -> None:
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            await run_bundled_client(f"http://127.0.0.1:{port}/predict/a?explain=true", b"{}", 1, 0.0)

    asyncio.run(run())
    assert heads == [b"POST /predict/a?explain=true HTTP/1.1\r\n"]
