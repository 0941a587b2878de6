"""Builds the service that `bentoml serve` runs: settings, models, data plane and ASGI application."""

# ruff: noqa: E402 - NumPy reads the number of threads when it is imported

import gc
import os

gc.disable()  # off until the service is built: imported objects stay in memory, so collections would free nothing
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # the workers share the cores
os.environ.setdefault(
    "ARROW_DEFAULT_MEMORY_POOL", "system"
)  # Arrow's own memory pool does not return the memory of large bodies

import asyncio
import contextlib
import logging
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import bentoml
from bentoml.exceptions import BentoMLException
from bentoml.models import BentoModel

from models import store
from models.library_hook import LibraryHookMissing, check_all
from models.serving_state import ServingStateError
from models.store_repair import repair_store
from models.tabular_model import TabularModel
from models.version_files import StoredVersion
from service import bentoml_configuration, local_copies, logs, metric_files, model_selection, store_copy, trace_export
from service.access.key_access import KeyAccess
from service.access.key_requests import KeyRequests
from service.access.key_ring import KeyRing
from service.access.keys_file import KeysFileError
from service.canary_watch import CanaryWatch
from service.capture.start_check import check_capture
from service.data_plane import DataPlane
from service.exchange import ServerContext
from service.feedback.live_gauges import LiveGauges
from service.follower import Follower
from service.logs import RateLimit
from service.memory_budget import MemoryTrimmer, memory_limit, return_large_blocks, worker_budget
from service.metric_files import LostSeries
from service.metrics import Metrics
from service.model_selection import NoModelStored, SelectionError, load_version
from service.periodic_work import repeat
from service.plan_updates import update_plans
from service.registry import Snapshot
from service.server import ports, supervisor, worker
from service.server.bentoml_service import service_class
from service.server.library_hooks import all_hooks
from service.server.tls import TlsContext
from service.server.tls_files import TlsError, TlsFiles
from service.settings import Settings, SettingsError, removed_settings
from service.store_registration import StoreRegistration
from service.typed_endpoints import endpoint_name, endpoints_of, typed_endpoint
from service.version import version
from service.version_admin import VersionAdmin
from service.version_check import describe, load_with_check
from service.version_loader import VersionLoader
from service.wanted_versions import Selection, versions_of
from service.worker_files import WorkerFiles
from service.worker_records import WorkerRecords

if TYPE_CHECKING:
    from service.http.asgi import Application

START_VARIABLE = "VERSIONS_AT_START_OF_TABSERVE"
"""The environment variable with the champions at the server's start, which the supervisor sets for its workers."""
GC_THRESHOLD = 20_000  # new objects per collection; with the default of 700, collections scan queued requests often
FLUSH_S = 1.0
TRIM_S = 0.25
log = logging.getLogger("tabserve.app")


class WorkerParts(NamedTuple):
    """The parts that only a worker of `bentoml serve` has."""

    records: WorkerRecords
    lost: LostSeries
    lines: RateLimit


def build_service(
    settings: Settings,
    models: Sequence[TabularModel],
    selection: Selection | None = None,
    parts: WorkerParts | None = None,
) -> Any:
    """The BentoML service for these models.

    selection: selects the versions to serve after the start. parts: the parts that only a worker has.
    """
    plane = DataPlane(models, settings, Metrics(parts and parts.lost))
    keys = KeyRing(settings.keys_file, worker.shared_folder()) if settings.keys_file else None
    context = ServerContext(
        plane,
        settings,
        access=KeyAccess(keys, settings.open_routes) if keys else None,
        observer=KeyRequests(plane.metrics) if keys else None,
    )
    application = cache(partial(application_of, context))
    workers = worker_count(settings, models)
    services: list[Any] = []  # the service, once it is built

    def adopt(snapshot: Snapshot) -> Callable[[], None]:
        """Build the parts of a snapshot before it is served."""
        apis, install_router = endpoints_of(snapshot, context.plane), application().prepare(snapshot)

        def install() -> None:
            install_router()
            for service in services:
                service.apis = apis

        return install

    decorate = bentoml.service(
        name="tabserve",
        service_class=service_class(lambda app: application().wrap(app)),
        image=None if worker.in_worker() else image(models),
        workers=workers,
        traffic={"timeout": math.ceil(settings.timeout_s) + 5},
        logging={"access": {"enabled": False}},
        metrics={"enabled": False},  # their time series would include unknown paths
        tracing={"excluded_urls": ["."]},
    )
    count = workers if isinstance(workers, int) else os.cpu_count() or 1
    service_type = service_class_of(context, application, selection or Selection(), adopt, count, parts, keys)
    add_models(service_type, models, context.plane)
    services.append(decorate(service_type))
    return services[0]


