"""`/v2/…`: the Open Inference Protocol over REST, as in Triton, KServe and MLServer."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import orjson

from models import store
from models.frame import Frame
from models.json_text import dumps
from models.outputs import Outputs
from models.rows import ValidatedRows
from models.tabular_model import TabularModel
from models.text import truncate
from service.access.caller import Access
from service.data_plane import LARGE_BODY_BYTES, LARGE_ROWS, DataPlane, PredictedRows, PredictionContext
from service.errors import BadJson, NotFound, RequestError
from service.exchange import Exchange, ServerContext
from service.http.http_exchange import HttpExchange, Response
from service.http.negotiation import JSON, check_content_type
from service.http.request_body import BINARY_HEADER
from service.protocols import error_text, oip_json, oip_rows, oip_signature
from service.protocols.oip_options import NO_OPTIONS, requested_options
from service.protocols.oip_signature import ModelSignature
from service.protocols.oip_tensors import InferRequest
from service.registry import ModelEntry, Snapshot
from service.routes.route import ANY_METHOD, Route
from service.routes.split_route import route_of_model
from service.routes.version_changes import set_served
from service.served_model import ServedModel
from service.version import version

OCTET_STREAM = b"application/octet-stream"
TIMEOUT = b"x-request-timeout"
FAST_ROW = ValidatedRows(Frame(np.empty((1, 0)), np.empty((1, 0), np.int64)), 1)
"""A placeholder for the validated row after the fast path."""
EXTENSIONS = ("binary_tensor_data", "model_repository")
MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<action>infer|ready))?/?")
LOAD_OR_UNLOAD = re.compile(r"/v2/repository/models/(?P<name>[^/]+)/(?P<change>load|unload)")


class OipRoute(Route):
    """A route of the Open Inference Protocol. Its errors are `{"error": "..."}`."""

    protocol = "v2"
    access: Access = "predict"

    def error_response(self, error: RequestError) -> Response:
        return Response(dumps({"error": error_text.sentence(error)}), JSON, error_text.status(error), error.headers)


class InferRoute(OipRoute):
    """Predicts the rows in the input tensors."""

    answers_directly = True
    served: ServedModel

    def answer(self, body: bytes, request_id: bytes) -> tuple[bytes, int] | None:
        """The response to one row without warnings."""
        inference = oip_json.read(body, None)
        if requested_options(inference) != NO_OPTIONS:
            return None
        signature = self.served.compiled(ModelSignature)
        signature.check_outputs(inference)
        row = signature.fast_row(inference)
        outputs = None if row is None else self.plane.predict_row_fast(self.served, row, request_id)
        if outputs is None:
            return None
        written, length = signature.write(FAST_ROW, outputs, inference)
        return (written, 1) if length is None else None

    async def handle(self, exchange: HttpExchange) -> Response:
        exchange.set_deadline()
        plane, headers, body = self.plane, exchange.headers, await exchange.read()
        check_content_type(headers.get(b"content-type", b""), (JSON, OCTET_STREAM), "application/json in UTF-8")
        length, large = headers.get(BINARY_HEADER), len(body) > LARGE_BODY_BYTES
        inference = await plane.run_in_thread(oip_json.read, body, length) if large else oip_json.read(body, length)
        context, fast = exchange.prediction_context, TIMEOUT not in headers
        served = plane.extended(self.served, requested_options(inference))
        rows, outputs = await infer(plane, served, inference, context, large=large, fast=fast)
        signature = served.compiled(ModelSignature)
        if rows.count > LARGE_ROWS:
            return await plane.run_in_thread(self._write, signature, rows, outputs, inference)
        return self._write(signature, rows, outputs, inference)

    @staticmethod
    def _write(signature: ModelSignature, rows: ValidatedRows, outputs: Outputs, inference: InferRequest) -> Response:
        body, length = signature.write(rows, outputs, inference)
        return (
            Response(body)
            if length is None
            else Response(body, OCTET_STREAM, headers=[(BINARY_HEADER, b"%d" % length)])
        )


async def infer(
    plane: DataPlane,
    served: ServedModel,
    inference: InferRequest,
    context: PredictionContext,
    *,
    large: bool,
    fast: bool = True,
) -> PredictedRows:
    """Predict the rows in the input tensors. fast: whether to try the fast path. Raises RequestError."""
    signature = served.compiled(ModelSignature)
    signature.check_outputs(inference)
    if fast and (row := signature.fast_row(inference)) is not None:
        outputs = plane.predict_row_fast(served, row, context.request_id)
        if outputs is not None:
            if context.count_rows:
                context.count_rows(1)
            return PredictedRows(FAST_ROW, outputs)
    limit = plane.settings.max_rows
    return await plane.predict(
        served, lambda schema: oip_rows.validate_inputs(schema, inference, limit), context, large=large
    )


class ConstantRoute(OipRoute):
    """Responds with a constant body."""

    methods = ("GET",)
    body: ClassVar[bytes]

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(self.body)


class ServerLiveRoute(ConstantRoute):
    """Liveness."""

    access = "open"
    always = True
    body = b'{"live":true}'


class ServerReadyRoute(ConstantRoute):
    """Readiness."""

    access = "open"
    probe = True
    body = b'{"ready":true}'


class ServerMetadataRoute(ConstantRoute):
    """The name, version and extensions of the server."""

    always = True
    body = orjson.dumps({"name": "tabserve", "version": version(), "extensions": EXTENSIONS})


class OipModelListRoute(OipRoute):
    """The names of the models, in KServe's format."""

    methods = ("GET",)

    def __init__(self, plane: DataPlane, names: Sequence[str]) -> None:
        super().__init__(plane)
        self.names = names

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(orjson.dumps({"models": exchange.caller.visible(self.names)}))


