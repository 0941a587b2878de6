"""Pages about the server and its models: `/models`, `/livez`, `/readyz`, `/metrics`, `/docs.json`."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import orjson

from models.json_text import dumps
from models.tabular_model import TabularModel
from service.data_plane import DataPlane
from service.drift_metrics import drift_metrics
from service.errors import RequestError
from service.http.http_exchange import HttpExchange, Response
from service.registry import Snapshot
from service.routes.model_page import ModelPage
from service.routes.native import UnknownModelRoute
from service.routes.page import Page
from service.routes.route import Route
from service.routes.version_pages import VersionCardPage, VersionListPage

MODELS, VERSIONS = "/models/", "/versions"
CARD = re.compile(r"([^/]+)/versions/0*([1-9][0-9]{0,17})/card")
MAX_DOCUMENTS = 16  # maximum number of cached documents; there is one for each set of models that a key may see
METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class StatusPage(Page):
    """Responds with `{"status": "ok"}`."""

    access = "open"
    body: ClassVar[bytes] = b'{"status":"ok"}'

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(self.body)


class LivenessPage(StatusPage):
    """The liveness probe: the process responds."""


class ReadinessPage(StatusPage):
    """The readiness probe: load balancers may send requests. Reports versions that cannot be loaded."""

    always = False
    probe = True

    async def handle(self, exchange: HttpExchange) -> Response:
        following = self.plane.following
        if not following.problems:
            return Response(self.body)
        exchange.context.access.identify(exchange)
        may_see = "admin" in exchange.caller.scopes and exchange.caller.models is None
        return Response(dumps({"status": "ok", **asdict(following)}) if may_see else self.body)


class MetricsPage(Page):
    """The metrics in Prometheus' text format."""

    access = "metrics"

    async def handle(self, exchange: HttpExchange) -> Response:
        exchange.check_all_models()
        metrics = self.plane.metrics
        metrics.flush()
        await self.plane.drift.flush()
        page = await self.plane.run_in_thread(metrics.page)
        return Response(page + await asyncio.to_thread(self.drift_page), METRICS_TYPE)

    def drift_page(self) -> bytes:
        """The drift metrics of all versions."""
        drift = self.plane.drift
        return drift_metrics([drift.report(served) for served in self.plane.snapshot.served if served.sample])


class OpenApiPage(Page):
    """The OpenAPI document of the models that the caller may see. It is built for the first request."""

    def __init__(self, plane: DataPlane, names: Sequence[str], document: Callable[[Sequence[str]], bytes]) -> None:
        """names: the names of all models. document: builds the document of selected models."""
        super().__init__(plane)
        self._names = names
        self._build = document
        self._documents: dict[tuple[str, ...], bytes] = {}

    async def handle(self, exchange: HttpExchange) -> Response:
        visible = tuple(exchange.caller.visible(self._names))
        if visible not in self._documents:
            if len(self._documents) == MAX_DOCUMENTS:
                self._documents.clear()
            self._documents[visible] = self._build(visible)
        return Response(self._documents[visible])


class ModelListPage(Page):
    """`GET /models`."""

    def __init__(self, plane: DataPlane, models: Sequence[TabularModel]) -> None:
        super().__init__(plane)
        self._models = models

    async def handle(self, exchange: HttpExchange) -> Response:
        visible = [model for model in self._models if exchange.caller.may_use(model.name)]
        return Response(orjson.dumps({"models": [model_summary(model) for model in visible]}))


class PageRoutes:
    """The routes of all pages except the OpenAPI document, which the router adds."""

    def common_routes(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        routes: dict[str, Route] = {
            "/livez": LivenessPage(plane),
            "/readyz": ReadinessPage(plane),
            "/metrics": MetricsPage(plane),
            "/models": ModelListPage(plane, snapshot.champions),
        }
        return routes | {f"{MODELS}{name}": self._model_page(plane, snapshot, name) for name in snapshot.names}

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        if not path.startswith(MODELS):
            return None
        return self._model_page(plane, snapshot, path.removeprefix(MODELS))

    def _model_page(self, plane: DataPlane, snapshot: Snapshot, name: str) -> Route:
        card = CARD.fullmatch(name)
        model = card[1] if card else name.removesuffix(VERSIONS)
        try:
            if card:
                return VersionCardPage(plane, snapshot.entry(model), int(card[2]))
            if name.endswith(VERSIONS):
                return VersionListPage(plane, snapshot.entry(model))
            return ModelPage(plane, snapshot.find(name))
        except RequestError as error:
            return UnknownModelRoute(plane, model, error)


def model_summary(model: TabularModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "task": model.schema.task,
        "target": model.schema.target,
        "metric": headline_metric(model),
        "engine": model.engine.name,
    }


def headline_metric(model: TabularModel) -> dict[str, Any] | None:
    """The metric that training selected to summarise the quality of the model."""
    metric = model.metrics.get("metric")
    return {"name": metric["name"], "value": metric["value"]} if isinstance(metric, dict) else None
