"""`/invocations`, `/ping` and `/version`: the routes of MLflow's scoring server, SageMaker and Vertex AI."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from models.formats import csv_encoder
from models.option_parsing import parse_output_options
from models.output_options import OutputOptions
from models.outputs import Outputs
from models.rows import ValidatedRows
from models.schema import FeatureSchema
from service.access.caller import Access
from service.data_plane import LARGE_BODY_BYTES, LARGE_ROWS, DataPlane, RowsValidator, json_rows_validator
from service.error_mapping import require_valid, translate_option_errors
from service.errors import RequestError, RequestNotValid
from service.http.http_exchange import HttpExchange, Response, version_header
from service.http.negotiation import JSON, ContentType, check_content_type, prefers
from service.protocols import cloud_explanations, error_text, invocations
from service.protocols.invocations import InvocationsWriter
from service.registry import ModelEntry, Snapshot
from service.routes.route import Route
from service.routes.split_route import version_for_body
from service.served_model import ServedModel
from service.settings import Settings
from service.version import version

CSV, TEXT = b"text/csv", b"text/plain; charset=utf-8"
ACCEPTED_TYPES = "application/json or text/csv in UTF-8"
ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
MAX_ATTRIBUTES_BYTES = 1024  # in bytes; SageMaker does not forward longer attributes
CLARIFY = b"x-amzn-sagemaker-enable-explanations"
Form = Literal["plain", "vertex", "clarify"]
"""The format of a response: `vertex` and `clarify` contain the explanations next to the predictions, not inside
them."""


class MLflowRoute(Route):
    """A route of MLflow's scoring protocol. Its errors have MLflow's format."""

    protocol = "mlflow"
    access: Access = "predict"

    def error_response(self, error: RequestError) -> Response:
        return Response(invocations.error_body(error), JSON, error_text.status(error), error.headers)


class ParsedBody(NamedTuple):
    """The unvalidated rows of a request, and its parameters. large: whether a thread validates the rows."""

    validate: RowsValidator
    large: bool
    parameters: Mapping[str, Any]


class InvocationsResponse(NamedTuple):
    """The content of a response. served: the version whose output columns are in the response."""

    served: ServedModel
    rows: ValidatedRows
    outputs: Outputs
    detailed: bool
    as_csv: bool
    form: Form

    def write(self) -> tuple[bytes, bytes]:
        """The body and its content type."""
        body, content_type = self._predictions()
        model = self.served.model
        if self.form == "vertex":
            body = cloud_explanations.vertex_response(model, body, self.outputs)
        elif self.form == "clarify":
            return cloud_explanations.clarify_response(model, body, content_type, self.outputs), JSON
        return body, content_type

    def _predictions(self) -> tuple[bytes, bytes]:
        if self.as_csv:
            spec = self.served.model.output_spec
            return invocations.write_csv(spec, self.outputs), csv_encoder.CsvEncoder.content_type
        writer = self.served.compiled(InvocationsWriter)
        if self.detailed:
            return writer.write(self.rows, self.outputs), JSON
        return invocations.write(writer, self.outputs), JSON


class InvocationsRoute(MLflowRoute):
    """Predicts with the only served model, or with the model that the request or TABSERVE_DEFAULT_MODEL names."""

    def __init__(self, plane: DataPlane, snapshot: Snapshot) -> None:
        only = [*snapshot.entries.values()]
        self.entry = only[0] if len(only) == 1 else None
        super().__init__(plane, self.entry.champion if self.entry else None)
        self.snapshot = snapshot

    async def handle(self, exchange: HttpExchange) -> Response:
        exchange.set_deadline()
        plane, headers = self.plane, exchange.headers
        body = await exchange.read()
        attributes = custom_attributes(headers)
        entry = self.entry or self.requested_entry(exchange, attributes)
        found = exchange.served = version_for_body(entry, headers, body)
        parsed = await self.parse(found, body, headers)
        with translate_option_errors():
            options = parse_output_options({**levels(attributes), **parsed.parameters})
        form, explained = self.response_form(options, headers)
        served = plane.extended(found, explained)
        rows, outputs = await plane.predict(served, parsed.validate, exchange.prediction_context, large=parsed.large)
        if form != "plain":
            served = plane.extended(found, dataclasses.replace(options, explain="none"))
        detailed = parsed.parameters.get("warnings") is True
        as_csv = not (detailed or form == "vertex") and prefers(headers.get(b"accept", b""), CSV, default=JSON)
        write = InvocationsResponse(served, rows, outputs, detailed, as_csv, form).write
        text, content_type = await plane.run_in_thread(write) if len(outputs) > LARGE_ROWS else write()
        more = [version_header(served), *error_text.warnings_header(rows)]
        if ATTRIBUTES in headers:
            more += error_text.warnings_header(rows, ATTRIBUTES, MAX_ATTRIBUTES_BYTES)
        return Response(text, content_type, headers=more)

    def requested_entry(self, exchange: HttpExchange, attributes: Mapping[str, str]) -> ModelEntry:
        """The model that the attributes or the settings name. Raises RequestError."""
        names = exchange.caller.visible(self.snapshot.names)
        name = requested_model(self.plane.settings, names, attributes)
        exchange.check_model(name)
        return self.snapshot.entry(name)

    def response_form(self, options: OutputOptions, headers: Mapping[bytes, bytes]) -> tuple[Form, OutputOptions]:
        """The form of the response, and the options including its explanations. Raises RequestNotValid."""
        if CLARIFY not in headers:
            return "plain", options
        if not cloud_explanations.clarify_enabled(headers[CLARIFY]):
            return "clarify", dataclasses.replace(options, explain="none")
        return "clarify", with_explanations(options)

    async def parse(self, served: ServedModel, body: bytes, headers: Mapping[bytes, bytes]) -> ParsedBody:
        """Raises RequestError."""
        content_type = check_content_type(headers.get(b"content-type", b""), (JSON, CSV), ACCEPTED_TYPES)
        large = len(body) > LARGE_BODY_BYTES
        if content_type.media_type == CSV:
            return ParsedBody(self._csv_validator(body, content_type), large, {})
        plane, read, arguments = self.plane, invocations.read, (served.model.schema, body, self.plane.settings.max_rows)
        parsed = await plane.run_in_thread(read, *arguments) if large else read(*arguments)
        plane.check_row_count(len(parsed.rows))
        return ParsedBody(json_rows_validator(parsed.rows), len(parsed.rows) > LARGE_ROWS, parsed.parameters)

    def _csv_validator(self, body: bytes, content_type: ContentType) -> RowsValidator:
        limit, header = self.plane.settings.max_rows, content_type.parameters.get(b"header", b"")

        def validate(schema: FeatureSchema) -> ValidatedRows:
            text = invocations.decode_text(schema, body, content_type.encoding)
            table = invocations.with_header(schema, text, header)
            return require_valid(invocations.read_csv(schema, table, limit).validate(schema))

        return validate


class VertexRoute(InvocationsRoute):
    """The predictions route at the path that Vertex AI configures."""

    protocol = "vertex"


class VertexExplainRoute(VertexRoute):
    """Vertex AI's `:explain`: predictions and explanations."""

    def response_form(self, options: OutputOptions, headers: Mapping[bytes, bytes]) -> tuple[Form, OutputOptions]:
        return "vertex", with_explanations(options)


