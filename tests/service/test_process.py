"""What we reach into BentoML and uvicorn for is still where it was: fails when an upgrade moves it."""

import asyncio
import contextlib
import functools
import inspect
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import bentoml._internal.utils.circus as circus
import bentoml.serving
import pytest
import uvicorn
import uvloop
from uvicorn.protocols.http import httptools_impl

from service.server import connections, supervisor, worker


def source(module: object) -> str:
    return Path(str(getattr(module, "__file__"))).read_text()  # noqa: B009 - mypy knows no files of modules


def test_outside_of_uvicorn_there_is_nothing_to_guard() -> None:
    assert worker.uvicorn_server() is None


def test_uvicorn_still_handles_signals_by_a_method_of_the_server() -> None:
    text = source(inspect.getmodule(uvicorn.Server))
    assert "signal.signal(sig, self.handle_exit)" in text
    assert list(inspect.signature(uvicorn.Server.handle_exit).parameters) == ["self", "sig", "frame"]


def test_uvicorn_still_has_what_the_guard_reads() -> None:
    text = source(httptools_impl)
    for name in ("cycle", "transport", "timeout_keep_alive_task"):
        assert f"        self.{name}: " in text
    assert "        self.response_complete = False" in text
    assert "self.send_400_response(msg)" in text
    assert "self.access_logger.hasHandlers()" in text or "access_log" in text
    server = uvicorn.Server(uvicorn.Config("x:y", log_config=None))
    assert isinstance(server.server_state.connections, set)
    assert "timeout_graceful_shutdown" in vars(server.config)
    assert "config.http_protocol_class" in source(inspect.getmodule(uvicorn.Server))


@pytest.mark.parametrize("in_bulk", [True, False])
def test_connections_that_wait_are_taken_together_by_a_busy_worker(in_bulk: bool) -> None:
    """Without `Acceptor` a turn of the loop takes one: the second case fails when libuv has learned better."""
    count = 40

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def turns_to_answer(port: int) -> int:
        """How often the loop went round until all were answered, where each turn is work of 10 ms."""
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        turns = 0
        for client in clients:
            client.setblocking(False)
            client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        waiting = set(clients)
        while waiting and turns < 10 * count:
            time.sleep(0.01)
            await asyncio.sleep(0)
            turns += 1
            for client in list(waiting):
                with contextlib.suppress(BlockingIOError):
                    assert client.recv(1000).startswith(b"HTTP/1.1 200")
                    waiting.discard(client)
        for client in clients:
            client.close()
        assert not waiting
        return turns

    async def measured() -> int:
        server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        tasks = connections.guard(server)
        if not in_bulk:
            tasks[1].cancel()
        await asyncio.sleep(0.2)
        turns = await turns_to_answer(port)
        server.should_exit = True
        await running
        for task in tasks:
            task.cancel()
        return turns

    turns = uvloop.run(measured())
    assert turns < count / 2 if in_bulk else turns >= count


def test_bentoml_still_starts_its_workers_by_the_function_that_is_replaced() -> None:
    function = circus.create_standalone_arbiter
    plain = function.func if isinstance(function, functools.partial) else function
    assert "kwargs" in inspect.signature(plain).parameters
    text = source(bentoml.serving)
    assert "    from bentoml._internal.utils.circus import create_standalone_arbiter" in text or (
        "    from ._internal.utils.circus import create_standalone_arbiter" in text
    )
    assert "respawn=not running_inside_container()" in text
    assert '"BENTOML_CONTAINERIZED" in os.environ' in text


def test_workers_that_cannot_start_end_the_server_at_the_third_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    worker.failed_to_start("not a worker")
    assert worker.failed_starts() is None
    monkeypatch.setattr(worker, "in_worker", lambda: True)
    worker.failed_to_start("broken")
    worker.started()
    for _ in range(2):
        worker.failed_to_start("broken")
    assert killed == []
    worker.failed_to_start("broken")
    assert killed == [(os.getppid(), signal.SIGTERM)]


def test_the_folder_of_a_server_that_could_not_remove_it_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, young, foreign = (
        tmp_path / f"{supervisor.SHARED_FOLDER}dead",
        tmp_path / f"{supervisor.SHARED_FOLDER}new",
        tmp_path / "x",
    )
    for folder in (dead, young, foreign):
        folder.mkdir()
        (folder / "counter_1.db").write_bytes(b"1")
    running = Path(supervisor.new_shared_folder())
    for folder in (dead, foreign, running):
        os.utime(folder, (0, 0))
    mine = Path(supervisor.new_shared_folder())
    assert not dead.exists()
    assert all(folder.is_dir() for folder in (young, foreign, running, mine))


def test_bentoml_still_asks_for_the_shared_folder_by_the_function_that_is_replaced() -> None:
    text = Path(inspect.getfile(bentoml.serving)).parents[1].joinpath("_bentoml_impl/server/serving.py").read_text()
    assert "        from bentoml.serving import ensure_prometheus_dir" in text or (
        "    from bentoml.serving import ensure_prometheus_dir" in text
    )
    assert 'env = {"PROMETHEUS_MULTIPROC_DIR": ensure_prometheus_dir()}' in text
