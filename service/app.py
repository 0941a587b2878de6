"""Builds the service that `bentoml serve` runs: settings, models, data plane and ASGI application."""

# ruff: noqa: E402 - NumPy reads the number of threads when it is imported

import gc
import os

gc.disable()  # until the service is built: what is imported stays, so collections would only take time
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # the workers share the cores
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # the others keep what a large body took

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bentoml
import orjson
from bentoml.exceptions import BentoMLException
from bentoml.models import BentoModel

from models import store
from models.library_hook import LibraryHookMissing, check_all
from models.store_repair import repair_store
from models.tabular_model import TabularModel
from service import local_copies, logs, metric_files, model_selection
from service.bento_image import REQUIREMENTS, bento_image
from service.data_plane import DataPlane, PredictionContext
from service.exchange import ServerContext
from service.http.asgi import Application
from service.memory_budget import memory_limit, worker_budget
from service.metric_files import LostSeries
from service.metrics import Metrics
from service.model_selection import NoModelStored, SelectionError
from service.openapi import schemas
from service.plan_updates import update_plans
from service.routes.native import predict_json
from service.server import ports, startup, supervisor, worker
from service.server.bentoml_service import service_class
from service.server.library_hooks import all_hooks
from service.settings import Settings, SettingsError, removed_settings
from service.version import version
from service.worker_records import WorkerRecords

GC_THRESHOLD = 20_000  # new objects per collection; with the default of 700, collections scan queued requests often

log = logging.getLogger("tabserve.app")


def build_service(
    settings: Settings,
    models: Sequence[TabularModel],
    records: WorkerRecords | None = None,
    lost: LostSeries | None = None,
) -> Any:
    """The BentoML service for these models. records, lost: of this worker."""
    context = ServerContext(DataPlane(models, settings, Metrics(lost)), settings)
    application = Application(context)

    decorate = bentoml.service(
        name="tabserve",
        service_class=service_class(application.wrap),
        image=bento_image(models) if REQUIREMENTS.is_dir() else None,  # not in an installed wheel
        workers=worker_count(settings, models),
        traffic={"timeout": math.ceil(settings.timeout_s) + 5},
        logging={"access": {"enabled": False}},
        metrics={"enabled": False},  # they have a series for each path, known or not
        tracing={"excluded_urls": ["."]},
    )
    return decorate(endpoints(context, application, models, records))


def endpoints(
    context: ServerContext, application: Application, models: Sequence[TabularModel], records: WorkerRecords | None
) -> type[Any]:
    """The class that BentoML turns into a service: start, stop, and a typed endpoint for each model."""
    plane, settings, state = context.plane, context.settings, context.state

    class Tabserve:
        """Predictions from tables, validated row by row."""

        @bentoml.on_startup  # type: ignore[untyped-decorator]
        async def start(self) -> None:
            self.grpc: Any = None
            try:
                server = startup.check_worker(application)
                await asyncio.to_thread(plane.start, worker.shared_folder())
                if settings.grpc_port is not None:
                    from service.grpc_server import GrpcServer  # needs the extra `grpc`

                    self.grpc = GrpcServer(context)
                    await self.grpc.start(worker.http_host(), settings.grpc_port)
            except Exception as error:
                worker.record_failed_start(f"{type(error).__name__}: {error}")
                raise
            self.tasks = [asyncio.create_task(flush_every_second(plane)), asyncio.create_task(update_plans(plane))]
            if server:
                notify, refuse = self.grpc and self.grpc.drain, self.grpc and self.grpc.refuse
                self.tasks += startup.install_library_hooks(server, state, settings.drain_s, notify, refuse, records)
            plane.metrics.build(version())
            gc.collect()
            if limit := settings.memory_bytes or memory_limit():
                count = worker_count(settings, models)
                plane.memory.limit = worker_budget(limit, count if isinstance(count, int) else os.cpu_count() or 1)
            gc.set_threshold(GC_THRESHOLD, 10, 10)
            gc.freeze()  # collections skip everything loaded so far, which is never freed
            state.mark_ready()

        @bentoml.on_shutdown  # type: ignore[untyped-decorator]
        async def stop(self) -> None:
            state.close()
            if self.grpc:
                await self.grpc.stop()
            for task in self.tasks:
                task.cancel()
            plane.metrics.flush()
            plane.close()

    for model in models:
        endpoint = bentoml.api(route=f"/predict/{model.name}")(predict_function(model, plane))
        setattr(Tabserve, f"predict_{model.name}", endpoint)
        if settings.store is None:
            setattr(Tabserve, f"stored_{model.name}", BentoModel(model.tag))  # a Bento then contains this version
    return Tabserve


