"""Every hook works with the installed libraries, and a changed library is reported by exactly the affected hook."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import _bentoml_sdk  # type: ignore[import-untyped]
import bentoml
import bentoml._internal.models.model
import bentoml._internal.utils.circus as circus
import bentoml.serving
import httptools
import prometheus_client
import pytest
import uvicorn
import uvloop
from _bentoml_impl.server import serving  # type: ignore[import-untyped]
from bentoml._internal.bento import bento
from bentoml._internal.models import ModelStore
from circus.controller import Controller  # type: ignore[import-untyped]
from circus.watcher import Watcher  # type: ignore[import-untyped]
from prometheus_client.mmap_dict import MmapedDict
from tornado.platform.asyncio import BaseAsyncIOLoop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from models import store_library_hooks
from models.library_hook import LibraryHook
from service.server import deferred_modules
from service.server.library_hooks import all_hooks, bentoml_hooks, prometheus_hooks, uvicorn_hooks

ROOT = Path(__file__).resolve().parents[3]
Patch = pytest.MonkeyPatch


def with_renamed_name(code: CodeType, name: str) -> CodeType:
    """A copy of the code in which a name is replaced."""

    def replaced(constant: Any) -> Any:
        if isinstance(constant, CodeType):
            return with_renamed_name(constant, name)
        if isinstance(constant, tuple):
            return tuple(replaced(each) for each in constant)
        return f"new_{name}" if constant == name else constant

    return code.replace(
        co_names=replaced(code.co_names),
        co_varnames=replaced(code.co_varnames),
        co_consts=tuple(replaced(constant) for constant in code.co_consts),
    )


def rename_in_function(owner: Any, function: str, name: str) -> Callable[[Patch], None]:
    """Returns a change to a library: the function uses another name afterwards."""

    def change_library(patch: Patch) -> None:
        old = inspect.unwrap(getattr(owner, function))
        new = FunctionType(
            with_renamed_name(old.__code__, name), old.__globals__, old.__name__, old.__defaults__, old.__closure__
        )
        new.__kwdefaults__ = old.__kwdefaults__
        patch.setattr(owner, function, new)

    return change_library


def remove_name(owner: Any, name: str) -> Callable[[Patch], None]:
    """Returns a change to a library that removes a name."""
    return lambda patch: patch.delattr(owner, name)


def replace_value(owner: Any, name: str, value: Any) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(owner, name, value)


class NewParser(httptools.HttpRequestParser):
    def feed_data(self, data: Any) -> None:
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            raise httptools.HttpParserUpgrade(b"reason", *upgrade.args) from None


class NewLoop:
    add_reader = remove_reader = print


LIBRARY_CHANGES: dict[LibraryHook, Callable[[Patch], None]] = {
    store_library_hooks.STORE_FOLDER: lambda patch: patch.setattr(
        ModelStore, "_path", property(lambda self: self.new_path), raising=False
    ),
    store_library_hooks.STORE_LAYOUT: replace_value(
        bentoml._internal.models.model, "MODEL_YAML_FILENAME", "model.toml"
    ),
    store_library_hooks.STORE_DESCRIPTION: remove_name(bentoml._internal.models.model.ModelInfo, "dump"),
    bentoml_hooks.SERVICE_CLASS: remove_name(_bentoml_sdk, "Service"),
    bentoml_hooks.BENTO_LAYOUT: replace_value(bento, "BENTO_PROJECT_DIR_NAME", "source"),
    bentoml_hooks.WORKER_PROCESS: replace_value(serving, "_SERVICE_WORKER_SCRIPT", "bentoml.worker"),
    bentoml_hooks.LISTENER_ARGUMENT: rename_in_function(serving.serve_http, "__wrapped__", "--fd"),
    bentoml_hooks.ARBITER: remove_name(circus, "create_standalone_arbiter"),
    bentoml_hooks.SHARED_FOLDER: remove_name(bentoml.serving, "ensure_prometheus_dir"),
    bentoml_hooks.DEFERRED_MODULES: replace_value(
        deferred_modules, "MODULES", {"_bentoml_impl.server.proxy": "new_app"}
    ),
    bentoml_hooks.RESPAWN: rename_in_function(Watcher, "manage_processes", "respawn"),
    bentoml_hooks.LOOP_CLOCK: rename_in_function(BaseAsyncIOLoop, "call_at", "time"),
    bentoml_hooks.STOP_SIGNALS: rename_in_function(Controller, "_init_syshandler", "sys_hdl"),
    uvicorn_hooks.SIGNAL_HANDLER: rename_in_function(uvicorn.Server, "capture_signals", "handle_exit"),
    uvicorn_hooks.PROTOCOL_CLASS: rename_in_function(uvicorn.Server, "startup", "http_protocol_class"),
    uvicorn_hooks.GRACEFUL_TIMEOUT: rename_in_function(uvicorn.Server, "shutdown", "timeout_graceful_shutdown"),
    uvicorn_hooks.LISTENERS: rename_in_function(uvicorn.Server, "shutdown", "servers"),
    uvicorn_hooks.CONNECTIONS: rename_in_function(HttpToolsProtocol, "connection_made", "connections"),
    uvicorn_hooks.DATA_RECEIVED: rename_in_function(HttpToolsProtocol, "data_received", "feed_data"),
    uvicorn_hooks.DIRECT_RESPONSES: rename_in_function(HttpToolsProtocol, "on_message_complete", "more_body"),
    uvicorn_hooks.ON_HEADERS_COMPLETE: rename_in_function(HttpToolsProtocol, "on_headers_complete", "keep_alive"),
    uvicorn_hooks.SHUTDOWN: rename_in_function(HttpToolsProtocol, "shutdown", "cycle"),
    uvicorn_hooks.SHOULD_UPGRADE: remove_name(HttpToolsProtocol, "_should_upgrade"),
    uvicorn_hooks.KEEP_ALIVE: remove_name(HttpToolsProtocol, "timeout_keep_alive_handler"),
    uvicorn_hooks.ON_RESPONSE_COMPLETE: rename_in_function(HttpToolsProtocol, "on_response_complete", "pipeline"),
    uvicorn_hooks.PROTOCOL_STATE: rename_in_function(HttpToolsProtocol, "on_message_begin", "url"),
    uvicorn_hooks.CYCLE_STATE: rename_in_function(RequestResponseCycle, "__init__", "more_body"),
    uvicorn_hooks.RESPONSE_LENGTH: rename_in_function(RequestResponseCycle, "send", "expected_content_length"),
    uvicorn_hooks.UPGRADE_OFFSET: replace_value(httptools, "HttpRequestParser", NewParser),
    uvicorn_hooks.TLS: rename_in_function(uvicorn.Server, "on_tick", "encoded_headers"),
    uvicorn_hooks.EVENT_LOOP: replace_value(uvloop, "Loop", NewLoop),
    prometheus_hooks.HISTOGRAM: rename_in_function(prometheus_client.Histogram, "_metric_init", "_buckets"),
    prometheus_hooks.GAUGE_FILES: replace_value(
        prometheus_client.multiprocess, "mark_process_dead", lambda *given: None
    ),
    prometheus_hooks.METRIC_FILES: rename_in_function(MmapedDict, "_init_value", "_capacity"),
}


def missing_hooks() -> list[LibraryHook]:
    return [hook for hook in all_hooks.ALL if hook.problem() is not None]


def test_every_hook_has_a_test() -> None:
    assert set(LIBRARY_CHANGES) == set(all_hooks.ALL)
    assert len(all_hooks.ALL) == len({hook.name for hook in all_hooks.ALL})


def test_every_hook_works_with_the_installed_libraries() -> None:
    assert {hook.name: hook.problem() for hook in missing_hooks()} == {}


@pytest.mark.parametrize("hook", LIBRARY_CHANGES, ids=lambda hook: hook.name)
def test_a_changed_library_is_reported_by_exactly_the_affected_hook(hook: LibraryHook, monkeypatch: Patch) -> None:
    LIBRARY_CHANGES[hook](monkeypatch)
    assert missing_hooks() == [hook]


@pytest.mark.parametrize("hook", all_hooks.ALL, ids=lambda hook: hook.name)
def test_a_hook_describes_in_one_sentence_what_breaks_without_it(hook: LibraryHook) -> None:
    assert hook.breaks[0].isupper()
    assert hook.breaks.endswith(".")
    assert hook.breaks.count(". ") == 0


def test_the_list_of_hooks_is_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.server.library_hooks"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    for hook in all_hooks.ALL:
        assert hook.name in done.stdout
        assert hook.breaks in done.stdout


def test_the_list_reports_the_reason_of_a_missing_hook_and_fails() -> None:
    run = "runpy.run_module('service.server.library_hooks.__main__', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", f"import uvicorn, runpy; del uvicorn.Server.handle_exit; {run}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "MISSING: AttributeError" in done.stdout
