"""Streamed bodies of clients that send before they read, are slow, disconnect or exceed a limit.

This file has more than 400 lines: the tests share one client and one application.
"""

import asyncio
import dataclasses
import errno
import http.client
import io
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.formats import parquet_decoder
from models.tabular_model import TabularModel
from service.http import response_buffer, table_handler
from service.http.asgi import Application
from service.settings import Settings

LINE, HEAD = b"20,Private\n", b"age,job\n"
TIMEOUT_S = 120.0
"""The timeout of requests, which even a slow machine does not exceed; the tests advance the clock instead of
waiting.
"""
CSV = {"content-type": "text/csv"}


# Against a real server


def test_curl_sends_a_csv_file_and_receives_a_csv_file(server: Any, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    table, predictions = tmp_path / "rows.csv", tmp_path / "predictions.csv"
    for rows in (3, 100_000):  # the server reads one body as a whole and the other body in blocks
        table.write_bytes(HEAD + LINE * rows)
        command = [curl, "-sS", "--fail", "--max-time", "60", "-H", "Content-Type: text/csv", "-o", str(predictions)]
        done = subprocess.run(
            [*command, "--data-binary", f"@{table}", f"{server.url}/predict/income"], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        lines = predictions.read_text().splitlines()
        assert lines[0] == "label,probability_<=50K,probability_100 %s,warnings,error"
        assert len(lines) == rows + 1
        assert lines[1] == lines[-1]


def test_a_client_may_send_everything_before_it_reads(server: Any) -> None:
    rows = 600_000  # the response has 40 MB, more than sockets and buffers can hold
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    connection.request("POST", "/predict/income", HEAD + LINE * rows, {**CSV, "accept": "application/x-ndjson"})
    reply = connection.getresponse()
    assert reply.status == 200
    assert sum(part.count(b"\n") for part in iter(lambda: reply.read(1 << 20), b"")) == rows
    connection.request("GET", "/livez")  # the connection can be used again
    assert connection.getresponse().read() == b'{"status":"ok"}'
    connection.close()


def test_a_client_may_read_while_it_sends(server: Any) -> None:
    def body() -> Iterator[bytes]:
        yield HEAD
        for _ in range(40):
            yield LINE * 10_000

    headers = {**CSV, "accept": "application/json"}
    with httpx.stream("POST", f"{server.url}/predict/income", content=body(), headers=headers, timeout=300) as reply:
        assert len(json.loads(reply.read())["predictions"]) == 400_000


def test_large_parquet_and_arrow_bodies_are_answered_in_their_format(server: Any) -> None:
    rows = 50_000
    table = pa.table({"age": np.full(rows, 20.0, dtype=np.float32), "job": ["Private"] * rows})
    sinks = {"arrow": pa.BufferOutputStream(), "parquet": pa.BufferOutputStream()}
    with pa.ipc.new_stream(sinks["arrow"], table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)
    pq.write_table(table, sinks["parquet"])
    kinds = {"arrow": "application/vnd.apache.arrow.stream", "parquet": "application/vnd.apache.parquet"}
    for form, sink in sinks.items():
        reply = httpx.post(
            f"{server.url}/predict/income",
            content=sink.getvalue().to_pybytes(),
            headers={"content-type": kinds[form]},
            timeout=300,
        )
        content = pa.BufferReader(reply.content)
        predictions = pa.ipc.open_stream(content).read_all() if form == "arrow" else pq.read_table(content)
        assert predictions.num_rows == rows
        assert predictions.column("error").null_count == rows
        assert len(set(predictions.column("label").to_pylist())) == 1


# The ASGI application, with simulated clients


class Client:
    """A simulated client: the pieces of its body, and the messages that it receives."""

    def __init__(self, pieces: Sequence[Any]) -> None:
        self.pieces = list(pieces)
        self.sent: list[Any] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self.aborted = False

    async def receive(self) -> Any:
        if not self.pieces:
            await asyncio.sleep(3600)
        piece = self.pieces.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces) and self.pieces[-1] != b"end"}

    async def send(self, message: Any) -> None:
        # As in a server, only parts of the response body wait for the client
        if message["type"] == "http.response.body":
            await self.taking.wait()
        self.sent.append(message)

    def abort(self, send: object) -> None:
        self.aborted = True

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def content(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def finished(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", False)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the rows of a block and the bytes of the response buffer to a quarter."""
    monkeypatch.setattr(table_handler, "BLOCK_ROWS", table_handler.BLOCK_ROWS // 4)
    monkeypatch.setattr(response_buffer, "MAX_BUFFERED_BYTES", response_buffer.MAX_BUFFERED_BYTES // 4)


@pytest.fixture
def asgi_app(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], settings: Settings, small_blocks: None
) -> Iterator[Application]:
    asgi_app = make_app(tabular_models, dataclasses.replace(settings, max_rows=10, timeout_s=TIMEOUT_S))
    yield asgi_app
    asgi_app.plane.close()


def pass_timeout() -> None:
    """Advance the clock of the event loop, so that waits for clients time out immediately."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + TIMEOUT_S  # type: ignore[method-assign]


async def send_request(asgi_app: Application, client: Client, http_version: str = "1.1", **more: str) -> None:
    headers = [(name.encode(), value.encode()) for name, value in {**CSV, **more}.items()]
    scope: Any = {"type": "http", "method": "POST", "path": "/predict/income", "query_string": b"", "headers": headers}
    scope |= {"http_version": http_version, "abort": client.abort}
    await asgi_app(scope, client.receive, client.send)


def body_in_blocks(count: int) -> list[bytes]:
    return [HEAD, *[LINE * table_handler.BLOCK_ROWS] * count]


def test_a_stalled_body_gets_408(asgi_app: Application) -> None:
    async def scenario() -> None:
        for pieces, received in (([HEAD, LINE], 1), (body_in_blocks(60), 58)):
            client = Client([*pieces, b"end"])
            client.receive = stalled(client.receive, received)  # type: ignore[method-assign]
            await send_request(asgi_app, client)
            assert client.status == 408

    asyncio.run(scenario())


def test_without_disk_space_the_response_starts_early_and_an_error_aborts_the_connection(
    asgi_app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_create(**options: Any) -> Any:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail_to_create)

    async def scenario() -> None:
        whole = Client(body_in_blocks(100))
        await send_request(asgi_app, whole, accept="application/x-ndjson")
        assert (whole.status, whole.finished) == (200, True)
        assert whole.content.count(b"\n") == 100 * table_handler.BLOCK_ROWS
        cut = Client([*body_in_blocks(100), b"end"])
        cut.receive = stalled(cut.receive, 90)  # type: ignore[method-assign]
        await send_request(asgi_app, cut, accept="application/x-ndjson")
        assert (cut.status, cut.finished, cut.aborted) == (200, False, True)
        assert json.loads(cut.content.splitlines()[-1])["error"]["title"] == "Body too slow"

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [60_000, 150_000])
def test_a_parquet_file_without_disk_space_gets_503_and_leaves_no_file(
    make_app: Callable[..., Application],
    tabular_models: list[TabularModel],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    # A timeout that is generous for slow machines
    asgi_app = make_app(tabular_models, dataclasses.replace(settings, max_rows=10, timeout_s=60))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(parquet_decoder, "SPOOLED_BYTES", 1000)
    numbers = np.random.default_rng(0).random(30_000)
    sink = io.BytesIO()
    pq.write_table(pa.table({"age": numbers}), sink)
    headers = {"content-type": "application/vnd.apache.parquet"}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    client, again = Client([sink.getvalue()]), Client([sink.getvalue()])

    async def scenario() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # limits the size of every file
        try:
            await send_request(asgi_app, client, **headers)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not [*tmp_path.iterdir()]
        await send_request(asgi_app, again, **headers)

    asyncio.run(scenario())  # the batcher belongs to one event loop
    asgi_app.plane.close()
    assert client.status == 503
    assert "cannot be written (File too large)" in json.loads(client.content)["detail"]
    assert again.status == 200
    assert asgi_app.plane.memory.reserved == 0


def test_nothing_is_sent_before_the_body_is_complete(asgi_app: Application) -> None:
    """Some clients, such as nginx, stop sending the body once they have received the head of a response."""

    async def scenario() -> None:
        client = Client(body_in_blocks(100))
        receive = client.receive

        async def receive_before_anything_is_sent() -> Any:
            assert not client.sent
            return await receive()

        client.receive = receive_before_anything_is_sent  # type: ignore[method-assign]
        await send_request(asgi_app, client, accept="application/x-ndjson")
        assert client.finished
        assert client.content.count(b"\n") == 100 * table_handler.BLOCK_ROWS

    asyncio.run(scenario())


def test_a_response_to_http_1_0_has_a_content_length(asgi_app: Application) -> None:
    client = Client(body_in_blocks(100))
    asyncio.run(send_request(asgi_app, client, http_version="1.0", accept="application/x-ndjson"))
    assert dict(client.sent[0]["headers"])[b"content-length"] == b"%d" % len(client.content)
    assert client.content.count(b"\n") == 100 * table_handler.BLOCK_ROWS


def stalled(receive: Callable[[], Any], after: int) -> Callable[[], Any]:
    """A wrapper around `receive` that returns no message after the first `after` messages."""
    left = after

    async def slow() -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            pass_timeout()
            await asyncio.sleep(3600)
        message = await receive()
        message["more_body"] = True
        return message

    return slow


def test_the_processing_stops_when_the_client_disconnects(asgi_app: Application) -> None:
    client = Client([*body_in_blocks(60), None])
    asyncio.run(send_request(asgi_app, client))
    assert not client.finished
    assert asgi_app.context.state.inflight == 0


def test_a_client_that_does_not_read_is_disconnected_after_its_body(asgi_app: Application) -> None:
    async def scenario() -> None:
        client = Client(body_in_blocks(100))
        client.taking.clear()
        request_task = asyncio.create_task(send_request(asgi_app, client, accept="application/x-ndjson"))
        async with asyncio.timeout(60):
            while client.pieces:
                await asyncio.sleep(0.01)
        assert not request_task.done()
        until = time.monotonic() + 60
        while not request_task.done():  # until the timeout after the last piece
            assert time.monotonic() < until
            pass_timeout()
            await asyncio.sleep(0.01)
        await request_task
        assert len(client.sent) == 1
        patient = Client(body_in_blocks(100))
        patient.taking.clear()
        request_task = asyncio.create_task(send_request(asgi_app, patient, accept="application/x-ndjson"))
        async with asyncio.timeout(60):
            while patient.pieces:
                await asyncio.sleep(0.01)
        patient.taking.set()
        await asyncio.wait_for(request_task, 60)
        assert patient.finished
        assert patient.content.count(b"\n") == 100 * table_handler.BLOCK_ROWS

    asyncio.run(scenario())


def test_a_body_without_a_length_is_limited(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], settings: Settings
) -> None:
    limit = 3 * table_handler.BLOCK_ROWS * len(LINE)
    asgi_app = make_app(
        tabular_models, dataclasses.replace(settings, max_rows=10, max_body_bytes=9, max_stream_bytes=limit)
    )
    client = Client(body_in_blocks(5))
    asyncio.run(send_request(asgi_app, client))
    assert client.status == 413
    assert json.loads(client.content)["title"] == "Body too large"
    asgi_app.plane.close()


class SlowEngine:
    name, reason = "numpy", "slow"

    def __init__(self, model: TabularModel) -> None:
        self.inner = model.engine

    def outputs(self, x: Any) -> Any:
        time.sleep(0.02)
        return self.inner.outputs(x)


def test_streams_wait_for_space_in_the_queue(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], settings: Settings, small_blocks: None
) -> None:
    income = next(model for model in tabular_models if model.name == "income")
    model = dataclasses.replace(income, engine=SlowEngine(income))
    asgi_app = make_app([model], dataclasses.replace(settings, max_rows=10, queue_rows=table_handler.BLOCK_ROWS))

    async def scenario() -> None:
        clients = [Client(body_in_blocks(6)) for _ in range(3)]
        first = asyncio.create_task(send_request(asgi_app, clients[0]))
        while not clients[0].sent:
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(send_request(asgi_app, client)) for client in clients[1:]]
        await asyncio.gather(first, *others)
        assert clients[0].status == 200
        for client in clients:
            assert client.status in (200, 429)
            if client.status == 200:
                assert client.content.count(b"\n") == 6 * table_handler.BLOCK_ROWS + 1

    asyncio.run(scenario())
    asgi_app.plane.close()


def test_memory_does_not_grow_with_the_body(server: Any) -> None:
    import psutil

    def resident() -> int:
        root = psutil.Process(server.process.pid)
        return max(process.memory_info().rss for process in [root, *root.children(recursive=True)])

    def send(rows: int) -> None:
        def body() -> Iterator[bytes]:
            yield HEAD
            for _ in range(rows // 10_000):
                yield LINE * 10_000

        with httpx.stream(
            "POST",
            f"{server.url}/predict/income",
            content=body(),
            headers=CSV | {"accept-encoding": "identity"},
            timeout=300,
        ) as reply:
            assert sum(part.count(b"\n") for part in reply.iter_raw()) == rows + 1

    send(100_000)
    before = resident()
    send(2_000_000)  # a body of 22 MB and a response of 60 MB
    assert resident() - before < 15e6


def test_temporary_files_are_created_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asgi_app: Application
) -> None:
    made: list[Any] = []
    real = tempfile.TemporaryFile

    def record_file(**options: Any) -> Any:
        made.append(real(**options))
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", record_file)

    async def scenario() -> None:
        client = Client(body_in_blocks(100))
        client.taking.clear()
        request_task = asyncio.create_task(send_request(asgi_app, client, accept="application/x-ndjson"))
        async with asyncio.timeout(60):
            while client.pieces:
                await asyncio.sleep(0.01)
        size = os.fstat(made[0].fileno()).st_size
        assert size > response_buffer.MAX_BUFFERED_BYTES
        client.taking.set()
        await asyncio.wait_for(request_task, 60)

    asyncio.run(scenario())
    assert [file.closed for file in made] == [True]
