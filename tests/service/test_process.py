"""What we reach into BentoML and uvicorn for is still where it was: fails when an upgrade moves it."""

import functools
import inspect
import os
import signal
from pathlib import Path

import bentoml._internal.utils.circus as circus
import bentoml.serving
import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl

from service import process


def source(module: object) -> str:
    return Path(str(getattr(module, "__file__"))).read_text()  # noqa: B009 - mypy knows no files of modules


def test_outside_of_uvicorn_there_is_nothing_to_guard() -> None:
    assert process.uvicorn_server() is None


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
    process.failed_to_start("not a worker")
    assert process.failed_starts() is None
    monkeypatch.setattr(process, "in_worker", lambda: True)
    process.failed_to_start("broken")
    process.started()
    for _ in range(2):
        process.failed_to_start("broken")
    assert killed == []
    process.failed_to_start("broken")
    assert killed == [(os.getppid(), signal.SIGTERM)]