class RepositoryIndexRoute(OipRoute):
    """Triton's repository index: all versions of all models. `{"ready": true}` leaves out versions that are not
    served."""

    access = "admin"

    async def handle(self, exchange: HttpExchange) -> Response:
        try:
            content = orjson.loads(await exchange.read() or b"{}")
        except orjson.JSONDecodeError as error:
            raise BadJson(str(error)) from None
        ready = isinstance(content, dict) and content.get("ready") is True
        return Response(orjson.dumps(await visible_index(exchange, ready)))


class LoadRoute(OipRoute):
    """Triton's load and unload: start or stop serving a model."""

    access = "admin"

    def __init__(self, plane: DataPlane, name: str, *, served: bool) -> None:
        super().__init__(plane, model_name=name)
        self.name = name
        self.is_load = served

    async def handle(self, exchange: HttpExchange) -> Response:
        await set_served(exchange, self.name, served=self.is_load)
        return Response(b"{}")


class ModelMetadataRoute(OipRoute):
    """The metadata of a model: versions, inputs and outputs."""

    methods = ("GET",)

    def __init__(self, plane: DataPlane, entry: ModelEntry, served: ServedModel) -> None:
        super().__init__(plane, model_name=entry.name)
        self.entry = entry
        self.model = served.model

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(dumps(model_metadata(self.model, [*self.entry.versions])))


class ModelReadyRoute(OipRoute):
    """Readiness of a model."""

    methods = ("GET",)
    probe = True

    def __init__(self, plane: DataPlane, name: str) -> None:
        super().__init__(plane, model_name=name)
        self.name = name

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(orjson.dumps({"name": self.name, "ready": True}))


class OipErrorRoute(OipRoute):
    """Responds with an error: the path or the model is unknown."""

    methods = ANY_METHOD

    def __init__(self, plane: DataPlane, error: RequestError, model_name: str | None = None) -> None:
        super().__init__(plane, model_name=model_name)
        self.error = error

    async def handle(self, exchange: HttpExchange) -> Response:
        raise self.error


