"""The Open Inference Protocol in the OpenAPI document."""

from collections.abc import Sequence
from typing import Any, Literal

from models.tabular_model import TabularModel
from models.text import counted
from service.openapi.operations import operation
from service.openapi.responses import BODY, MODEL, PREDICTION, READINESS, TIMEOUT_HEADER, ErrorGroup, text_form
from service.openapi.schemas import Schema
from service.protocols.oip_signature import ModelSignature, optional_outputs
from service.routes.oip import model_metadata
from service.settings import Settings

TAG = "Open Inference Protocol v2"
FORM = text_form("error")
TEXT: Schema = {"type": "string"}
SHAPE: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
PARAMETERS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
INPUT: Schema = {
    "title": "Tensor",
    "type": "object",
    "properties": {
        "name": TEXT,
        "datatype": TEXT,
        "shape": SHAPE,
        "parameters": PARAMETERS,
        "data": {"type": "array", "items": {}},
    },
    "required": ["name", "datatype", "shape"],
}
REQUESTED_OUTPUT: Schema = {
    "title": "RequestedOutput",
    "type": "object",
    "properties": {"name": TEXT, "parameters": PARAMETERS},
    "required": ["name"],
}
REQUEST: Schema = {
    "title": "InferRequest",
    "type": "object",
    "properties": {
        "id": TEXT,
        "parameters": PARAMETERS,
        "inputs": {"type": "array", "items": INPUT},
        "outputs": {"type": "array", "items": REQUESTED_OUTPUT},
    },
    "required": ["inputs"],
}
ALWAYS_READY = {"/v2": "Server metadata", "/v2/health/live": "Liveness probe"}
PAGES = {"/v2/health/ready": "Readiness probe", "/v2/models": "List the names of the models"}
INDEX = "/v2/repository/index"


def paths(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    paths = {path: page(path, summary) for path, summary in ALWAYS_READY.items()}
    paths |= {path: page(path, summary, READINESS) for path, summary in PAGES.items()}
    paths[INDEX] = page(INDEX, "List the models with version and state", (*READINESS, *BODY), method="post")
    for model in models:
        path = f"/v2/models/{model.name}"
        of_model = (*READINESS, *MODEL)
        paths[path] = page(path, f"Metadata of {model.name}", of_model, example=model_metadata(model, [model.version]))
        paths[f"{path}/ready"] = page(f"{path}/ready", f"Readiness of {model.name}", of_model)
        paths[f"{path}/infer"] = infer(f"{path}/infer", model, settings)
    return paths


def page(
    path: str, summary: str, raised: ErrorGroup = (), method: Literal["get", "post"] = "get", example: object = None
) -> Schema:
    content: Schema = {"schema": {}} if example is None else {"schema": {}, "example": example}
    return operation(TAG, path, method, summary, {"application/json": content}, FORM, (*TIMEOUT_HEADER, *raised))


def infer(path: str, model: TabularModel, settings: Settings) -> Schema:
    body: Schema = {"schema": REQUEST}
    if model.golden.rows:
        example = example_request(model)
        body = {"schema": {**REQUEST, "default": example}, "example": example}
    return operation(
        TAG,
        path,
        "post",
        f"Predict {model.schema.target} from tensors",
        {"application/json": {"schema": {}}},
        FORM,
        PREDICTION,
        description=f"One tensor per feature with up to {counted(settings.max_rows, 'row')}, in JSON or binary."
        + optional_outputs_note(model),
        requestBody={"required": True, "content": {"application/json": body}},
    )


def optional_outputs_note(model: TabularModel) -> str:
    """A sentence with the optional names in `outputs` of a request."""
    names = [spec.name for spec in optional_outputs(model)]
    if not names:
        return ""
    return f" Further outputs on request: {', '.join(names)}; parameters: level (0.9), explain (true, fast)."


def example_request(model: TabularModel) -> Schema:
    """An infer request with a golden row."""
    row = model.golden.rows[0]
    inputs = [
        {"name": spec.name, "datatype": spec.datatype, "shape": [1], "data": [row.get(spec.name)]}
        for spec in ModelSignature(model).inputs
    ]
    return {"inputs": inputs}
