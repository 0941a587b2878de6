"""Hooks into BentoML and its process manager circus (from the distribution kantoku)."""

import importlib.util
from pathlib import Path

from models.library_hook import LibraryHook, equality_problem, first_problem, parameter_problem, reference_problem
from service.server import deferred_modules

WORKER_MODULE = "_bentoml_impl.worker.service"


def _check_service_class() -> str | None:
    import bentoml
    from _bentoml_sdk import Service  # type: ignore[import-untyped]

    return first_problem(
        parameter_problem(bentoml.service, "service_class"),
        parameter_problem(Service.to_asgi, "is_main"),
    )


def _check_bento_layout() -> str | None:
    from bentoml._internal.bento import bento

    return first_problem(
        equality_problem("the name of a Bento's description", bento.BENTO_YAML_FILENAME, "bento.yaml"),
        equality_problem("the folder of a Bento's source", bento.BENTO_PROJECT_DIR_NAME, "src"),
    )


def _check_worker_module() -> str | None:
    from _bentoml_impl.server import serving  # type: ignore[import-untyped]

    return first_problem(
        equality_problem("the module of a worker", serving._SERVICE_WORKER_SCRIPT, WORKER_MODULE),
        reference_problem(serving.serve_http, "_SERVICE_WORKER_SCRIPT"),
    )


def _check_listener_argument() -> str | None:
    from _bentoml_impl.server import serving

    return reference_problem(serving.serve_http, "--fd")


def _check_arbiter() -> str | None:
    import bentoml._internal.utils.circus as circus
    from _bentoml_impl.server import serving

    return first_problem(
        parameter_problem(circus.create_standalone_arbiter, "watchers", "check_delay"),
        reference_problem(circus.create_standalone_arbiter, "check_delay"),
        reference_problem(serving.serve_http, "bentoml._internal.utils.circus", "create_standalone_arbiter"),
    )


def _check_shared_folder() -> str | None:
    import bentoml.serving
    from _bentoml_impl.server import serving

    if not callable(bentoml.serving.ensure_prometheus_dir):
        return "bentoml.serving.ensure_prometheus_dir is not a function"
    return reference_problem(serving.serve_http, "bentoml.serving", "ensure_prometheus_dir", "PROMETHEUS_MULTIPROC_DIR")


def _check_respawn() -> str | None:
    from circus.arbiter import Arbiter  # type: ignore[import-untyped]
    from circus.watcher import Watcher  # type: ignore[import-untyped]

    return first_problem(
        reference_problem(Watcher.manage_processes, "respawn"),
        reference_problem(Watcher.spawn_process, "env"),
        reference_problem(Watcher.spawn_processes, "spawn_process", "numprocesses", "processes"),
        reference_problem(Watcher.reap_process, "call_hook", "processes"),
        reference_problem(Watcher.call_hook, "hooks"),
        reference_problem(Arbiter.start, "start_watchers"),
    )


def _check_stop_signals() -> str | None:
    from circus.arbiter import Arbiter
    from circus.controller import Controller  # type: ignore[import-untyped]
    from circus.sighandler import SysHandler  # type: ignore[import-untyped]
    from circus.watcher import Watcher

    return first_problem(
        reference_problem(Controller._init_syshandler, "sys_hdl", "SysHandler"),
        reference_problem(SysHandler._register, "signal"),
        reference_problem(SysHandler.quit, "add_callback_from_signal"),
        reference_problem(Arbiter.__init__, "ctrl", "sockets", "loop"),
        reference_problem(Watcher.kill_process, "stop_signal"),
        reference_problem(Watcher.spawn_process, "processes"),
    )


def _check_loop_clock() -> str | None:
    from circus.arbiter import Arbiter
    from tornado.ioloop import IOLoop, PeriodicCallback
    from tornado.platform.asyncio import BaseAsyncIOLoop

    return first_problem(
        reference_problem(Arbiter._ensure_ioloop, "loop"),
        reference_problem(PeriodicCallback.start, "io_loop", "time"),
        reference_problem(IOLoop.call_later, "call_at", "time"),
        reference_problem(BaseAsyncIOLoop.call_at, "time", "call_later"),
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
    "A worker that dies is replaced after ten seconds instead of one, and never in a container.",
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
