"""What is served and how the server is: models, probes, metrics, the OpenAPI document."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import orjson

from models.json_text import dumps
from models.tabular_model import TabularModel
from service.data_plane import DataPlane
from service.errors import RequestError
from service.http.http_exchange import HttpExchange, Response
from service.registry import Snapshot
from service.routes.native import UnknownModelRoute
from service.routes.route import Route

MODELS = "/models/"
METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Page(Route):
    """Something to read, answered whatever state the server is in."""

    protocol = "page"
    methods = ("GET", "HEAD")
    allow = ("GET", "HEAD", "OPTIONS")
    always = True


class StatusPage(Page):
    body: ClassVar[bytes] = b'{"status":"ok"}'

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(self.body)


class LivenessPage(StatusPage):
    """Whether the process answers."""


class ReadinessPage(StatusPage):
    """Whether requests should be sent here."""

    always = False
    probe = True


class MetricsPage(Page):
    async def handle(self, exchange: HttpExchange) -> Response:
        metrics = self.plane.metrics
        metrics.flush()
        return Response(await self.plane.run_in_thread(metrics.page), METRICS_TYPE)


class OpenApiPage(Page):
    """The OpenAPI document, made when it is first requested."""

    def __init__(self, plane: DataPlane, document: Callable[[], bytes]) -> None:
        super().__init__(plane)
        self._make = document
        self._document: bytes | None = None

    async def handle(self, exchange: HttpExchange) -> Response:
        if self._document is None:
            self._document = self._make()
        return Response(self._document)


class ModelListPage(Page):
    """`GET /models`."""

    def __init__(self, plane: DataPlane, models: Sequence[TabularModel]) -> None:
        super().__init__(plane)
        self._models = models

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(orjson.dumps({"models": [summary(model) for model in self._models]}))


class ModelPage(Page):
    """`GET /models/{name}`."""

    def __init__(self, plane: DataPlane, model: TabularModel) -> None:
        super().__init__(plane)
        self._model = model

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(dumps(description(self._model)))


class PageRoutes:
    def listed(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        routes: dict[str, Route] = {
            "/livez": LivenessPage(plane),
            "/readyz": ReadinessPage(plane),
            "/metrics": MetricsPage(plane),
            "/models": ModelListPage(plane, snapshot.champions),
        }
        return routes | {f"{MODELS}{name}": self._describe(plane, snapshot, name) for name in snapshot.names}

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        if not path.startswith(MODELS):
            return None
        return self._describe(plane, snapshot, path.removeprefix(MODELS))

    def _describe(self, plane: DataPlane, snapshot: Snapshot, name: str) -> Route:
        try:
            return ModelPage(plane, snapshot.find(name).model)
        except RequestError as error:
            return UnknownModelRoute(plane, error)


def summary(model: TabularModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "task": model.schema.task,
        "target": model.schema.target,
        "metric": headline_metric(model),
        "engine": model.engine.name,
    }


def description(model: TabularModel) -> dict[str, Any]:
    schema = model.schema
    return {
        "name": model.name,
        "version": model.version,
        "task": schema.task,
        "target": schema.target,
        "classes": schema.classes,
        "engine": {"name": model.engine.name, "reason": model.engine.reason},
        "schema": orjson.loads(schema.to_json()),
        "metrics": model.metrics,
        "ignored": [{"name": column.name, "reason": column.reason} for column in schema.ignored],
        "examples": examples(model),
        "card": model.card,
    }


def headline_metric(model: TabularModel) -> dict[str, Any] | None:
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
