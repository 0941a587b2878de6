"""The routes of MLflow, SageMaker and Vertex AI in the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from models.tabular_model import TabularModel
from models.text import counted
from service.openapi.operations import ANY, JSON_OBJECT, LISTED, TEXT, json_body, operation
from service.openapi.responses import PREDICTION, READINESS, TIMEOUT_HEADER, text_form
from service.openapi.schemas import Schema, example_rows
from service.protocols.invocations import PARAMETERS
from service.routes.invocations import ATTRIBUTES, CLARIFY, explain_path
from service.settings import Settings

TAG = "MLflow, SageMaker and Vertex AI"
FORM = text_form("error_code", "message")
LEVELS: Schema = {
    "description": "Levels between 0 and 1, such as 0.9 or [0.5, 0.9]",
    "oneOf": [{"type": "number"}, {"type": "string"}, {"type": "array", "items": {"type": "number"}}],
}
CLARIFY_HEADER: Schema = {
    "name": CLARIFY.decode(),
    "in": "header",
    "description": "`true` wraps the response and adds explanations as SageMaker Clarify does, `false` only wraps it",
    "schema": {"type": "string", "enum": ["`true`", "`false`"]},
}


def paths(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    probes = {path for path in ("/ping", "/health", settings.health_route) if path}
    paths = {path: probe(path, "Health check") for path in sorted(probes)}
    paths["/version"] = probe("/version", "The version of tabserve")
    for path in ("/invocations", settings.predict_route):
        if path:
            paths[path] = predict(path, models, settings)
    if settings.predict_route and can_explain(models):
        path = explain_path(settings.predict_route)
        paths[path] = predict(path, models, settings, summary="Predictions and their explanations")
    return paths


def default_model(models: Sequence[TabularModel], settings: Settings) -> TabularModel:
    return next((model for model in models if model.name == settings.default_model), models[0])


def can_explain(models: Sequence[TabularModel]) -> bool:
    return any(model.background is not None for model in models)


def probe(path: str, summary: str) -> Schema:
    return operation(TAG, path, "get", summary, TEXT, FORM, (*READINESS, *TIMEOUT_HEADER))


def predict(path: str, models: Sequence[TabularModel], settings: Settings, summary: str = "Predictions") -> Schema:
    split = {
        "type": "object",
        "properties": {"columns": {"type": "array", "items": {"type": "string"}}, "data": LISTED},
    }
    formats = {"dataframe_records": LISTED, "instances": LISTED, "inputs": ANY, "dataframe_split": split}
    properties = option_properties(models)
    if properties:
        formats |= {key: {"type": "object", "properties": properties} for key in PARAMETERS}
    body = json_body(
        "InvocationsRequest", formats, {"dataframe_records": example_rows(default_model(models, settings))}
    )
    several = "" if len(models) == 1 else " of the model that TABSERVE_DEFAULT_MODEL or a header names"
    return operation(
        TAG,
        path,
        "post",
        f"{summary}{several}",
        JSON_OBJECT,
        FORM,
        PREDICTION,
        description=f"Exactly one of these keys, up to {counted(settings.max_rows, 'row')}. "
        "Also text/csv, in both directions.",
        parameters=[
            {
                "name": ATTRIBUTES.decode(),
                "in": "header",
                "required": len(models) > 1 and settings.default_model is None,
                "description": "The model, if several are served and TABSERVE_DEFAULT_MODEL names none",
                "schema": {"type": "string", "default": f"model={default_model(models, settings).name}"},
            },
            *([CLARIFY_HEADER] if can_explain(models) else []),
        ],
        requestBody=body,
    )


def option_properties(models: Sequence[TabularModel]) -> Schema:
    """The parameters for intervals, label sets and explanations, if a model can satisfy them."""
    found: Schema = {}
    for model in models:
        if model.uncertainty is not None:
            found["interval" if model.schema.task == "regression" else "set"] = LEVELS
    if can_explain(models):
        found["explain"] = {"enum": [True, False, "true", "false", "fast"], "default": False}
    return found
