"""`/invocations` and what belongs to it: MLflow's scoring server, SageMaker's container and Vertex AI's."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.formats import csv_encoder
from models.outputs import Answers
from models.rows import ValidatedRows
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import truncate
from service.data_plane import LARGE_BYTES, LARGE_ROWS, DataPlane
from service.errors import RequestError, RequestNotValid, UnsupportedMediaType
from service.http import openapi, openapi_operations
from service.http.negotiation import JSON, quality
from service.protocols import error_text, invocations
from service.routes.base import Reply, Request, Route
from service.served_model import ServedModel
from service.settings import Settings
from service.validation import require_valid
from service.version import version

TAG = "MLflow, SageMaker and Vertex AI"
CSV, TEXT = b"text/csv", b"text/plain; charset=utf-8"
ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
MOST_ATTRIBUTES = 1024  # bytes of them that SageMaker passes on


class Scoring(Route):
    """A route whose errors read as MLflow's."""

    protocol = "mlflow"

    def refuse(self, error: RequestError) -> Reply:
        return Reply(invocations.error_body(error), JSON, 400 if error.status == 422 else error.status, error.headers)


class Invocations(Scoring):
    """Predictions of the one model that is served, or of the one that a request or the setting names.

    Where there are several, an object answers a single request: only then its `model` is known.
    """

    async def answer(self, request: Request) -> Reply:
        served = self.plane.find(self.model or chosen(self.plane, request.headers))
        self.model = served.model.name
        media, parameters = content_type(request.headers)
        if media == CSV:
            accepted, answers = await self.ask_csv(served, request, parameters.get(b"header", b""))
            detailed = False
        else:
            accepted, answers, detailed = await self.ask_json(served, request)
        as_csv = not detailed and prefers_csv(request.headers.get(b"accept", b""))
        arguments = (served, accepted, answers, detailed, as_csv)
        long = len(answers) > LARGE_ROWS
        body = await self.plane.beside(write, *arguments) if long else write(*arguments)
        headers = error_text.warnings_header(accepted)
        if ATTRIBUTES in request.headers:
            headers += error_text.warnings_header(accepted, ATTRIBUTES, MOST_ATTRIBUTES)
        return Reply(body, csv_encoder.CsvEncoder.kind if as_csv else JSON, headers=headers)

    async def ask_json(self, served: ServedModel, request: Request) -> tuple[ValidatedRows, Answers, bool]:
        arguments = (served.model.schema, request.body, self.plane.settings.max_rows)
        large = len(request.body) > LARGE_BYTES
        asked = await self.plane.beside(invocations.read, *arguments) if large else invocations.read(*arguments)
        accepted, answers = await self.plane.predict_rows(
            served.model.name,
            asked.rows,
            deadline=request.deadline,
            request_id=request.request_id,
            gone=request.gone,
        )
        return accepted, answers, asked.detailed

    async def ask_csv(self, served: ServedModel, request: Request, header: bytes) -> tuple[ValidatedRows, Answers]:
        def check(schema: FeatureSchema) -> ValidatedRows:
            body = invocations.with_header(schema, request.body, header)
            return require_valid(invocations.read_csv(schema, body, self.plane.settings.max_rows).validate(schema))

        return await self.plane.predict_checked(
            served.model.name,
            check,
            large=len(request.body) > LARGE_BYTES,
            deadline=request.deadline,
            request_id=request.request_id,
            gone=request.gone,
        )


class Vertex(Invocations):
    """The same at the address that Vertex AI gives."""

    protocol = "vertex"


class Ping(Scoring):
    """Whether predictions are answered now."""

    methods = ("GET",)
    probe = True

    async def answer(self, request: Request) -> Reply:
        return Reply(b"", TEXT)


class Version(Scoring):
    methods = ("GET",)

    async def answer(self, request: Request) -> Reply:
        return Reply(version().encode(), TEXT)


