"""A served model version: the model with its batcher, its counters and the objects that protocols compile for it."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from models.fast.single_row import single_row_predictor
from models.frame import Row
from models.outputs import Outputs
from models.row_warnings import find_warnings
from models.tabular_model import TabularModel
from service.batcher import Batcher
from service.engine_cost import EngineCost
from service.metrics import ModelCounters
from service.settings import Settings

T = TypeVar("T")


class ServedModel:
    """A model version that is ready for requests."""

    def __init__(self, model: TabularModel, counters: ModelCounters, settings: Settings, cost: EngineCost) -> None:
        self.model = model
        self.name = model.name
        self.version = model.version
        self.counters = counters
        self.batcher = Batcher(model, counters, settings.queue_rows, cost, settings.batching)
        self._max_rows = settings.max_rows
        self.adopt(cost)
        self._single_row = single_row_predictor(model)
        self._compiled: dict[Callable[[TabularModel], Any], Any] = {}

    def adopt(self, cost: EngineCost) -> None:
        """Predict from now on as an engine that costs so much should be run."""
        self.batcher.adopt(cost)
        self.inline_rows = min(self.batcher.plan.inline_rows, self._max_rows)
        self.counters.inline_rows = self.inline_rows

    def compiled(self, factory: Callable[[TabularModel], T]) -> T:
        """An object that a protocol builds once per model version, such as a writer. Built on first use."""
        compiled = self._compiled.get(factory)
        if compiled is None:
            compiled = self._compiled[factory] = factory(self.model)
        result: T = compiled
        return result

    def predict_rows_fast(self, rows: list[dict[str, Any]]) -> Outputs | float | None:
        """Predict a few valid rows at once. Returns the value itself for a single row of some regressions.

        None if a row has warnings, or for any other reason to use the general path.
        """
        if len(rows) > self.inline_rows:
            return None
        if self._single_row and len(rows) == 1:
            return self._predict_single_row(rows[0])
        schema = self.model.schema
        frame = schema.frames.from_rows(rows)
        if find_warnings(schema, frame, rows) or (outputs := self.batcher.predict_now(frame)) is None:
            return None
        self.counters.valid_rows += len(rows)
        return outputs

    def _predict_single_row(self, row: Row) -> float | Outputs | None:
        assert self._single_row
        started = time.monotonic()
        try:
            output = self._single_row(row)
        except Exception:  # the general path meets the error again and reports it
            return None
        if output is None:
            return None
        counters = self.counters
        counters.engine_seconds.observe(time.monotonic() - started)
        counters.batch_rows.observe(1)
        counters.valid_rows += 1
        return output
