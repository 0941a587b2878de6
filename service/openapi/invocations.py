"""The routes of MLflow, SageMaker and Vertex AI in the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from models.tabular_model import TabularModel
from service.openapi.operations import ANY, JSON_OBJECT, LISTED, TEXT, json_body, operation
from service.openapi.responses import PREDICTION, READINESS, TIMEOUT_HEADER, text_form
from service.openapi.schemas import Schema, example_rows
from service.routes.invocations import ATTRIBUTES
from service.settings import Settings

TAG = "MLflow, SageMaker and Vertex AI"
FORM = text_form("error_code", "message")
CSV: Schema = {"text/csv": {"schema": {"type": "string"}}}


def paths(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    probes = {path for path in ("/ping", "/health", settings.health_route) if path}
    paths = {path: probe(path, "Health check") for path in sorted(probes)}
    paths["/version"] = probe("/version", "The version of tabserve")
    for path in ("/invocations", settings.predict_route):
        if path:
            paths[path] = predict(path, models, settings)
    return paths


def probe(path: str, summary: str) -> Schema:
    return operation(TAG, path, "get", summary, TEXT, FORM, (*READINESS, *TIMEOUT_HEADER))


def predict(path: str, models: Sequence[TabularModel], settings: Settings) -> Schema:
    split = {"type": "object", "properties": {"columns": {"type": "array"}, "data": LISTED}}
    formats = {"dataframe_records": LISTED, "instances": LISTED, "inputs": ANY, "dataframe_split": split}
    body = json_body(formats, {"dataframe_records": example_rows(models[0])})
    body["content"] |= CSV
    several = "" if len(models) == 1 else " of the model that TABSERVE_DEFAULT_MODEL or a header names"
    return operation(
        TAG,
        path,
        "post",
        f"Predictions{several}",
        {**JSON_OBJECT, **CSV},
        FORM,
        PREDICTION,
        description=f"Exactly one of these keys, up to {settings.max_rows} rows.",
        parameters=[
            {
                "name": ATTRIBUTES.decode(),
                "in": "header",
                "description": "The model, if several are served",
                "schema": {"type": "string"},
                "example": f"model={models[0].name}",
            }
        ],
        requestBody=body,
    )
