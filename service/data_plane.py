"""The way of rows to answers, whatever protocol they came by: validate, predict in a batch, observe.

It knows no protocol: a route reads its own format, hands over a function that validates the rows by a schema, and
writes the answers. Deadlines are points on the clock of `time.monotonic`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from models.frame import Row
from models.outputs import NO_OUTPUTS, Outputs
from models.rows import ValidatedRows, from_valid_rows, validate_rows
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from service.batcher import DisconnectWaiter
from service.error_mapping import require_valid
from service.errors import RowsNotValid, TooManyRows
from service.metrics import Metrics
from service.registry import Registry, Snapshot
from service.served_model import ServedModel
from service.settings import Settings

LARGE_BODY_BYTES = 256 * 1024  # a larger body is read and validated in a thread
LARGE_ROWS = 1000  # more answers than that are written in a thread
log = logging.getLogger("tabserve.data_plane")
T = TypeVar("T")


RowsValidator = Callable[[FeatureSchema], ValidatedRows]
"""Reads and validates rows. Raises RowsNotValid where an invalid one is not to be skipped, and other RequestErrors."""


class PredictedRows(NamedTuple):
    """The rows of a request, validated, and the answers to the valid ones."""

    rows: ValidatedRows
    outputs: Outputs


class PredictionObserver(Protocol):
    """Sees every answered row. Called on the event loop, so it must be quick."""

    def __call__(self, served: ServedModel, rows: ValidatedRows, outputs: Outputs, /) -> None: ...


class PredictionContext(NamedTuple):
    """What a prediction needs to know of its request."""

    deadline: float
    request_id: str = ""
    disconnected: DisconnectWaiter | None = None


def json_rows_validator(rows: Sequence[object], *, skip: bool = False) -> RowsValidator:
    """Validates rows that are JSON values already."""
    return lambda schema: require_valid(validate_rows(schema, rows), skip=skip)


class DataPlane:
    """Answers rows by the models of a registry."""

    def __init__(self, models: Sequence[TabularModel], settings: Settings, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.metrics = metrics or Metrics()
        self.registry = Registry(Snapshot(loading={model.name: model for model in models}))
        self.observer: PredictionObserver | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="data-plane")

    def start(self) -> None:
        """Warm up the engines; after this every model answers."""
        self.registry.snapshot = Snapshot.of([self.load(model) for model in self.snapshot.champions])

    def load(self, model: TabularModel) -> ServedModel:
        """A version made ready to be served: measured and warmed up, on the calling thread."""
        served = ServedModel(model, self.metrics.add(model.name, model.version, model.engine.name), self.settings)
        if model.golden.rows:
            model.predict_rows(model.golden.rows[:1])
        plan = served.batcher.plan._asdict()
        log.info("model ready", extra={"model": model.tag, "engine": model.engine.name, **plan})
        return served

    def replace(self, snapshot: Snapshot) -> None:
        """Serve another snapshot from the next request on. Requests under way end with the versions they began with."""
        before = self.registry.snapshot
        self.registry.snapshot = snapshot
        kept = {id(served) for served in snapshot.served}
        for served in before.served:
            if id(served) not in kept:
                self.metrics.retire(served.counters)

    def close(self) -> None:
        for served in self.registry.snapshot.served:
            served.batcher.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def snapshot(self) -> Snapshot:
        """What is served now. A request takes it once."""
        return self.registry.snapshot

    async def predict(
        self, served: ServedModel, validate: RowsValidator, call: PredictionContext, *, large: bool = False
    ) -> PredictedRows:
        """Rows in any form, read and validated by `validate` (in a thread where `large`). Raises RequestError."""
        rows = await self.validate(served, validate, large=large)
        return PredictedRows(rows, await self.predict_validated(served, rows, call))

    async def validate(self, served: ServedModel, validate: RowsValidator, *, large: bool) -> ValidatedRows:
        """The rows that `validate` reads; where it refuses them, they are counted. Raises RequestError."""
        schema = served.model.schema
        try:
            return await self.run_in_thread(validate, schema) if large else validate(schema)
        except RowsNotValid as error:
            served.counters.count_rows(error.valid, error.invalid)
            raise

    async def predict_validated(self, served: ServedModel, rows: ValidatedRows, call: PredictionContext) -> Outputs:
        """The answers to the valid rows. Every answered row passes here, or `predict_fast`. Raises RequestError."""
        counters, valid = served.counters, len(rows.frame.numbers)
        counters.count_rows(valid, rows.count - valid)
        for warnings in rows.warnings.values():
            counters.warn(warning.code for warning in warnings)
        if not valid:
            return NO_OUTPUTS
        counters.inflight_rows += valid
        try:
            answers = await served.batcher.predict(rows.frame, call.deadline, call.request_id, call.disconnected)
        finally:
            counters.inflight_rows -= valid
        if self.observer:
            self.observer(served, rows, answers)
        return answers

    def predict_fast(self, served: ServedModel, rows: list[dict[str, Any]]) -> Outputs | float | None:
        """The answers to a few valid rows of which nothing is to be said, here and now; None: ask `predict`."""
        answers = served.predict_rows_fast(rows)
        if answers is not None and self.observer:
            self._observe_fast(served, rows, answers)
        return answers

    def _observe_fast(self, served: ServedModel, rows: list[dict[str, Any]], answers: Outputs | float) -> None:
        assert self.observer
        outputs = Outputs(np.array([[answers]])) if isinstance(answers, float) else answers
        self.observer(served, from_valid_rows(served.model.schema, rows), outputs)

    def predict_row_fast(self, served: ServedModel, row: Row) -> Outputs | None:
        """The answer to one row that is not validated yet, likewise."""
        if served.inline_rows < 1 or (rows := served.model.schema.validators.validate_values([row])) is None:
            return None
        answers = self.predict_fast(served, rows)
        return Outputs(np.array([[answers]])) if isinstance(answers, float) else answers

    def check_count(self, rows: int) -> None:
        """Raises TooManyRows."""
        if rows > self.settings.max_rows:
            raise TooManyRows(rows, self.settings.max_rows)

    async def run_in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run something long beside the event loop, in the one thread that the data plane has for it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
