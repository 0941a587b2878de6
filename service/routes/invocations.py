"""`/invocations`, `/ping` and `/version`: the routes of MLflow's scoring server, SageMaker and Vertex AI."""

from collections.abc import Mapping, Sequence

from models.formats import csv_encoder
from models.formats.json_encoder import JsonWriter
from models.outputs import Outputs
from models.rows import ValidatedRows
from models.schema import FeatureSchema
from service.data_plane import LARGE_BODY_BYTES, LARGE_ROWS, DataPlane, PredictedRows, json_rows_validator
from service.error_mapping import require_valid
from service.errors import RequestError, RequestNotValid
from service.http.http_exchange import HttpExchange, Response
from service.http.negotiation import JSON, check_content_type, prefers
from service.protocols import error_text, invocations
from service.registry import Snapshot
from service.routes.route import Route
from service.served_model import ServedModel
from service.settings import Settings
from service.version import version

CSV, TEXT = b"text/csv", b"text/plain; charset=utf-8"
ACCEPTED_TYPES = "application/json or text/csv in UTF-8"
ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
MAX_ATTRIBUTES_BYTES = 1024  # bytes; SageMaker forwards no more


class MLflowRoute(Route):
    """A route of MLflow's scoring protocol. Its errors have MLflow's format."""

    protocol = "mlflow"

    def error_response(self, error: RequestError) -> Response:
        return Response(invocations.error_body(error), JSON, error_text.status(error), error.headers)


class InvocationsRoute(MLflowRoute):
    """Predicts with the only served model, or with the one that the request or TABSERVE_DEFAULT_MODEL names."""

    def __init__(self, plane: DataPlane, snapshot: Snapshot) -> None:
        only = [entry.champion for entry in snapshot.entries.values()]
        super().__init__(plane, only[0] if len(only) == 1 else None)
        self.snapshot = snapshot

    async def handle(self, exchange: HttpExchange) -> Response:
        exchange.set_deadline()
        plane, headers = self.plane, exchange.headers
        body = await exchange.read()
        served = self.served or self.snapshot.find(requested_model(plane.settings, self.snapshot.names, headers))
        exchange.served = served
        content_type = check_content_type(headers.get(b"content-type", b""), (JSON, CSV), ACCEPTED_TYPES)
        if content_type.media_type == CSV:
            rows, outputs = await self.predict_csv(served, exchange, body, content_type.parameters.get(b"header", b""))
            detailed = False
        else:
            rows, outputs, detailed = await self.predict_json(served, exchange, body)
        as_csv = not detailed and prefers(headers.get(b"accept", b""), CSV, default=JSON)
        arguments = (served, rows, outputs, detailed, as_csv)
        is_large = len(outputs) > LARGE_ROWS
        text = await plane.run_in_thread(write, *arguments) if is_large else write(*arguments)
        warnings = error_text.warnings_header(rows)
        if ATTRIBUTES in headers:
            warnings += error_text.warnings_header(rows, ATTRIBUTES, MAX_ATTRIBUTES_BYTES)
        return Response(text, csv_encoder.CsvEncoder.content_type if as_csv else JSON, headers=warnings)

    async def predict_json(
        self, served: ServedModel, exchange: HttpExchange, body: bytes
    ) -> tuple[ValidatedRows, Outputs, bool]:
        plane = self.plane
        arguments = (served.model.schema, body, plane.settings.max_rows)
        large = len(body) > LARGE_BODY_BYTES
        read = invocations.read
        parsed = await plane.run_in_thread(read, *arguments) if large else read(*arguments)
        plane.check_row_count(len(parsed.rows))
        validate = json_rows_validator(parsed.rows)
        rows, outputs = await plane.predict(
            served, validate, exchange.prediction_context, large=len(parsed.rows) > LARGE_ROWS
        )
        return rows, outputs, parsed.detailed

    async def predict_csv(
        self, served: ServedModel, exchange: HttpExchange, body: bytes, header: bytes
    ) -> PredictedRows:
        limit = self.plane.settings.max_rows

        def validate(schema: FeatureSchema) -> ValidatedRows:
            table = invocations.with_header(schema, body, header)
            return require_valid(invocations.read_csv(schema, table, limit).validate(schema))

        return await self.plane.predict(
            served, validate, exchange.prediction_context, large=len(body) > LARGE_BODY_BYTES
        )


class VertexRoute(InvocationsRoute):
    """The same at the path that Vertex AI configures."""

    protocol = "vertex"


class PingRoute(MLflowRoute):
    """The health check: the models are ready."""

    methods = ("GET",)
    probe = True

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(b"", TEXT)


class VersionRoute(MLflowRoute):
    """The version of tabserve."""

    methods = ("GET",)

    async def handle(self, exchange: HttpExchange) -> Response:
        return Response(version().encode(), TEXT)


class InvocationsRoutes:
    """MLflow's paths, and those that Vertex AI or the settings configure."""

    def listed(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        routes: dict[str, Route] = {
            "/ping": PingRoute(plane),
            "/health": PingRoute(plane),
            "/version": VersionRoute(plane),
        }
        if path := plane.settings.health_route:
            routes[path] = PingRoute(plane)
        routes["/invocations"] = InvocationsRoute(plane, snapshot)
        if path := plane.settings.predict_route:
            routes[path] = VertexRoute(plane, snapshot)
        return routes

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        return None  # `listed` has all of them


def requested_model(settings: Settings, names: Sequence[str], headers: Mapping[bytes, bytes]) -> str:
    """The model that SageMaker's custom attributes (`model=…`) or TABSERVE_DEFAULT_MODEL select.

    Raises RequestNotValid if neither does.
    """
    attributes = headers.get(ATTRIBUTES, b"").decode("latin-1").replace(";", ",").split(",")
    pairs = dict(pair.strip().partition("=")[::2] for pair in attributes)
    name = pairs.get("model") or settings.default_model
    if not name:
        raise RequestNotValid(
            f"several models are served: {', '.join(names)}; set TABSERVE_DEFAULT_MODEL or use /v1/models/NAME:predict"
        )
    return name


def write(served: ServedModel, rows: ValidatedRows, outputs: Outputs, detailed: bool, as_csv: bool) -> bytes:
    if as_csv:
        return invocations.write_csv(served.model.output_spec, outputs)
    writer = served.compiled(JsonWriter)
    return writer.write(rows, outputs) if detailed else invocations.write(writer, outputs)
