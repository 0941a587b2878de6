"""`GET /models/{name}`: schema, quality, examples and card of a model, and the histograms of its columns."""

import asyncio
from typing import Any
from urllib.parse import parse_qsl

import orjson

from models.json_text import dumps
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from service.data_plane import DataPlane
from service.http.http_exchange import HttpExchange, Response
from service.routes.drift_page import parse_flag
from service.routes.page import Page
from service.served_model import ServedModel

HISTOGRAMS = "histograms"


class ModelPage(Page):
    """The page of a model. `?histograms=true` adds the histograms of the columns. Other options are ignored."""

    def __init__(self, plane: DataPlane, served: ServedModel) -> None:
        super().__init__(plane, model_name=served.name)
        self._served = served

    async def handle(self, exchange: HttpExchange) -> Response:
        query = dict(parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True, errors="replace"))
        if not parse_flag(HISTOGRAMS, query.get(HISTOGRAMS, "")):
            return Response(dumps(model_description(self._served)))
        histograms = await asyncio.to_thread(histograms_of, self._served.model)
        return Response(dumps(model_description(self._served) | {HISTOGRAMS: histograms}))


def model_description(served: ServedModel) -> dict[str, Any]:
    model, plan = served.model, served.batcher.plan
    schema = model.schema
    return {
        "name": model.name,
        "version": model.version,
        "task": schema.task,
        "target": schema.target,
        "classes": schema.classes,
        "engine": {"name": model.engine.name, "reason": model.engine.reason},
        "batching": {"inline_rows": served.inline_rows, "chunk_rows": plan.chunk_rows, "merge": plan.merge},
        "schema": schema_description(schema),
        "metrics": model.metrics,
        "ignored": [{"name": column.name, "reason": column.reason} for column in schema.ignored],
        "examples": examples(model),
        "card": model.card,
    }


def schema_description(schema: FeatureSchema) -> dict[str, Any]:
    """`features.json` without the scores of texts, which are tens of thousands of numbers."""
    description: dict[str, Any] = orjson.loads(schema.to_json())
    for feature in description["features"]:
        feature.pop("score", None)
    return description


def examples(model: TabularModel, count: int = 3) -> list[dict[str, Any]]:
    """Golden rows with their predictions."""
    rows = model.golden.rows[:count]
    if not rows:
        return []
    return [
        {"row": row, "prediction": prediction}
        for row, prediction in zip(rows, model.present(model.predict_rows(rows)), strict=True)
    ]


def histograms_of(model: TabularModel) -> dict[str, list[dict[str, Any]]]:
    """The cells of each column with their fractions of the training rows; empty for a version without a reference."""
    if model.reference is None:
        return {}
    from models.drift.histograms import training_histograms  # a worker needs less memory without this module

    return training_histograms(model.schema, model.reference)
