"""The data plane: validates rows, predicts them in batches and reports them to the observer, for all protocols.

It imports no protocol. A route decodes its format, passes a function that validates rows against a schema, and writes
the outputs. Deadlines are times of `time.monotonic`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from models.frame import Row
from models.output_options import OutputOptions
from models.outputs import NO_OUTPUTS, Outputs
from models.rows import ValidatedRows, from_valid_rows, validate_rows
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from service.batcher import DisconnectWaiter
from service.drift_monitor import DriftMonitor, state_folder
from service.engine_cost import EngineCost
from service.error_mapping import require_valid, translate_option_errors
from service.errors import RowsNotValid, TooManyRows
from service.explanation_queue import ExplanationQueue
from service.feedback.live_metrics import LiveMetrics
from service.following_status import FollowingStatus
from service.memory_budget import MemoryBudget
from service.metrics import Metrics
from service.registry import Registry, Snapshot
from service.served_model import ServedModel
from service.settings import Settings
from service.shadow_queue import ShadowQueue
from service.shared_costs import SharedCosts

if TYPE_CHECKING:  # only workers with capture or feedback import these modules and SQLite, which take 1.4 MB
    from service.capture.capture import Capture
    from service.feedback.feedback_desk import FeedbackDesk

LARGE_BODY_BYTES = 256 * 1024  # larger bodies are parsed and validated in a thread
LARGE_ROWS = 1000  # a larger number of outputs is encoded in a thread
log = logging.getLogger("tabserve.data_plane")
T = TypeVar("T")

RowsValidator = Callable[[FeatureSchema], ValidatedRows]
"""Decodes and validates rows. Raises RowsNotValid if a row is invalid and not skipped, and other RequestErrors."""


class PredictedRows(NamedTuple):
    """The validated rows of a request, and the outputs of the valid rows."""

    rows: ValidatedRows
    outputs: Outputs


class PredictionObserver(Protocol):
    """Receives all predicted rows. It is called on the event loop and must therefore be fast."""

    def __call__(self, served: ServedModel, rows: ValidatedRows, outputs: Outputs, /) -> None: ...


class PredictionContext(NamedTuple):
    """The request to which a prediction belongs.

    disconnected: waits until the client disconnects. count_rows: receives the number of validated rows, for the access
    log. is_first_block: whether these are the first rows of the request. client: the name of the client's key.
    """

    deadline: float
    request_id: str = ""
    disconnected: DisconnectWaiter | None = None
    count_rows: Callable[[int], None] | None = None
    is_first_block: bool = True
    client: str = ""


def json_rows_validator(rows: Sequence[object], *, skip: bool = False) -> RowsValidator:
    """A validator for rows that are JSON values."""
    return lambda schema: require_valid(validate_rows(schema, rows), skip=skip)


def as_outputs(outputs: Outputs | float) -> Outputs:
    """The outputs of a fast path, which returns the value itself for a single row of some regressions."""
    return Outputs(np.array([[outputs]])) if isinstance(outputs, float) else outputs


class DataPlane:
    """Predicts rows with the models of a registry."""

    def __init__(self, models: Sequence[TabularModel], settings: Settings, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.metrics = metrics or Metrics()
        self.registry = Registry(Snapshot(loading={model.name: model for model in models}))
        self.observer: PredictionObserver | None = None
        self.following = FollowingStatus()
        self.shadows = ShadowQueue(self.metrics, settings.trusted_keys)
        self.drift = DriftMonitor()
        self.capture: Capture | None = None
        self.live = LiveMetrics(None)
        self.costs = SharedCosts(None)
        self.memory = MemoryBudget()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="data-plane")
        self._explanations = ExplanationQueue(settings.max_evaluations, settings.trusted_keys)

    def start(self, folder: Path | None = None) -> None:
        """Load all models: measure and warm up their engines.

        folder: the folder that the workers of this server share; None for a single process.
        """
        self.costs = SharedCosts(folder)
        models = [*self.snapshot.champions]
        costs = self.costs.measure(models)
        state = state_folder(self.settings.state, folder)
        snapshot = Snapshot.of([self._prepare(model, cost) for model, cost in zip(models, costs, strict=True)])
        self.drift = DriftMonitor(state)
        self.drift.follow(snapshot.served)
        self.registry.snapshot = snapshot
        if self.settings.capture is not None:
            from service.capture.capture import Capture

            self.capture = Capture(self.settings, state, self.metrics)
            self.capture.start()
        self.live = LiveMetrics(state)

    def load(self, model: TabularModel) -> ServedModel:
        """Prepare a model version for serving: measure and warm up its engine. Blocks the calling thread."""
        return self._prepare(model, self.costs.measure([model])[0])

    def _prepare(self, model: TabularModel, cost: EngineCost) -> ServedModel:
        if model.golden.rows:
            model.predict_rows(model.golden.rows[:1])
        counters = self.metrics.add(model.name, model.version, model.engine.name)
        served = ServedModel(model, counters, self.settings, cost)
        plan = served.batcher.plan._asdict()
        log.info("model ready", extra={"model": model.tag, "engine": model.engine.name, **plan})
        return served

    def replace(self, snapshot: Snapshot) -> None:
        """Serve another snapshot, starting with the next request. Requests in flight finish with their versions."""
        before = self.registry.snapshot
        self.drift.follow(snapshot.served)
        self.registry.snapshot = snapshot
        remaining = {id(served) for served in snapshot.served}
        for served in before.served:
            if id(served) not in remaining:
                self.metrics.retire(served.counters)

    def close(self) -> None:
        self.drift.close()
        for served in self.registry.snapshot.served:
            served.close()
        self._explanations.close()
        self.shadows.close()
        if "feedback" in vars(self):
            self.feedback.close()
        if self.capture is not None:
            self.capture.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def feedback(self) -> "FeedbackDesk":
        """The feedback desk of this worker, created at its first use."""
        from service.feedback.feedback_desk import FeedbackDesk

        return FeedbackDesk(self.live, self.metrics, self.capture)

    @property
    def snapshot(self) -> Snapshot:
        """The current snapshot. Each request reads it only once."""
        return self.registry.snapshot

    def extended(self, served: ServedModel, options: OutputOptions) -> ServedModel:
        """The version for requests with these options. Raises RequestNotValid if the version does not support them."""
        if not options:
            return served
        with translate_option_errors():
            return served.extended(options)

    async def predict(
        self, served: ServedModel, validate: RowsValidator, context: PredictionContext, *, large: bool = False
    ) -> PredictedRows:
        """Validate rows and predict the valid ones. large: validate in a thread. Raises RequestError."""
        rows = await self.validate(served, validate, large=large)
        return PredictedRows(rows, await self.predict_validated(served, rows, context))

    async def validate(self, served: ServedModel, validate: RowsValidator, *, large: bool) -> ValidatedRows:
        """Run `validate`, in a thread if it scores texts, which takes 20 µs to 1 ms for each text. Counts refused rows.
        Raises RequestError."""
        schema = served.model.schema
        try:
            return await self.run_in_thread(validate, schema) if large or schema.has_text else validate(schema)
        except RowsNotValid as error:
            served.counters.valid_rows += error.valid
            served.count_refused(error.invalid, error.errors)
            raise

    async def predict_validated(self, served: ServedModel, rows: ValidatedRows, context: PredictionContext) -> Outputs:
        """Predict the valid rows. All rows are predicted here or in `predict_fast`. Raises RequestError."""
        counters, valid = served.counters, len(rows.frame.numbers)
        if context.count_rows:
            context.count_rows(rows.count)
        counters.valid_rows += valid
        if rows.errors:  # the errors of skipped rows
            served.count_refused(rows.count - valid, rows.errors)
        for warnings in rows.warnings.values():
            counters.warn(warning.code for warning in warnings)
        if not valid:
            return NO_OUTPUTS
        counters.inflight_rows += valid
        try:
            outputs = await served.batcher.predict(
                rows.frame,
                context.deadline,
                context.request_id,
                context.disconnected,
                context.client,
                droppable=context.is_first_block,
            )
        finally:
            counters.inflight_rows -= valid
        if served.sample is not None:
            served.sample.add_frame(rows.frame, outputs, first=context.is_first_block)
        if self.observer:
            self.observer(served, rows, outputs)
        if self.capture is not None and context.is_first_block and self.capture.queue.is_sampled():
            self.capture.queue.put(served, rows, outputs, context.request_id)
        if self.shadows.active and self.shadows.is_sampled(served):
            self.shadows.put(served, rows.frame, outputs)
        if served.explains:
            assert served.extension is not None
            explain = self._explanations.explain
            return await explain(served.extension, rows.frame, outputs, context.deadline, context.client)
        return outputs

    def predict_fast(
        self, served: ServedModel, rows: list[dict[str, Any]], request_id: bytes | str = ""
    ) -> Outputs | float | None:
        """Predict a few valid rows without warnings at once. None for other rows: call `predict`."""
        outputs = None if served.explains else served.predict_rows_fast(rows)
        if outputs is None:
            return None
        if served.sample is not None:
            served.sample.add_rows(rows, outputs)
        if self.capture is not None and self.capture.queue.is_sampled():
            self.capture.queue.put_rows(served, rows, outputs, request_id)
        if self.observer:
            self._observe_fast(served, rows, outputs)
        if self.shadows.active and self.shadows.is_sampled(served):
            self.shadows.put(served, rows, as_outputs(outputs))
        return outputs

    def _observe_fast(self, served: ServedModel, rows: list[dict[str, Any]], outputs: Outputs | float) -> None:
        assert self.observer
        self.observer(served, from_valid_rows(served.model.schema, rows), as_outputs(outputs))

    def predict_row_fast(self, served: ServedModel, row: Row, request_id: bytes | str) -> Outputs | None:
        """Validate and predict one row at once. None if that is not possible: call `predict`."""
        if served.inline_rows < 1 or (rows := served.model.schema.validators.validate_values([row])) is None:
            return None
        outputs = self.predict_fast(served, rows, request_id)
        return None if outputs is None else as_outputs(outputs)

    def check_row_count(self, rows: int) -> None:
        """Raises TooManyRows."""
        if rows > self.settings.max_rows:
            raise TooManyRows(rows, self.settings.max_rows)

    async def run_in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run long work in the data plane's thread, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
