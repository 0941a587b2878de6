"""A served model version: the model with its batcher, its counters and the objects that protocols compile for it."""

import copy
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeVar

from models.fast.single_row import single_row_predictor
from models.output_options import ExtendedModel, OutputOptions, with_options
from models.outputs import Outputs
from models.row_warnings import find_warnings
from models.rows import RowError
from models.tabular_model import TabularModel
from service.batcher import Batcher
from service.engine_cost import EngineCost
from service.metrics import ModelCounters
from service.refused_rows import RefusedRows
from service.row_sample import RowSample
from service.settings import Settings

MAX_EXTENDED = 32  # maximum number of option combinations whose protocol objects a version caches
MAX_ERROR_COLUMNS = 100  # maximum number of columns of a version that have a time series of errors
T = TypeVar("T")


class ServedModel:
    """A model version that is ready for requests."""

    def __init__(self, model: TabularModel, counters: ModelCounters, settings: Settings, cost: EngineCost) -> None:
        self.model = model
        self.name = model.name
        self.version = model.version
        self.counters = counters
        self.batcher = Batcher(model, counters, settings.queue_rows, cost, settings.batching)
        self._settings, self._max_rows = settings, settings.max_rows
        self.sample: RowSample | None = None  # the sample of its rows, if drift is counted; see `DriftMonitor`
        self.refused: RefusedRows | None = None  # the counts of its refused rows, also for `DriftMonitor`
        self._scaled_batcher: Batcher | None = None
        self.adopt(cost)
        self._single_row = single_row_predictor(model)
        self._error_columns = frozenset(self.error_columns)
        self._compiled: dict[Callable[[TabularModel], Any], Any] = {}
        self._extended: dict[OutputOptions, ServedModel] = {}
        self.extension: ExtendedModel | None = None  # the version with intervals and explanations, see `extended`
        self.explains = False  # whether the predictions are explained, too

    def adopt(self, cost: EngineCost) -> None:
        """Change the batch plan to one for an engine with this cost."""
        self._cost = cost
        self.batcher.adopt(cost)
        if self._scaled_batcher is not None:
            self._scaled_batcher.adopt(cost)
        self.inline_rows = min(self.batcher.plan.inline_rows, self._max_rows)
        self.counters.inline_rows = self.inline_rows

    def extended(self, options: OutputOptions) -> "ServedModel":
        """This version for requests with these options. Raises OptionError."""
        if not options:
            return self
        served = self._extended.pop(options, None)
        if served is None:
            extension = with_options(self.model, options)
            served = copy.copy(self)
            served.model, served.extension, served.explains = extension.model, extension, extension.explains
            served.batcher = self._batcher_with_scale() if extension.model.wants_scale else self.batcher
            served._compiled, served._single_row = {}, None
            if len(self._extended) == MAX_EXTENDED:
                del self._extended[next(iter(self._extended))]
        self._extended[options] = served  # at the end, because the dictionary is in order of use
        return served

    @property
    def error_columns(self) -> Sequence[str]:
        """The columns whose errors are counted separately."""
        return [*islice(self.model.schema.by_name, MAX_ERROR_COLUMNS)]

    def count_refused(self, rows: int, errors: Sequence[RowError]) -> None:
        """Count invalid rows, and their errors by column and code."""
        self.counters.invalid_rows += rows
        self.counters.count_errors(errors, self._error_columns)
        if self.refused is not None:
            self.refused.add(rows, errors)

    def _batcher_with_scale(self) -> Batcher:
        if self._scaled_batcher is None:
            settings, model = self._settings, self.model.with_scale
            self._scaled_batcher = Batcher(model, self.counters, settings.queue_rows, self._cost, settings.batching)
        return self._scaled_batcher

    def close(self) -> None:
        """End the threads."""
        self.batcher.close()
        if self._scaled_batcher is not None:
            self._scaled_batcher.close()

    def compiled(self, factory: Callable[[TabularModel], T]) -> T:
        """An object that a protocol builds once per model version, such as a writer. It is built at its first use."""
        compiled = self._compiled.get(factory)
        if compiled is None:
            compiled = self._compiled[factory] = factory(self.model)
        result: T = compiled
        return result

    def predict_rows_fast(self, rows: list[dict[str, Any]]) -> Outputs | float | None:
        """Predict a few valid rows at once. Returns the value itself for a single row of some regressions, or None if
        the general path must be used, for example because a row has warnings."""
        if len(rows) > self.inline_rows:
            return None
        if self._single_row is not None and len(rows) == 1:
            started = time.monotonic()
            try:
                output = self._single_row(rows[0])
            except Exception:  # the general path raises the error again and reports it
                return None
            if output is not None:
                self.counters.single_row(time.monotonic() - started)
            return output
        schema = self.model.schema
        frame = schema.frames.from_rows(rows)
        if find_warnings(schema, frame, rows) or (outputs := self.batcher.predict_now(frame)) is None:
            return None
        self.counters.valid_rows += len(rows)
        return outputs