def predict_function(model: TabularModel, plane: DataPlane) -> Callable[..., Any]:
    """The typed endpoint of a model for BentoML's schema and for method calls; HTTP requests do not reach it."""
    name = model.name

    async def predict(self: Any, rows: Any) -> Any:
        context = PredictionContext(time.monotonic() + plane.settings.timeout_s)
        body = orjson.dumps({"rows": rows})
        return orjson.loads(await predict_json(plane, plane.snapshot.find(name), body, "fail", context))

    predict.__name__ = predict.__qualname__ = f"predict_{name}"
    predict.__doc__ = f"Predict {model.schema.target}."
    rows_type, response_type = schemas.native_types(model)
    predict.__annotations__ = {"rows": rows_type, "return": response_type}
    return predict


async def flush_every_second(plane: DataPlane) -> None:
    """Flush the metrics once a second until cancelled."""
    while True:
        await asyncio.sleep(1)
        plane.metrics.flush()


def worker_count(settings: Settings, models: Sequence[TabularModel]) -> Any:
    """The number of workers. One for TensorFlow, which uses all cores and would load a copy into each worker."""
    if settings.workers is not None:
        return settings.workers
    return 1 if any(model.engine.name == "tensorflow" for model in models) else "cpu_count"


def from_environment() -> Any:
    """The service for `bentoml serve` in this directory. Raises BentoMLException with a message of one line."""
    worker.end_with_supervisor()
    folder, records, lost, missing = worker.shared_folder(), None, None, None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)  # a replaced worker starts even if the folder was deleted
        missing = local_copies.replace_missing_store(os.environ, folder)
    try:
        settings = Settings.from_environment()
        logs.configure_logging(settings)
        for warning in removed_settings(os.environ):
            log.warning(warning)
        if missing:
            log.warning("the store is missing, loading copies of its versions", extra={"store": missing})
        check_all(all_hooks.EVERYWHERE)
        supervisor.install_supervisor_hooks(settings.drain_s)
        if (
            settings.grpc_port is not None
            and not worker.in_worker()
            and ports.conflict(ports.EVERY_ADDRESS, settings.grpc_port)
        ):
            raise SettingsError(f"TABSERVE_GRPC_PORT={settings.grpc_port}: the port is in use")
        if folder:
            records = WorkerRecords.of_worker(folder)
            records.register()
            worker.wait_after_failed_starts(records)
            lost = metric_files.install(records)
        if not worker.in_worker():
            for repair in repair_store(store.location(settings.store)):
                log.warning("store repaired", extra={"repair": repair})
        pinned = model_selection.pinned_by_bento(Path(__file__))
        models = local_copies.select_models(settings, pinned, folder)
    except (SettingsError, SelectionError, LibraryHookMissing) as error:
        reason = str(error)
        if isinstance(error, NoModelStored) and (place := os.environ.get("AIP_STORAGE_URI")):
            reason += f"; Vertex AI's {place} is not supported: put the models into the image"
        worker.record_failed_start(reason)
        raise BentoMLException(reason) from None
    finally:
        gc.enable()
    os.environ["TABSERVE_MODELS"] = ",".join(model.tag for model in models)  # a replaced worker loads the same versions
    return build_service(settings, models, records, lost)


Tabserve = from_environment()