def application_of(context: ServerContext) -> "Application":
    """The ASGI application. The supervisor does not need it, and starts faster without its many modules."""
    from service.http.asgi import Application

    return Application(context)


def image(models: Sequence[TabularModel]) -> Any:
    """The image that `bentoml containerize` builds; None in an installed wheel, which has no lock files."""
    from service.bento_image import REQUIREMENTS, bento_image  # only outside of workers, which saves 0.3 MB

    return bento_image(models) if REQUIREMENTS.is_dir() else None


def add_models(service_type: type[Any], models: Sequence[TabularModel], plane: DataPlane) -> None:
    """Add a typed endpoint for each model."""
    for model in models:
        setattr(service_type, endpoint_name(model.name), typed_endpoint(model, plane))
        if plane.settings.store is None:
            setattr(service_type, f"stored_{model.name}", BentoModel(model.tag))  # a Bento then contains this version


def service_class_of(
    context: ServerContext,
    application: "Callable[[], Application]",
    selection: Selection,
    adopt: Callable[[Snapshot], Callable[[], None]],
    workers: int,
    parts: WorkerParts | None,
    keys: KeyRing | None,
) -> type[Any]:
    """The class that starts and stops the service, for BentoML.

    adopt: as in `Follower`. workers: the number of workers.
    """
    plane, settings, state = context.plane, context.settings, context.state

    class Tabserve:
        __doc__ = "Predictions from tables, validated row by row."  # in /schema.json; the image has no docstrings

        @bentoml.on_startup  # type: ignore[untyped-decorator]
        async def start(self) -> None:
            self.grpc: Any = None
            from service.server import startup  # imports HTTP and all routes

            with failed_start_recorded():
                server = startup.check_worker(application())
                tls = TlsContext.of(server)
                folder = worker.shared_folder()
                await asyncio.to_thread(plane.start, folder)
                self.loader = VersionLoader(plane, folder)
                self.follower = Follower(plane, selection, self.loader, WorkerFiles(folder), adopt)
                await self.follower.follow()
                context.admin = VersionAdmin(self.follower)
                if settings.grpc_port is not None:
                    from service.grpc_server import GrpcServer  # needs the extra `grpc`

                    self.grpc = GrpcServer(context)
                self.traces = await asyncio.to_thread(trace_export.start, os.environ)
                context.exports_traces = self.traces is not None
            gauges = LiveGauges(plane)
            self.registration = StoreRegistration(self.follower.files, self.follower.file.folder, gauges.lines)
            watch = CanaryWatch(self.follower, self.follower.files)
            followers = (self.follower.run(), self.registration.run(), watch.run(), *([keys.run()] if keys else []))
            copying = store_copy.follow(settings, selection)
            work = (
                flush_every_second(plane, parts and parts.lines),
                update_plans(plane),
                trim_memory(plane),
                gauges.run(),
                *followers,
                *([copying] if copying else []),
            )
            self.tasks = [asyncio.create_task(task) for task in work]
            if server:
                notify, refuse = self.grpc and self.grpc.drain, self.grpc and self.grpc.refuse
                self.tasks += startup.install_library_hooks(
                    server, state, settings.drain_s, notify, refuse, parts and parts.records, tls
                )
            plane.metrics.build(version())
            gc.collect()
            if limit := settings.memory_bytes or memory_limit():
                plane.memory.limit = worker_budget(limit, workers)
                return_large_blocks(plane.memory)
            gc.freeze()  # collections skip the objects loaded so far, most of which live until the end
            await self.follower.poll()  # reads changes that were made during the start
            if self.grpc:
                with failed_start_recorded():  # last, because it receives calls as soon as it listens
                    await self.grpc.start(worker.http_host(), settings.grpc_port, tls and tls.files)
            state.mark_ready()

        @bentoml.on_shutdown  # type: ignore[untyped-decorator]
        async def stop(self) -> None:
            state.close()
            if self.grpc:
                await self.grpc.stop()
            if self.traces is not None:
                await asyncio.to_thread(self.traces.force_flush, trace_export.FLUSH_MS)
            for task in self.tasks:
                task.cancel()
            if plane.capture is not None:
                await asyncio.to_thread(plane.capture.stop)
            plane.metrics.flush()
            self.follower.files.remove()
            self.registration.remove()
            self.loader.close()
            plane.close()

    return Tabserve


@contextlib.contextmanager
def failed_start_recorded() -> Iterator[None]:
    """Report to the supervisor why a worker cannot start."""
    try:
        yield
    except Exception as error:
        worker.record_failed_start(f"{type(error).__name__}: {error}")
        raise


async def trim_memory(plane: DataPlane) -> None:
    """Keep the memory of this worker near the amount that its requests need, until cancelled."""
    trimmer = MemoryTrimmer()

    async def trim() -> None:
        if trimmer.is_needed(plane.memory):
            await asyncio.to_thread(trimmer.trim)

    await repeat(trim, TRIM_S, "memory cannot be returned to the system")