class PingRoute(MLflowRoute):
    """The health check: the models are ready."""

    access = "open"
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
    """MLflow's paths, and the paths that Vertex AI or the settings configure."""

    def common_routes(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
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
            routes[explain_path(path)] = VertexExplainRoute(plane, snapshot)
        return routes

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        return None  # `common_routes` contains all paths


def explain_path(predict_path: str) -> str:
    """The path of `:explain` next to the path of predictions."""
    return f"{predict_path.removesuffix(':predict')}:explain"


def with_explanations(options: OutputOptions) -> OutputOptions:
    return options if options.explain != "none" else dataclasses.replace(options, explain="full")


def custom_attributes(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """SageMaker's custom attributes, such as `model=housing,interval=0.9`."""
    attributes = headers.get(ATTRIBUTES, b"").decode("latin-1").replace(";", ",").split(",")
    return dict(pair.strip().partition("=")[::2] for pair in attributes)


def levels(attributes: Mapping[str, str]) -> dict[str, str]:
    """The levels among the attributes, which replace parameters that a CSV cannot contain."""
    return {name: attributes[name] for name in ("interval", "set") if name in attributes}


def requested_model(settings: Settings, names: Sequence[str], attributes: Mapping[str, str]) -> str:
    """The model that SageMaker's custom attributes (`model=…`) or TABSERVE_DEFAULT_MODEL select.

    Raises RequestNotValid if neither does.
    """
    name = attributes.get("model") or settings.default_model
    if not name:
        raise RequestNotValid(
            f"several models are served: {', '.join(names)}; set TABSERVE_DEFAULT_MODEL or use /v1/models/NAME:predict"
        )
    return name
