"""`/v1/…`: the REST API of TF Serving and the v1 protocol of KServe, which share their paths."""

import re
from collections.abc import Mapping, Sequence
from functools import partial

from models.json_text import dumps
from models.outputs import Outputs
from models.tabular_model import TabularModel
from models.text import truncate
from service.data_plane import LARGE_BODY_BYTES, LARGE_ROWS, DataPlane, as_outputs, json_rows_validator
from service.errors import NotFound, RequestError, RequestNotValid
from service.http.http_exchange import HttpExchange, Response, version_header
from service.http.negotiation import JSON
from service.protocols import error_text, kserve_explain, tfserving
from service.protocols.kserve_explain import ExplainWriter
from service.protocols.tfserving import TFServingRequest, TFServingWriter
from service.registry import Snapshot, normal_version
from service.routes.route import ANY_METHOD, Route
from service.routes.split_route import route_of_model
from service.served_model import ServedModel

MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
PREDICT = re.compile(MODEL + ":(?P<method>predict|classify|regress|explain)", re.IGNORECASE)
METHODS = (*tfserving.SIGNATURES, "explain")
MODEL_INFO = re.compile(MODEL + "(?P<metadata>/metadata)?", re.IGNORECASE)


class TFServingRoute(Route):
    """A route of TF Serving's REST API. Its errors have TF Serving's format."""

    protocol = "tfserving"
    access = "predict"

    def error_response(self, error: RequestError) -> Response:
        return Response(tfserving.error_body(error), JSON, error_text.status(error), error.headers)


class TFServingPredictRoute(TFServingRoute):
    """`:predict`, `:classify` or `:regress` with one version of a model."""

    served: ServedModel

    def __init__(self, plane: DataPlane, served: ServedModel, method: str) -> None:
        super().__init__(plane, served)
        self.method = method
        self.schema = served.model.schema
        self.writer = served.compiled(TFServingWriter)
        self.answers_directly = method == "predict"
        self.direct_headers = b"%b: %b\r\n" % version_header(served)

    def answer(self, body: bytes, request_id: bytes) -> tuple[bytes, int] | None:
        """The response to a few valid rows without warnings."""
        parsed = self.read(body)
        rows = None if parsed.columns else self.schema.validators.validate_values(parsed.rows)
        outputs = None if not rows else self.plane.predict_fast(self.served, rows, request_id)
        if rows is None or outputs is None:
            return None
        return self.writer.predictions(as_outputs(outputs)), len(rows)

    async def handle(self, exchange: HttpExchange) -> Response:
        exchange.set_deadline()
        plane, body = self.plane, await exchange.read()
        self.check_method()
        large = len(body) > LARGE_BODY_BYTES
        parsed = await plane.run_in_thread(self.read, body) if large else self.read(body)
        plane.check_row_count(len(parsed.rows))
        rows, outputs = await plane.predict(
            self.served,
            json_rows_validator(parsed.rows),
            exchange.prediction_context,
            large=len(parsed.rows) > LARGE_ROWS,
        )
        is_large = len(outputs) > LARGE_ROWS
        text = await plane.run_in_thread(self.write, parsed, outputs) if is_large else self.write(parsed, outputs)
        return Response(text, headers=[version_header(self.served), *error_text.warnings_header(rows)])

    def check_method(self) -> None:
        task = self.schema.task
        if self.method != "predict" and (self.method == "regress") != (task == "regression"):
            wanted = "regression" if self.method == "regress" else "classification"
            right = "regress" if task == "regression" else "classify"
            expected = f"Expected {wanted} signature method_name to be tensorflow/serving/{self.method}."
            raise RequestNotValid(f"{expected} Was: tensorflow/serving/{right}")

    def read(self, body: bytes) -> TFServingRequest:
        limit = self.plane.settings.max_rows
        if self.method == "predict":
            return tfserving.read_predict(self.schema, body, limit)
        return tfserving.read_examples(self.schema, body, self.method, limit)

    def write(self, parsed: TFServingRequest, outputs: Outputs) -> bytes:
        if self.method != "predict":
            return self.writer.results(outputs)
        return self.writer.outputs(outputs) if parsed.columns else self.writer.predictions(outputs)


