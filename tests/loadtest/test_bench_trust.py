"""The parts of the benchmarks of explanations, intervals and swaps that need no server and no training."""

import asyncio
from dataclasses import replace

import numpy as np

from loadtest.bench import explanation_load, version_swaps
from loadtest.bench.clients import run_bundled_client
from loadtest.bench.explanation_load import RUNS, LatencyFigures
from loadtest.bench.fast_models import regression
from loadtest.bench.interval_cost import cost
from loadtest.bench.version_swaps import SwapFigures
from loadtest.request_records import RequestRecords
from models import uncertainty
from models.engines import NumpyEngine


def test_cost_of_plain_and_scaled_predictions_is_measured() -> None:
    model = regression()
    engine = model.engine
    assert isinstance(engine, NumpyEngine)
    network = engine.network
    scores = uncertainty.fit(np.linspace(0, 1, 100))
    scaled = replace(model, uncertainty=scores, scaled_engine=EngineWithSecondOutput(engine))
    plain, more = cost(scaled, np.zeros((1, network.inputs), np.float32), rounds=2)
    assert plain > 0
    assert more > 0


class EngineWithSecondOutput:
    """An engine that adds a second output to those of another engine."""

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


def test_table_of_explanations_compares_with_the_run_without_explanations() -> None:
    alone, loaded, other = (
        LatencyFigures(1e-3, p99, 0.5, rate) for p99, rate in ((2e-3, 0.0), (3e-3, 40.0), (4e-3, 0.0))
    )
    found = {name: [figures] * 3 for name, figures in zip(RUNS, (alone, loaded, other), strict=True)}
    assert [line[3] for line in explanation_load.table(found)[1:]] == ["1.00", "1.50", "2.00"]
    assert explanation_load.table(found)[2][-1] == "40"


def test_table_of_swaps_compares_with_the_run_without_swaps() -> None:
    figures = {
        name: [SwapFigures(1e-3, p99, cpu, 4.0, 0.25, 1)] * 2
        for name, p99, cpu in zip(version_swaps.RUNS, (2e-3, 3e-3, 2e-3), (1e-4, 2e-4, 1e-4), strict=True)
    }
    lines = version_swaps.table(figures)
    assert [line[3:] for line in lines[1:]] == [
        ["1.00", "1.00", "4", "250", "2"],
        ["1.50", "2.00", "4", "250", "2"],
        ["1.00", "1.00", "4", "250", "2"],
    ]


def test_requests_that_waited_during_a_promotion_overlap_with_it() -> None:
    due, done = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.5, 2.5, 2.1, 3.5])
    codes, numbers = np.zeros(4, np.int32), np.zeros(4)
    records = RequestRecords(due, numbers, numbers, done, codes, codes, codes, ["good"], ["one"], [], 4.0, start=100.0)
    assert records.overlapping([(102.2, 102.4), (103.6, 104.0)]).tolist() == [False, True, False, False]
    assert not records.overlapping([]).any()
