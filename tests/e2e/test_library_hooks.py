"""A server whose libraries have changed ends its start with a clear message."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]
END_S = 60  # three starts of a worker take about 12

# What Python runs first in every process of the server.
NO_SHARED_FOLDER = """
import bentoml.serving
del bentoml.serving.ensure_prometheus_dir
"""
OTHER_STORE_FOLDER = """
from bentoml._internal.models import ModelStore
ModelStore._path = property(lambda store: store.new_path, lambda store, path: setattr(store, "other_path", path))
"""
NEW_WORKER_MODULE = """
import circus.watcher
start = circus.watcher.Watcher.__init__

def changed(self, *args, **named):
    named["args"] = ["new_name" if each == "_bentoml_impl.worker.service" else each for each in named["args"]]
    start(self, *args, **named)

circus.watcher.Watcher.__init__ = changed
"""
OTHER_SIGNAL_HANDLER = """
import contextlib, signal, uvicorn

@contextlib.contextmanager
def capture_signals(self):
    signal.signal(signal.SIGTERM, lambda number, frame: self.handle_exit(number, frame))
    yield

uvicorn.Server.capture_signals = capture_signals
"""
NO_SHOULD_UPGRADE = """
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
del HttpToolsProtocol._should_upgrade
"""
OTHER_PROTOCOL_CLASS = """
import asyncio, uvicorn

load = uvicorn.Config.load

def changed(self):
    load(self)
    type(self).http_protocol_class = property(lambda self: asyncio.Protocol, lambda self, value: None)

uvicorn.Config.load = changed
"""


@pytest.mark.parametrize(
    ("sabotage", "library", "reported"),
    [
        (NO_SHARED_FOLDER, "bentoml", "hook 'ensure_prometheus_dir'"),
        (OTHER_STORE_FOLDER, "bentoml", "hook 'BentoMLContainer.model_store.get()._path'"),
        (NEW_WORKER_MODULE, "bentoml", "hook 'the module _bentoml_impl.worker.service'"),
        (OTHER_SIGNAL_HANDLER, "uvicorn", "hook 'Server.handle_exit as the handler of SIGTERM'"),
        (NO_SHOULD_UPGRADE, "uvicorn", "hook 'HttpToolsProtocol._should_upgrade'"),
        (OTHER_PROTOCOL_CLASS, "uvicorn", "hook 'Config.http_protocol_class, read for each connection'"),
    ],
    ids=["shared folder", "model store", "worker module", "signal handler", "protocol", "protocol class"],
)
def test_a_hook_that_is_missing_ends_the_start(
    serve: Serve, home: Path, tmp_path: Path, sabotage: str, library: str, reported: str
) -> None:
    folder = tmp_path / "sabotage"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(sabotage)
    server = serve(home, wait=False, PYTHONPATH=str(folder))
    assert server.process.wait(END_S) == 1
    log = server.log.read_text()
    assert reported in log, log
    assert f"into {library} " in log
