"""`/v2/…`: the Open Inference Protocol's REST, as Triton, KServe and MLServer speak it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import orjson

from models.frame import Frame
from models.json_text import dumps
from models.outputs import Answers
from models.rows import ValidatedRows
from models.tabular_model import TabularModel
from models.text import truncate
from service.data_plane import LARGE_BYTES, LARGE_ROWS, DataPlane
from service.errors import NotFound, RequestError, RequestNotValid
from service.http.negotiation import JSON, check_json
from service.protocols import error_text, oip_json, oip_rows, oip_signature
from service.protocols.oip_signature import Signature
from service.protocols.oip_tensors import Inference
from service.routes.base import Reply, Request, Route
from service.served_model import ServedModel
from service.settings import Settings
from service.version import version

OCTETS = b"application/octet-stream"
HEADER_LENGTH = b"inference-header-content-length"
TIMEOUT = b"x-request-timeout"
ONE_ROW = ValidatedRows(Frame(np.empty((1, 0)), np.empty((1, 0), np.int64)), 1)  # that is answered already
EXTENSIONS = ("binary_tensor_data", "model_repository")
MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<what>infer|ready))?/?")
LOADING = re.compile(r"/v2/repository/models/[^/]+/(?:un)?load")
ANY = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class V2(Route):
    """A route whose errors are `{"error": "..."}`."""

    protocol = "v2"

    def refuse(self, error: RequestError) -> Reply:
        status = 400 if error.status == 422 else error.status
        return Reply(dumps({"error": error_text.sentence(error)}), JSON, status, error.headers)


class Infer(V2):
    """Tensors in, tensors out."""

    def __init__(self, plane: DataPlane, model: str) -> None:
        super().__init__(plane, model)
        self.name = model
        self.signature = Signature(plane.models[model])

    async def answer(self, request: Request) -> Reply:
        check_kind(request.headers)
        plane, length = self.plane, request.headers.get(HEADER_LENGTH)
        large = len(request.body) > LARGE_BYTES
        asked = (
            await plane.beside(oip_json.read, request.body, length) if large else oip_json.read(request.body, length)
        )
        self.signature.check_outputs(asked)
        if TIMEOUT not in request.headers and (one := quickly(plane.find(self.name), self.signature, asked)):
            return self._write(*one, asked)
        accepted, answers = await plane.predict_checked(
            self.name,
            lambda schema: oip_rows.accept(schema, asked, plane.settings.max_rows),
            large=large,
            deadline=request.deadline,
            request_id=request.request_id,
            gone=request.gone,
        )
        long = accepted.count > LARGE_ROWS
        write = self._write
        return await plane.beside(write, accepted, answers, asked) if long else write(accepted, answers, asked)

    def _write(self, accepted: ValidatedRows, answers: Answers, asked: Inference) -> Reply:
        body, length = self.signature.write(accepted, answers, asked)
        return Reply(body) if length is None else Reply(body, OCTETS, headers=[(HEADER_LENGTH, b"%d" % length)])


def quickly(served: ServedModel, signature: Signature, asked: Inference) -> tuple[ValidatedRows, Answers] | None:
    """The answer to one usual row, as `Served.quickly` has it; None for everything else."""
    row = signature.one_row(asked)
    answers = served.of_row(row) if row is not None else None
    return None if answers is None else (ONE_ROW, answers)


def check_kind(headers: Mapping[bytes, bytes]) -> None:
    """Raises UnsupportedMediaType for what is neither JSON nor, as Triton's clients send it, bytes."""
    if headers.get(b"content-type") != OCTETS:
        check_json(headers)


class Fixed(V2):
    """An answer that is always the same."""

    methods = ("GET",)
    body: ClassVar[bytes]

    async def answer(self, request: Request) -> Reply:
        return Reply(self.body)


class Live(Fixed):
    unready = True
    body = b'{"live":true}'


class Ready(Fixed):
    probe = True
    body = b'{"ready":true}'


class Server(Fixed):
    """What this is."""

    unready = True
    body = orjson.dumps({"name": "tabserve", "version": version(), "extensions": EXTENSIONS})


class Models(V2):
    """KServe's list of names."""

    methods = ("GET",)

    async def answer(self, request: Request) -> Reply:
        return Reply(orjson.dumps({"models": list(self.plane.models)}))


class Index(V2):
    """Triton's list of what is there."""

    async def answer(self, request: Request) -> Reply:
        return Reply(orjson.dumps(index(self.plane)))


class Describe(V2):
    """The metadata of a model."""

    methods = ("GET",)

    def __init__(self, plane: DataPlane, model: str) -> None:
        super().__init__(plane)
        self.name = model

    async def answer(self, request: Request) -> Reply:
        return Reply(dumps(metadata(self.plane.find(self.name).model)))


class ModelReady(V2):
    methods = ("GET",)
    probe = True

    def __init__(self, plane: DataPlane, model: str) -> None:
        super().__init__(plane)
        self.name = model

    async def answer(self, request: Request) -> Reply:
        self.plane.find(self.name)
        return Reply(orjson.dumps({"name": self.name, "ready": True}))


class ErrorRoute(V2):
    """An address of this protocol that leads nowhere."""

    methods = ANY

    def __init__(self, plane: DataPlane, error: RequestError) -> None:
        super().__init__(plane)
        self.error = error

    async def answer(self, request: Request) -> Reply:
        raise self.error


WHAT: dict[str | None, type[Infer | ModelReady | Describe]] = {"infer": Infer, "ready": ModelReady, None: Describe}
FIXED: dict[str, type[V2]] = {
    "/v2": Server,
    "/v2/health/live": Live,
    "/v2/health/ready": Ready,
    "/v2/models": Models,
    "/v2/repository/index": Index,
}


