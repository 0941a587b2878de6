"""`/v1/…`: TF Serving's REST, and KServe's v1 protocol on the same addresses."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from models.json_text import dumps
from models.outputs import Answers
from models.tabular_model import TabularModel
from models.text import truncate
from service.data_plane import LARGE_BYTES, LARGE_ROWS, DataPlane
from service.errors import NotFound, RequestError, RequestNotValid
from service.http import openapi, openapi_operations
from service.http.negotiation import JSON
from service.protocols import error_text, tfserving
from service.protocols.tfserving import ParsedRequest, Writer
from service.routes.base import Reply, Request, Route
from service.settings import Settings

MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
ASKING = re.compile(MODEL + ":(?P<method>predict|classify|regress)", re.IGNORECASE)
READING = re.compile(MODEL + "(?P<metadata>/metadata)?", re.IGNORECASE)
TAG = "TF Serving and KServe v1"
ANY = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class TFServing(Route):
    """A route whose errors read as TF Serving's."""

    protocol = "tfserving"

    def refuse(self, error: RequestError) -> Reply:
        status = tfserving.CODES.get(error.status, error.status)
        return Reply(tfserving.error_body(error), JSON, status, error.headers)


class Ask(TFServing):
    """`:predict`, `:classify` or `:regress` of the served version of a model."""

    def __init__(self, plane: DataPlane, model: str, method: str) -> None:
        super().__init__(plane, model)
        self.name = model
        self.method = method
        self.schema = plane.models[model].schema
        self.writer = Writer(plane.models[model])

    async def answer(self, request: Request) -> Reply:
        self.check_method()
        large = len(request.body) > LARGE_BYTES
        asked = await self.plane.beside(self.read, request.body) if large else self.read(request.body)
        accepted, answers = await self.plane.predict_rows(
            self.name, asked.rows, deadline=request.deadline, request_id=request.request_id, gone=request.gone
        )
        long = len(answers) > LARGE_ROWS
        body = await self.plane.beside(self.write, asked, answers) if long else self.write(asked, answers)
        return Reply(body, headers=error_text.warnings_header(accepted))

    def check_method(self) -> None:
        task = self.schema.task
        if self.method != "predict" and (self.method == "regress") != (task == "regression"):
            wanted = "regression" if self.method == "regress" else "classification"
            right = "regress" if task == "regression" else "classify"
            expected = f"Expected {wanted} signature method_name to be tensorflow/serving/{self.method}."
            raise RequestNotValid(f"{expected} Was: tensorflow/serving/{right}")

    def read(self, body: bytes) -> ParsedRequest:
        most = self.plane.settings.max_rows
        if self.method == "predict":
            return tfserving.read_predict(self.schema, body, most)
        return tfserving.read_examples(self.schema, body, self.method, most)

    def write(self, asked: ParsedRequest, answers: Answers) -> bytes:
        if self.method != "predict":
            return self.writer.results(answers)
        return self.writer.outputs(answers) if asked.columns else self.writer.predictions(answers)


class Read(TFServing):
    """Status or metadata of the served version of a model."""

    methods = ("GET",)

    def __init__(self, plane: DataPlane, model: str, *, metadata: bool) -> None:
        super().__init__(plane)
        self.name = model
        self.metadata = metadata

    async def answer(self, request: Request) -> Reply:
        model = self.plane.find(self.name).model
        return Reply(tfserving.metadata(model) if self.metadata else tfserving.status(model))


class Models(TFServing):
    """KServe's list of models."""

    methods = ("GET",)

    async def answer(self, request: Request) -> Reply:
        return Reply(dumps({"models": list(self.plane.models)}))


class ErrorRoute(TFServing):
    """An address of this protocol that leads nowhere."""

    methods = ANY

    def __init__(self, plane: DataPlane, error: RequestError) -> None:
        super().__init__(plane)
        self.error = error

    async def answer(self, request: Request) -> Reply:
        raise self.error


class Family:
    """All of `/v1/`."""

    def listed(self, plane: DataPlane) -> Mapping[str, Route]:
        paths = ["/v1/models"]
        for name, model in plane.models.items():
            for address in (f"/v1/models/{name}", f"/v1/models/{name}/versions/{model.version}"):
                paths += [address, f"{address}/metadata", *[f"{address}:{method}" for method in tfserving.SIGNATURES]]
        return {path: route for path in paths if (route := self.find(plane, path))}

    def find(self, plane: DataPlane, path: str) -> Route | None:
        if path.lower() == "/v1/models":
            return Models(plane)
        if not path.lower().startswith("/v1/"):
            return None
        found = ASKING.fullmatch(path) or READING.fullmatch(path)
        if found is None:
            return ErrorRoute(plane, RequestNotValid(f"Malformed request: {truncate(path, 200)}"))
        name, version, label = found["name"], found["version"], found["label"]
        model = plane.models.get(name)
        if model is None or label is not None or (version is not None and version.lstrip("0") != model.version):
            return ErrorRoute(plane, NotFound(tfserving.not_served(plane.models, name, version, label)))
        if found.re is ASKING:
            return Ask(plane, name, found["method"].lower())
        return Read(plane, name, metadata=found["metadata"] is not None)

    def paths(self, models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
        """For /docs.json."""
        paths = {"/v1/models": describe("/v1/models", "The models, as KServe lists them")}
        for model in models:
            address = f"/v1/models/{model.name}"
            paths[address] = describe(address, f"Status of {model.name}")
            paths[f"{address}/metadata"] = describe(f"{address}/metadata", f"Signatures of {model.name}")
            other = "regress" if model.schema.classes is None else "classify"
            paths |= {f"{address}:{method}": ask(model, method, settings) for method in ("predict", other)}
        return paths


def describe(path: str, text: str) -> dict[str, Any]:
    answer = {"application/json": {"schema": {"type": "object"}}}
    return openapi_operations.operation(TAG, path, "get", text, ["error"], answer)


def ask(model: TabularModel, method: str, settings: Settings) -> dict[str, Any]:
    """The operation of a method. Its row is that of /predict, where a value may also stand as the list of itself."""
    rows = openapi.example_rows(model)
    names = {"type": "string", "enum": ["", *tfserving.SIGNATURES[method]]}
    if method == "predict":
        inputs = {"instances": openapi_operations.LISTED, "inputs": openapi_operations.ANY}
        body = openapi_operations.json_body({"signature_name": names, **inputs}, {"instances": rows})
    else:
        inputs = {"examples": openapi_operations.LISTED, "context": {"type": "object"}}
        body = openapi_operations.json_body({"signature_name": names, **inputs}, {"examples": rows}, ["examples"])
    return openapi_operations.operation(
        TAG,
        f"/v1/models/{model.name}:{method}",
        "post",
        f"Predict {model.schema.target}",
        ["error"],
        {"application/json": {"schema": {"type": "object"}}},
        description=f"Model {model.tag}, up to {settings.max_rows} rows. NaN is a missing value.",
        requestBody=body,
    )
