"""Hooks into BentoML and its process manager circus (from the distribution kantoku)."""

import importlib.util
from pathlib import Path

from models.library_hook import LibraryHook, first_problem, has_parameters, is_equal, refers_to
from service.server import deferred_modules

WORKER_MODULE = "_bentoml_impl.worker.service"


def _check_service_class() -> str | None:
    import bentoml
    from _bentoml_sdk import Service  # type: ignore[import-untyped]

    return first_problem(
        has_parameters(bentoml.service, "service_class"),
        has_parameters(Service.to_asgi, "is_main"),
    )


def _check_bento_layout() -> str | None:
    from bentoml._internal.bento import bento

    return first_problem(
        is_equal("the name of a Bento's description", bento.BENTO_YAML_FILENAME, "bento.yaml"),
        is_equal("the folder of a Bento's source", bento.BENTO_PROJECT_DIR_NAME, "src"),
    )


def _check_worker_module() -> str | None:
    from _bentoml_impl.server import serving  # type: ignore[import-untyped]

    return first_problem(
        is_equal("the module of a worker", serving._SERVICE_WORKER_SCRIPT, WORKER_MODULE),
        refers_to(serving.serve_http, "_SERVICE_WORKER_SCRIPT"),
    )


def _check_listener_argument() -> str | None:
    from _bentoml_impl.server import serving

    return refers_to(serving.serve_http, "--fd")


def _check_arbiter() -> str | None:
    import bentoml._internal.utils.circus as circus
    from _bentoml_impl.server import serving

    return first_problem(
        has_parameters(circus.create_standalone_arbiter, "watchers", "check_delay"),
        refers_to(circus.create_standalone_arbiter, "check_delay"),
        refers_to(serving.serve_http, "bentoml._internal.utils.circus", "create_standalone_arbiter"),
    )


def _check_shared_folder() -> str | None:
    import bentoml.serving
    from _bentoml_impl.server import serving

    if not callable(bentoml.serving.ensure_prometheus_dir):
        return "bentoml.serving.ensure_prometheus_dir is not a function"
    return refers_to(serving.serve_http, "bentoml.serving", "ensure_prometheus_dir", "PROMETHEUS_MULTIPROC_DIR")


def _check_respawn() -> str | None:
    from circus.arbiter import Arbiter  # type: ignore[import-untyped]
    from circus.watcher import Watcher  # type: ignore[import-untyped]

    return first_problem(
        refers_to(Watcher.manage_processes, "respawn"),
        refers_to(Watcher.spawn_process, "env"),
        refers_to(Watcher.spawn_processes, "spawn_process", "numprocesses", "processes"),
        refers_to(Watcher.reap_process, "call_hook", "processes"),
        refers_to(Watcher.call_hook, "hooks"),
        refers_to(Arbiter.start, "start_watchers"),
    )


def _check_stop_signals() -> str | None:
    from circus.arbiter import Arbiter
    from circus.controller import Controller  # type: ignore[import-untyped]
    from circus.sighandler import SysHandler  # type: ignore[import-untyped]
    from circus.watcher import Watcher

    return first_problem(
        refers_to(Controller._init_syshandler, "sys_hdl", "SysHandler"),
        refers_to(SysHandler._register, "signal"),
        refers_to(SysHandler.quit, "add_callback_from_signal"),
        refers_to(Arbiter.__init__, "ctrl", "sockets", "loop"),
        refers_to(Watcher.kill_process, "stop_signal"),
        refers_to(Watcher.spawn_process, "processes"),
    )


def _check_loop_clock() -> str | None:
    from circus.arbiter import Arbiter
    from tornado.ioloop import IOLoop, PeriodicCallback
    from tornado.platform.asyncio import BaseAsyncIOLoop

    return first_problem(
        refers_to(Arbiter._ensure_ioloop, "loop"),
        refers_to(PeriodicCallback.start, "io_loop", "time"),
        refers_to(IOLoop.call_later, "call_at", "time"),
        refers_to(BaseAsyncIOLoop.call_at, "time", "call_later"),
    )


def _check_deferred_modules() -> str | None:
    import _bentoml_impl.server  # type: ignore[import-untyped]  # noqa: F401  # otherwise `find_spec` loads it

    return first_problem(*(missing_definition(name, function) for name, function in deferred_modules.MODULES.items()))


def missing_definition(name: str, function: str) -> str | None:
    """The reason why a module does not define a function; None if it does. The module is not loaded."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return f"there is no module {name}"
    found = f"\ndef {function}(" in Path(spec.origin).read_text(encoding="utf-8")
    return None if found else f"{name} does not define {function}"


SERVICE_CLASS = LibraryHook(
    "_bentoml_sdk.Service.to_asgi",
    "bentoml",
    "Requests go to BentoML's own endpoints: no protocols, no problem documents, no metrics.",
    _check_service_class,
)
BENTO_LAYOUT = LibraryHook(
    "the layout of a Bento: bento.yaml and src/",
    "bentoml",
    "A server started from a Bento serves the newest versions, not those that the Bento was built with.",
    _check_bento_layout,
)
WORKER_PROCESS = LibraryHook(
    f"the module {WORKER_MODULE}",
    "bentoml",
    "A worker is not recognised as a worker: it neither drains nor limits heads nor shares connections.",
    _check_worker_module,
)
LISTENER_ARGUMENT = LibraryHook(
    "the argument --fd of a worker",
    "bentoml",
    "A worker does not know its address: gRPC cannot listen where HTTP does.",
    _check_listener_argument,
)
ARBITER = LibraryHook(
    "create_standalone_arbiter",
    "bentoml",
    "A worker that dies is replaced after ten seconds instead of one, and in a container never.",
    _check_arbiter,
)
SHARED_FOLDER = LibraryHook(
    "ensure_prometheus_dir",
    "bentoml",
    "A second server of the same BENTOML_HOME deletes the metrics of the first.",
    _check_shared_folder,
)
RESPAWN = LibraryHook(
    "circus.watcher.Watcher.respawn",
    "kantoku",
    "A worker that dies in a container is not replaced.",
    _check_respawn,
)
STOP_SIGNALS = LibraryHook(
    "circus.sighandler.SysHandler",
    "kantoku",
    "A second signal does not stop the server at once, and connections that wait when it stops are reset.",
    _check_stop_signals,
)
LOOP_CLOCK = LibraryHook(
    "IOLoop.time, the clock of tornado's timers",
    "kantoku",
    "When the wall clock is set back, workers that die are no longer replaced.",
    _check_loop_clock,
)
DEFERRED_MODULES = LibraryHook(
    "the modules _bentoml_impl.server.proxy and serving",
    "bentoml",
    "A worker loads circus, tornado, ZeroMQ and pyparsing, which it does not use: about 6 MB.",
    _check_deferred_modules,
)
SUPERVISOR_HOOKS = (
    *(WORKER_PROCESS, LISTENER_ARGUMENT, ARBITER, SHARED_FOLDER, DEFERRED_MODULES),
    *(RESPAWN, STOP_SIGNALS, LOOP_CLOCK),
)
SERVICE_HOOKS = (SERVICE_CLASS, BENTO_LAYOUT)