class Family:
    """All of `/v2/`."""

    def listed(self, plane: DataPlane) -> Mapping[str, Route]:
        routes: dict[str, Route] = {path: route(plane) for path, route in FIXED.items()}
        for name, model in plane.models.items():
            for what, kind in WHAT.items():
                end = f"/{what}" if what else ""
                route = kind(plane, name)
                routes[f"/v2/models/{name}{end}"] = route
                routes[f"/v2/models/{name}/versions/{model.version}{end}"] = route
        return routes

    def find(self, plane: DataPlane, path: str) -> Route | None:
        if path != "/v2" and not path.startswith("/v2/"):
            return None
        if fixed := FIXED.get(path.rstrip("/")):
            return fixed(plane)
        if LOADING.fullmatch(path):
            message = "models are loaded when the server starts; loading and unloading are not supported"
            return ErrorRoute(plane, RequestNotValid(message))
        found = MODEL.fullmatch(path)
        if found is None:
            return ErrorRoute(plane, NotFound(f"there is no route {truncate(path)!r}; /docs.json lists what there is"))
        try:
            name = served(plane, found["name"], found["version"]).name
        except RequestError as error:
            return ErrorRoute(plane, error)
        return WHAT[found["what"]](plane, name)

    def paths(self, models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
        """For /docs.json."""
        return documented(models, settings)


def served(plane: DataPlane, name: str, wanted: str | None) -> TabularModel:
    """The model of this name, where no version or the served one is asked for. Raises NotFound or NotReady."""
    model = plane.find(name).model
    if wanted and wanted != model.version:
        raise NotFound(f"model {name!r} has no version {truncate(wanted)!r} here, only {model.version}")
    return model


def index(plane: DataPlane) -> list[dict[str, str]]:
    return [
        {"name": name, "version": model.version, "state": "READY", "reason": ""} for name, model in plane.models.items()
    ]


def metadata(model: TabularModel) -> dict[str, Any]:
    signature = Signature(model)
    properties: dict[str, Any] = {"task": model.schema.task, "target": model.schema.target}
    if model.schema.classes is not None:
        properties["classes"] = model.schema.classes
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": f"tabserve_{model.engine.name}",
        "inputs": oip_signature.tensors(signature.inputs),
        "outputs": oip_signature.tensors(signature.outputs),
        "properties": properties,
    }


# For /docs.json

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
COUNTS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
PARAMETERS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
TENSOR: Schema = {
    "title": "Tensor",
    "type": "object",
    "properties": {
        "name": TEXT,
        "datatype": TEXT,
        "shape": COUNTS,
        "parameters": PARAMETERS,
        "data": {"type": "array"},
    },
    "required": ["name", "datatype", "shape"],
}
WANTED: Schema = {"type": "object", "properties": {"name": TEXT, "parameters": PARAMETERS}, "required": ["name"]}
ERROR: Schema = {"title": "V2Error", "type": "object", "properties": {"error": TEXT}, "required": ["error"]}
STATUSES = {
    400: "What was sent is not valid",
    404: "No such model or version",
    413: "The body or the number of rows is over the limit",
    429: "The queue is full",
    503: "Not ready, or draining",
    504: "The deadline passed",
}
READABLE = {
    "/v2": "The server",
    "/v2/health/live": "Whether the server lives",
    "/v2/health/ready": "Whether every model answers",
    "/v2/models": "The names of the models",
}


def documented(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    paths = {path: {"get": operation(path, text)} for path, text in READABLE.items()}
    paths["/v2/repository/index"] = {"post": operation("/v2/repository/index", "The models, with version and state")}
    for model in models:
        path = f"/v2/models/{model.name}"
        paths[path] = {"get": operation(path, f"The tensors of {model.name}", metadata(model))}
        paths[f"{path}/ready"] = {"get": operation(f"{path}/ready", f"Whether {model.name} answers")}
        paths[f"{path}/infer"] = {"post": infer_operation(model, settings)}
    return paths


def operation(path: str, summary: str, example: object = None) -> Schema:
    content: Schema = {"schema": {}} if example is None else {"schema": {}, "example": example}
    failures = {
        str(status): {"description": text, "content": {JSON.decode(): {"schema": ERROR}}}
        for status, text in STATUSES.items()
    }
    return {
        "tags": ["Open Inference Protocol v2"],
        "operationId": re.sub(r"\W+", "_", path.strip("/")),
        "summary": summary,
        "responses": {"200": {"description": "OK", "content": {JSON.decode(): content}}, **failures},
    }


def infer_operation(model: TabularModel, settings: Settings) -> Schema:
    body = {
        "type": "object",
        "properties": {
            "id": TEXT,
            "parameters": PARAMETERS,
            "inputs": {"type": "array", "items": TENSOR},
            "outputs": {"type": "array", "items": WANTED},
        },
        "required": ["inputs"],
    }
    shown = {"schema": body, "example": example(model)} if model.golden.rows else {"schema": body}
    return {
        **operation(f"/v2/models/{model.name}/infer", f"Predict {model.schema.target} of tensors"),
        "description": f"A tensor of up to {settings.max_rows} rows for each feature; binary tensors too.",
        "requestBody": {"required": True, "content": {JSON.decode(): shown}},
    }


def example(model: TabularModel) -> Schema:
    """A golden row as tensors."""
    row = model.golden.rows[0]
    inputs = [
        {"name": spec.name, "datatype": spec.datatype, "shape": [1], "data": [row.get(spec.name)]}
        for spec in Signature(model).inputs
    ]
    return {"inputs": inputs}