class OipRoutes:
    """The routes below `/v2/`."""

    def common_routes(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        routes = self._server_routes(plane, snapshot)
        for name, entry in snapshot.entries.items():
            for action in ("infer", "ready", None):
                end = f"/{action}" if action else ""
                routes[f"/v2/models/{name}{end}"] = self._model_route(plane, entry, None, action)
                for number, served in entry.versions.items():
                    routes[f"/v2/models/{name}/versions/{number}{end}"] = self._model_route(
                        plane, entry, served, action
                    )
        return routes

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        if path != "/v2" and not path.startswith("/v2/"):
            return None
        if route := self._server_routes(plane, snapshot).get(path.rstrip("/")):
            return route
        if change := LOAD_OR_UNLOAD.fullmatch(path):
            return LoadRoute(plane, change["name"], served=change["change"] == "load")
        found = MODEL.fullmatch(path)
        if found is None:
            return OipErrorRoute(plane, NotFound(f"there is no route {truncate(path)!r}; /docs.json lists all routes"))
        try:
            entry = snapshot.entry(found["name"])
            served = entry.find(found["version"]) if found["version"] else None
        except RequestError as error:
            return OipErrorRoute(plane, error, found["name"])
        return self._model_route(plane, entry, served, found["action"])

    def _server_routes(self, plane: DataPlane, snapshot: Snapshot) -> dict[str, Route]:
        return {
            "/v2": ServerMetadataRoute(plane),
            "/v2/health/live": ServerLiveRoute(plane),
            "/v2/health/ready": ServerReadyRoute(plane),
            "/v2/models": OipModelListRoute(plane, snapshot.names),
            "/v2/repository/index": RepositoryIndexRoute(plane),
        }

    def _model_route(
        self, plane: DataPlane, entry: ModelEntry, served: ServedModel | None, action: str | None
    ) -> Route:
        """The route of a model's path. served: the version in the path."""
        if action == "infer":
            return InferRoute(plane, served) if served else route_of_model(plane, entry, partial(InferRoute, plane))
        if action == "ready":
            return ModelReadyRoute(plane, entry.name)
        return ModelMetadataRoute(plane, entry, served or entry.champion)


async def visible_index(exchange: Exchange, ready: bool) -> list[dict[str, str]]:
    """The repository index with the models that the caller may see."""
    index = await asyncio.to_thread(repository_index, exchange.context, ready)
    return [one for one in index if exchange.caller.may_use(one["name"])]


def repository_index(context: ServerContext, ready: bool) -> list[dict[str, str]]:
    """The stored versions of this server's models, and whether they are served. ready: only served versions. Reads the
    store."""
    plane, selection = context.plane, context.admin.follower.selection if context.admin else None
    snapshot, problems = plane.snapshot, plane.following.problems
    served = {one.model.tag: one for one in snapshot.served}
    index = [(one.name, one.version, "READY", "") for one in served.values()]
    if not ready:
        stored, _ = store.versions(plane.settings.store)
        known = [versions for name, versions in stored.items() if selection is None or selection.selects(name)]
        unserved = [one for versions in known for one in versions if one.tag not in served]
        index += [(one.name, str(one.version), "UNAVAILABLE", problems.get(one.tag, "unloaded")) for one in unserved]
    names = ("name", "version", "state", "reason")
    return [dict(zip(names, one, strict=True)) for one in sorted(index, key=lambda one: (one[0], int(one[1])))]


def model_metadata(model: TabularModel, versions: Sequence[str]) -> dict[str, Any]:
    signature = ModelSignature(model)
    properties: dict[str, Any] = {"task": model.schema.task, "target": model.schema.target}
    if model.schema.classes is not None:
        properties["classes"] = model.schema.classes
    if signature.optional_outputs:
        properties["optional_outputs"] = oip_signature.tensors_metadata(signature.optional_outputs)
    return {
        "name": model.name,
        "versions": versions,
        "platform": f"tabserve_{model.engine.name}",
        "inputs": oip_signature.tensors_metadata(signature.inputs),
        "outputs": oip_signature.tensors_metadata(signature.outputs),
        "properties": properties,
    }