class Family:
    """`/invocations`, and beside it the addresses that Vertex AI or the settings ask for."""

    def listed(self, plane: DataPlane) -> Mapping[str, Route]:
        routes: dict[str, Route] = {"/ping": Ping(plane), "/health": Ping(plane), "/version": Version(plane)}
        if path := plane.settings.health_route:
            routes[path] = Ping(plane)
        if len(plane.models) == 1:
            (name,) = plane.models
            routes |= {path: kind(plane, name) for path, kind in asked_at(plane).items()}
        return routes

    def find(self, plane: DataPlane, path: str) -> Route | None:
        kind = asked_at(plane).get(path)
        return kind(plane) if kind else None

    def paths(self, models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
        """For /docs.json."""
        text = {"text/plain": {"schema": {"type": "string"}}}
        probes = {path for path in ("/ping", "/health", settings.health_route) if path}
        paths = {path: describe(path, "get", "Whether predictions are answered", text) for path in sorted(probes)}
        paths["/version"] = describe("/version", "get", "The version of tabserve", text)
        for path in ("/invocations", settings.predict_route):
            if path:
                paths[path] = described_invocations(path, models, settings)
        return paths


def describe(path: str, method: str, summary: str, answer: dict[str, Any], **more: Any) -> dict[str, Any]:
    return openapi_operations.operation(TAG, path, method, summary, ["error_code", "message"], answer, **more)


def described_invocations(path: str, models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    formats = {
        "dataframe_records": openapi_operations.LISTED,
        "instances": openapi_operations.LISTED,
        "inputs": openapi_operations.ANY,
    }
    split = {"type": "object", "properties": {"columns": {"type": "array"}, "data": openapi_operations.LISTED}}
    body = openapi_operations.json_body(
        {**formats, "dataframe_split": split}, {"dataframe_records": openapi.example_rows(models[0])}
    )
    body["content"]["text/csv"] = {"schema": {"type": "string"}}
    answer = {"application/json": {"schema": {"type": "object"}}, "text/csv": {"schema": {"type": "string"}}}
    naming = {
        "name": ATTRIBUTES.decode(),
        "in": "header",
        "description": "Which model, where several are served",
        "schema": {"type": "string"},
        "example": f"model={models[0].name}",
    }
    several = "" if len(models) == 1 else " of the model that TABSERVE_DEFAULT_MODEL or a header names"
    return describe(
        path,
        "post",
        f"Predictions{several}",
        answer,
        description=f"Exactly one of these keys, up to {settings.max_rows} rows.",
        parameters=[naming],
        requestBody=body,
    )


def asked_at(plane: DataPlane) -> dict[str, type[Invocations]]:
    """The addresses of predictions."""
    route = plane.settings.predict_route
    return {"/invocations": Invocations, **({route: Vertex} if route else {})}


def chosen(plane: DataPlane, headers: Mapping[bytes, bytes]) -> str:
    """Of several models the one that SageMaker's custom attributes name (`model=…`), or the setting.

    Raises RequestNotValid.
    """
    attributes = headers.get(ATTRIBUTES, b"").decode("latin-1").replace(";", ",").split(",")
    pairs = dict(pair.strip().partition("=")[::2] for pair in attributes)
    name = pairs.get("model") or plane.settings.default_model
    if not name:
        served = ", ".join(plane.models)
        raise RequestNotValid(
            f"several models are served: {served}; name one by TABSERVE_DEFAULT_MODEL, or ask /v1/models/NAME:predict"
        )
    return name


def prefers_csv(accept: bytes) -> bool:
    """Whether CSV is named, and JSON not liked better."""
    liked = dict(map(quality, accept.lower().split(b",")))
    return liked.get(CSV, 0.0) > 0 and liked[CSV] >= liked.get(JSON, 0.0)


def content_type(headers: Mapping[bytes, bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    """Media type and parameters. Raises UnsupportedMediaType for what is neither JSON nor CSV, in UTF-8."""
    kind = headers.get(b"content-type", JSON).lower()
    media, *rest = [part.strip() for part in kind.split(b";")]
    parameters = {name: value.strip(b'"') for name, _, value in (part.partition(b"=") for part in rest)}
    if media not in (JSON, CSV) or parameters.get(b"charset", b"utf-8") not in (b"utf-8", b"utf8"):
        text = truncate(kind.decode("latin-1"))
        expected = "application/json or text/csv in UTF-8"
        raise UnsupportedMediaType(f"content type {text!r} is not supported, expected {expected}")
    return media, parameters


def write(served: ServedModel, accepted: ValidatedRows, answers: Answers, detailed: bool, as_csv: bool) -> bytes:
    if as_csv:
        return invocations.write_csv(served.model, answers)
    if detailed:
        return served.writer.write(accepted, answers)
    return served.writer.plain(answers) if served.model.schema.classes else invocations.write(served.model, answers)