class KServeExplainRoute(TFServingRoute):
    """KServe's `:explain` with one version of a model: predictions and explanations."""

    served: ServedModel

    async def handle(self, exchange: HttpExchange) -> Response:
        exchange.set_deadline()
        plane, body = self.plane, await exchange.read()
        large = len(body) > LARGE_BODY_BYTES
        read, arguments = kserve_explain.read, (self.served.model.schema, body, plane.settings.max_rows)
        parsed = await plane.run_in_thread(read, *arguments) if large else read(*arguments)
        plane.check_row_count(len(parsed.rows))
        served = plane.extended(self.served, parsed.options)
        large = len(parsed.rows) > LARGE_ROWS
        validate = json_rows_validator(parsed.rows)
        rows, outputs = await plane.predict(served, validate, exchange.prediction_context, large=large)
        write = served.compiled(ExplainWriter).write
        text = await plane.run_in_thread(write, outputs) if large else write(outputs)
        return Response(text, headers=error_text.warnings_header(rows))


class ModelInfoRoute(TFServingRoute):
    """Status or metadata of one version of a model."""

    methods = ("GET",)

    def __init__(self, plane: DataPlane, model: TabularModel, *, metadata: bool) -> None:
        super().__init__(plane, model_name=model.name)
        self.model = model
        self.metadata = metadata

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(tfserving.metadata(self.model) if self.metadata else tfserving.status(self.model))


class TFServingModelListRoute(TFServingRoute):
    """The names of the models, in KServe's format."""

    methods = ("GET",)

    def __init__(self, plane: DataPlane, names: Sequence[str]) -> None:
        super().__init__(plane)
        self.names = names

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(dumps({"models": exchange.caller.visible(self.names)}))


class TFServingErrorRoute(TFServingRoute):
    """Responds with an error: the path or the model is unknown."""

    methods = ANY_METHOD

    def __init__(self, plane: DataPlane, error: RequestError, model_name: str | None = None) -> None:
        super().__init__(plane, model_name=model_name)
        self.error = error

    async def handle(self, exchange: HttpExchange) -> Response:
        raise self.error


class TFServingRoutes:
    """The routes below `/v1/`."""

    def common_routes(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        paths = ["/v1/models"]
        for name, entry in snapshot.entries.items():
            versions = [f"/v1/models/{name}/versions/{version}" for version in entry.versions]
            for address in (f"/v1/models/{name}", *versions):
                paths += [address, f"{address}/metadata", *[f"{address}:{method}" for method in METHODS]]
        return {path: route for path in paths if (route := self.find(plane, snapshot, path))}

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        if path.lower() == "/v1/models":
            return TFServingModelListRoute(plane, snapshot.names)
        if not path.lower().startswith("/v1/"):
            return None
        found = PREDICT.fullmatch(path) or MODEL_INFO.fullmatch(path)
        if found is None:
            return TFServingErrorRoute(plane, RequestNotValid(f"Malformed request: {truncate(path, 200)}"))
        name, version, label = found["name"], found["version"], found["label"]
        method = found["method"].lower() if found.re is PREDICT else ""
        try:
            served = snapshot.find(name, version and normal_version(version), label)
        except NotFound:
            reason = tfserving.not_served(snapshot.entries, name, version, label)
            return TFServingErrorRoute(plane, NotFound(reason), name)
        except RequestError as error:
            return TFServingErrorRoute(plane, error, name)
        if found.re is PREDICT:
            make = partial(method_route, plane, method)
            return make(served) if version or label else route_of_model(plane, snapshot.entry(name), make)
        return ModelInfoRoute(plane, served.model, metadata=found["metadata"] is not None)


def method_route(plane: DataPlane, method: str, served: ServedModel) -> TFServingRoute:
    """The route of a method of one version."""
    return KServeExplainRoute(plane, served) if method == "explain" else TFServingPredictRoute(plane, served, method)
