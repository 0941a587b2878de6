"""The one way in for every protocol: find the model, check the rows, predict them in a batch, present the answers."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import orjson

from models import json_text
from models.column_validation import validate_columns
from models.columns import Columns
from models.frame import Frame
from models.outputs import Answers
from models.rows import ValidatedRows, from_valid_rows, validate_rows
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import nearest, truncate
from service.batcher import DisconnectWaiter
from service.errors import NotFound, NotReady, RowsNotValid, TooManyRows
from service.metrics import Metrics
from service.protocols import native
from service.served_model import ServedModel
from service.settings import Settings
from service.validation import require_valid

LARGE_BYTES = native.LARGE_BODY_BYTES  # a body above it is read and checked beside the event loop
LARGE_ROWS = 1000  # more answers than that are written beside the event loop
LARGE_COLUMN = 2000  # longer columns than that are checked beside the event loop
log = logging.getLogger("tabserve.dataplane")
T = TypeVar("T")


class DataPlane:
    """Deadlines are points on the clock of `time.monotonic`; None means TABSERVE_TIMEOUT_S from now."""

    def __init__(self, models: Sequence[TabularModel], settings: Settings, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.metrics = metrics or Metrics()
        self.models = {model.name: model for model in models}
        self.served: dict[str, ServedModel] = {}
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="beside")

    def start(self) -> None:
        """Warm the engines up; after this every model answers."""
        for name, model in self.models.items():
            tally = self.metrics.model(name, model.version, model.engine.name)
            self.served[name] = served = ServedModel(model, tally, self.settings)
            accepted = from_valid_rows(model.schema, model.golden.rows[:1]) if model.golden.rows else None
            if accepted:
                served.writer.write(accepted, model.predict(accepted.frame))
            log.info(
                "model ready", extra={"model": model.tag, "engine": model.engine.name, **served.batcher.plan._asdict()}
            )

    def close(self) -> None:
        for served in self.served.values():
            served.batcher.close()
        self._beside.shutdown(wait=False, cancel_futures=True)

    def find(self, name: str) -> ServedModel:
        """Raises NotFound, or NotReady before `start`."""
        served = self.served.get(name)
        if served is None:
            if name in self.models:
                raise NotReady(f"model {name!r} is not loaded yet")
            near = nearest(name, self.models)
            hint = f", did you mean {near!r}?" if near else f"; there are {', '.join(self.models)}"
            raise NotFound(f"there is no model {truncate(name)!r}{hint}")
        return served

    # The ways in, from the most to the least done here

    async def predict_json(
        self,
        name: str,
        body: bytes,
        *,
        on_invalid: str = "fail",
        deadline: float | None = None,
        request_id: str = "",
        gone: DisconnectWaiter | None = None,
    ) -> bytes:
        """The body of a predict request -> the body of its answer. Raises RequestError."""
        served = self.find(name)
        schema, limit = served.model.schema, self.settings.max_rows
        try:
            if len(body) > LARGE_BYTES:
                accepted = await self.beside(native.read, schema, body, on_invalid, limit)
            else:
                accepted = native.read(schema, body, on_invalid, limit)
        except RowsNotValid as error:
            served.tally.verdict(error.valid, error.invalid)
            raise
        answers = await self._predict(served, accepted, deadline, request_id, gone)
        skip = on_invalid == "skip"
        if accepted.count > LARGE_ROWS:
            return await self.beside(lambda: served.writer.write(accepted, answers, skip=skip))
        return served.writer.write(accepted, answers, skip=skip)

    async def predict_rows(
        self,
        name: str,
        rows: Sequence[object],
        *,
        skip: bool = False,
        deadline: float | None = None,
        request_id: str = "",
        gone: DisconnectWaiter | None = None,
    ) -> tuple[ValidatedRows, Answers]:
        """Rows as JSON values -> the verdict on them and the answers of the valid ones. Raises RequestError."""
        if len(rows) > self.settings.max_rows:
            raise TooManyRows(len(rows), self.settings.max_rows)
        return await self.predict_checked(
            name,
            lambda schema: require_valid(validate_rows(schema, rows), skip=skip),
            large=len(rows) > LARGE_ROWS,
            deadline=deadline,
            request_id=request_id,
            gone=gone,
        )

    async def predict_columns(
        self,
        name: str,
        columns: Columns,
        count: int,
        *,
        skip: bool = False,
        deadline: float | None = None,
        request_id: str = "",
        gone: DisconnectWaiter | None = None,
    ) -> tuple[ValidatedRows, Answers]:
        """`count` rows that came as whole columns, likewise."""
        if count > self.settings.max_rows:
            raise TooManyRows(count, self.settings.max_rows)
        return await self.predict_checked(
            name,
            lambda schema: require_valid(validate_columns(schema, columns, count), skip=skip),
            large=count > LARGE_COLUMN,
            deadline=deadline,
            request_id=request_id,
            gone=gone,
        )

    async def predict_checked(
        self,
        name: str,
        check: Callable[[FeatureSchema], ValidatedRows],
        *,
        large: bool = False,
        deadline: float | None = None,
        request_id: str = "",
        gone: DisconnectWaiter | None = None,
    ) -> tuple[ValidatedRows, Answers]:
        """The same for rows in any form, given by what reads and checks them; `large`: beside the event loop."""
        served = self.find(name)
        schema = served.model.schema
        try:
            accepted = await self.beside(check, schema) if large else check(schema)
        except RowsNotValid as error:
            served.tally.verdict(error.valid, error.invalid)
            raise
        return accepted, await self._predict(served, accepted, deadline, request_id, gone)

    async def predict_frame(
        self,
        name: str,
        frame: Frame,
        *,
        deadline: float | None = None,
        request_id: str = "",
        gone: DisconnectWaiter | None = None,
    ) -> Answers:
        """Rows that are checked and framed already. Raises RequestError."""
        return await self._predict(
            self.find(name), ValidatedRows(frame, len(frame.numbers)), deadline, request_id, gone
        )

    async def _predict(
        self,
        served: ServedModel,
        accepted: ValidatedRows,
        deadline: float | None,
        request_id: str,
        gone: DisconnectWaiter | None,
    ) -> Answers:
        tally, rows = served.tally, len(accepted.frame.numbers)
        tally.verdict(rows, accepted.count - rows)
        for warnings in accepted.warnings.values():
            tally.warn(warning.code for warning in warnings)
        if not rows:
            return np.empty((0, 1))
        if deadline is None:
            deadline = time.monotonic() + self.settings.timeout_s
        tally.inflight_rows += rows
        try:
            return await served.batcher.predict(accepted.frame, deadline, request_id, gone)
        finally:
            tally.inflight_rows -= rows

    async def beside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run something long beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._beside, work, *arguments)

    # What is served

    def list_models(self) -> bytes:
        """The body of `GET /models`."""
        return orjson.dumps({"models": [summary(model) for model in self.models.values()]})

    def describe(self, name: str) -> bytes:
        """The body of `GET /models/{name}`. Raises NotFound or NotReady."""
        model = self.find(name).model
        return json_text.dumps(
            {
                "name": model.name,
                "version": model.version,
                "task": model.schema.task,
                "target": model.schema.target,
                "classes": model.schema.classes,
                "engine": {"name": model.engine.name, "reason": model.engine.reason},
                "schema": orjson.loads(model.schema.to_json()),
                "metrics": model.metrics,
                "ignored": [{"name": column.name, "reason": column.reason} for column in model.schema.ignored],
                "examples": examples(model),
                "card": model.card,
            }
        )


def summary(model: TabularModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "task": model.schema.task,
        "target": model.schema.target,
        "metric": headline(model),
        "engine": model.engine.name,
    }


def headline(model: TabularModel) -> dict[str, Any] | None:
    """The one number that says how good a model is, as training chose it."""
    metric = model.metrics.get("metric")
    return {"name": metric["name"], "value": metric["value"]} if isinstance(metric, dict) else None


def examples(model: TabularModel, count: int = 3) -> list[dict[str, Any]]:
    """Golden rows with what is answered to them."""
    rows = model.golden.rows[:count]
    if not rows:
        return []
    return [
        {"row": row, "prediction": prediction}
        for row, prediction in zip(rows, model.present(model.predict_rows(rows)), strict=True)
    ]
