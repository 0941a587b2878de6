"""A server whose libraries lack a required hook does not start, and its log names the hook."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Serve = Callable[..., Any]
END_S = 240
"""The time limit for a server to exit; three starts of a worker take about 12 s."""
# Every process of the server runs one of these programs first, as its sitecustomize module.
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

def changed(self, name, value):
    object.__setattr__(self, name, asyncio.Protocol if name == "http_protocol_class" else value)

uvicorn.Config.__setattr__ = changed
"""


CHANGES = {
    "shared folder": (NO_SHARED_FOLDER, "bentoml", "hook 'ensure_prometheus_dir'"),
    "model store": (OTHER_STORE_FOLDER, "bentoml", "hook 'BentoMLContainer.model_store.get()._path'"),
    "worker module": (NEW_WORKER_MODULE, "bentoml", "hook 'the module _bentoml_impl.worker.service'"),
    "signal handler": (OTHER_SIGNAL_HANDLER, "uvicorn", "hook 'Server.handle_exit as the handler of SIGTERM'"),
    "protocol": (NO_SHOULD_UPGRADE, "uvicorn", "hook 'HttpToolsProtocol._should_upgrade'"),
    "protocol class": (
        OTHER_PROTOCOL_CLASS,
        "uvicorn",
        "hook 'Config.http_protocol_class, read for each connection'",
    ),
}


def test_a_missing_hook_stops_the_start_and_is_named(serve: Serve, trained_home: Path, tmp_path: Path) -> None:
    """The servers start concurrently, because they mostly wait before the next start of a worker."""

    def start(name: str, change: str) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(change)
        return serve(trained_home, wait=False, PYTHONPATH=str(folder))

    servers = {name: start(name, change) for name, (change, _, _) in CHANGES.items()}
    for name, (_, library, message) in CHANGES.items():
        code = servers[name].process.wait(END_S)
        log = servers[name].log.read_text()
        assert code == 1, (name, log)
        assert message in log, (name, log)
        assert f"into {library} " in log, (name, log)