async def flush_every_second(plane: DataPlane, lines: RateLimit | None) -> None:
    """Flush the metrics, and report suppressed log lines, once a second until cancelled."""

    async def flush() -> None:
        plane.metrics.flush()
        await plane.drift.flush()
        if lines:
            lines.report()

    await repeat(flush, FLUSH_S, "metrics cannot be flushed")


def worker_count(settings: Settings, models: Sequence[TabularModel]) -> Any:
    """The number of workers: 1 for TensorFlow, which uses all cores and would be loaded in each worker."""
    if settings.workers is not None:
        return settings.workers
    return 1 if any(model.engine.name == "tensorflow" for model in models) else "cpu_count"


def from_environment() -> Any:
    """The service for `bentoml serve` in this directory. Raises BentoMLException with a one-line message."""
    worker.end_with_supervisor()
    folder, parts, missing = worker.shared_folder(), None, None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)  # a replacement worker starts even if the folder was deleted
        missing = local_copies.replace_missing_store(os.environ, folder)
    try:
        settings = Settings.from_environment()
        lines = logs.configure_logging(settings)
        for warning in removed_settings(os.environ):
            log.warning(warning)
        if not worker.in_worker():
            for warning in bentoml_configuration.warnings(os.environ):
                log.warning(warning)
        if missing:
            log.warning("the store is missing, loading copies of its versions", extra={"store": missing})
        check_all(all_hooks.EVERYWHERE)
        supervisor.install_supervisor_hooks(settings.drain_s, settings.start_s)
        if (
            settings.grpc_port is not None
            and not worker.in_worker()
            and ports.conflict(ports.EVERY_ADDRESS, settings.grpc_port)
        ):
            raise SettingsError(f"TABSERVE_GRPC_PORT={settings.grpc_port}: the port is in use")
        if files := TlsFiles.of_arguments(sys.argv):
            files.check()
        with contextlib.suppress(OSError):  # reported where the folder is used
            tempfile.gettempdir()  # chosen now: once it is full, Python would choose another one without a warning
        if folder:
            records = WorkerRecords.of_worker(folder)
            records.register()
            worker.wait_after_failed_starts(records)
            parts = WorkerParts(records, metric_files.install(records), lines)
        if not worker.in_worker():
            store_copy.fill(settings, Selection.of(settings.models))
            for repair in repair_store(store.location(settings.store)):
                log.warning("store repaired", extra={"repair": repair})
            store.serving_folder(
                settings.store
            )  # raises ServingStateError if the state of the served versions is ambiguous
        pinned, start = model_selection.pinned_by_bento(Path(__file__)), versions_at_start()
        models = local_copies.select_models(settings, partial(select_models, pinned=pinned, at_start=start), folder)
        if settings.capture is not None and not worker.in_worker():
            check_capture(settings, models)
    except (SettingsError, SelectionError, LibraryHookMissing, ServingStateError, TlsError) as error:
        reason = str(error)
        if isinstance(error, NoModelStored) and (place := os.environ.get("AIP_STORAGE_URI")):
            reason += f"; Vertex AI's {place} is not supported: put the models into the image"
        worker.record_failed_start(reason)
        raise BentoMLException(reason) from None
    finally:
        gc.set_threshold(GC_THRESHOLD, 10, 10)
        gc.enable()
    if not worker.in_worker():
        start = {model.name: int(model.version) for model in models}
        # a replacement worker starts with the same versions
        os.environ[START_VARIABLE] = ",".join(model.tag for model in models)
    selection = model_selection.selection_of(settings, pinned, start)
    try:
        return build_service(settings, models, selection, parts)
    except KeysFileError as error:
        worker.record_failed_start(str(error))
        raise BentoMLException(f"TABSERVE_KEYS_FILE: {error}") from None


def versions_at_start() -> Mapping[str, int]:
    """The champions at the start of this worker's supervisor."""
    return versions_of(os.environ.get(START_VARIABLE, "").split(",")) if worker.in_worker() else {}


def select_models(settings: Settings, pinned: Sequence[str], at_start: Mapping[str, int]) -> list[TabularModel]:
    """Load the models to serve. TensorFlow is loaded by workers only. Raises SelectionError."""
    checked = {f"{name}:{version}" for name, version in at_start.items()}

    def load(stored: StoredVersion, settings: Settings) -> TabularModel:
        if not worker.in_worker():
            return describe(stored, settings)
        loads = load_version if stored.tag in checked else load_with_check  # the supervisor has checked it
        return loads(stored, settings)

    return model_selection.select_models(settings, pinned, at_start, load)


Tabserve = from_environment()
