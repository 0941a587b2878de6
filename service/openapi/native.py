"""The native API in the OpenAPI document: predictions, models, and the pages about the server."""

from collections.abc import Iterable, Sequence
from typing import Any

from models import json_text
from models.tabular_model import TabularModel
from service.errors import RequestError
from service.openapi.operations import JSON_OBJECT, TEXT, operation
from service.openapi.responses import ACCEPT, MODEL, PREDICTION, PROBLEM_FORM, READINESS
from service.openapi.schemas import MODEL_SUMMARY, Schema, example_rows, ref, request_schema, type_name
from service.settings import Settings

NDJSON = "application/x-ndjson"
TABLES: Schema = {
    NDJSON: {"schema": {"title": "JSON lines", "type": "string"}},
    "text/csv": {"schema": {"title": "CSV with a header line", "type": "string"}},
    "application/vnd.apache.arrow.stream": {"schema": {"title": "Arrow IPC stream", "type": "string"}},
    "application/vnd.apache.parquet": {"schema": {"title": "Parquet file", "type": "string"}},
}
"""The table formats of bodies and responses; docs/api.md describes their content."""
TABLE_PATH = "/predict/{model}"
INPUTS: Schema = {
    "name": "inputs",
    "in": "query",
    "description": "true: the columns of a Parquet body to the left of the predictions, in a CSV response",
    "schema": {"title": "Inputs", "type": "boolean", "default": False},
}
TASKS = {"regression": "a number", "binary": "one of two classes", "multiclass": "one of several classes"}


def paths(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    predictions = {f"/predict/{model.name}": predict(model, settings) for model in models}
    return {**predictions, TABLE_PATH: predict_table(models, settings), **pages(models)}


def predict(model: TabularModel, settings: Settings) -> Schema:
    rows = example_rows(model)
    response: Schema = {"schema": {"$ref": f"#/components/schemas/{type_name(model.name)}Response"}}
    if model.golden.rows:
        predictions = model.present(model.predict_rows(rows))
        response["example"] = {"model": model.name, "version": model.version, "predictions": predictions}
    return operation(
        "Predictions",
        f"/predict/{model.name}",
        "post",
        f"Predict {model.schema.target}",
        {"application/json": response},
        PROBLEM_FORM,
        (*PREDICTION, *ACCEPT),
        description=f"Model {model.tag}: {TASKS[model.schema.task]}. Tables: /predict/{{model}}.",
        parameters=[*parameters(settings), *output_parameters(model)],
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": ref(request_schema(model, 0)), "example": {"rows": rows}}},
        },
    )


def predict_table(models: Sequence[TabularModel], settings: Settings) -> Schema:
    """The operation that predicts tables with any model. It is separate from the JSON operations because generated
    clients lose their types if an operation has more than one content type."""
    names = [model.name for model in models]
    schema = {"title": "Model", "type": "string", "enum": names, "default": names[0]}
    lines = b"\n".join(json_text.dumps(row) for row in example_rows(models[0])).decode()
    ndjson = {"schema": {**TABLES[NDJSON]["schema"], "default": lines}, "example": lines}
    return operation(
        "Predictions",
        TABLE_PATH,
        "post",
        "Predict a table",
        TABLES,
        PROBLEM_FORM,
        (*PREDICTION, *ACCEPT),
        description="NDJSON, CSV, Arrow or Parquet, in any combination, also with JSON in /predict/NAME.",
        operationId="predict_table",
        parameters=[{"name": "model", "in": "path", "required": True, "schema": schema}, *parameters(settings), INPUTS],
        requestBody={"required": True, "content": {**TABLES, NDJSON: ndjson}},
    )


def parameters(settings: Settings) -> list[Schema]:
    return [
        {
            "name": "on_invalid",
            "in": "query",
            "description": "fail: an invalid row fails the request; skip: an invalid row returns null",
            "schema": {"title": "On invalid", "type": "string", "enum": ["fail", "skip"], "default": "fail"},
        },
        {
            "name": "X-Request-Timeout",
            "in": "header",
            "description": f"Timeout in seconds, at most {settings.timeout_s:g}",
            "schema": {"title": "Timeout", "type": "number", "exclusiveMinimum": 0, "default": settings.timeout_s},
        },
        {"name": "X-Request-ID", "in": "header", "schema": {"title": "Request ID", "type": "string"}},
    ]


def output_parameters(model: TabularModel) -> list[Schema]:
    """The options for intervals, label sets and explanations, if the version can satisfy them."""
    levels = "Levels between 0 and 1, such as 0.9 or 0.5,0.9; empty: none"
    found: list[Schema] = []
    if model.uncertainty is not None:
        regression = model.schema.task == "regression"
        name, what = ("interval", "intervals") if regression else ("set", "label sets")
        schema = {"title": name.title(), "type": "string", "examples": ["0.9"], "default": ""}
        found.append({"name": name, "in": "query", "description": f"Adds {what}. {levels}", "schema": schema})
    if model.background is not None:
        what = "Adds explanations; fast compares with one typical row"
        schema = {"title": "Explain", "type": "string", "enum": ["true", "fast", "false"], "default": "false"}
        found.append({"name": "explain", "in": "query", "description": what, "schema": schema})
    return found


def pages(models: Sequence[TabularModel]) -> dict[str, Any]:
    status = {"title": "Status", "type": "object", "properties": {"status": {"title": "Status", "type": "string"}}}
    status_json = {"application/json": {"schema": status}}
    listed = {
        "title": "Models",
        "type": "object",
        "properties": {"models": {"title": "Models", "type": "array", "items": ref(MODEL_SUMMARY)}},
    }
    names = {"title": "Name", "type": "string", "enum": [model.name for model in models]}
    name = {"name": "name", "in": "path", "required": True, "schema": names}
    numbers = {"title": "Version", "type": "integer", "minimum": 1, "default": 1, "examples": [1]}
    version = {"name": "version", "in": "path", "required": True, "schema": numbers}
    return {
        "/models": page("Models", "/models", "List the models", {"application/json": {"schema": listed}}),
        "/models/{name}": page(
            "Models",
            "/models/{name}",
            "One model: schema, quality, examples, card",
            JSON_OBJECT,
            MODEL,
            parameters=[name, HISTOGRAMS],
        ),
        "/models/{name}/versions": page(
            "Models",
            "/models/{name}/versions",
            "The stored versions of a model, and which are served",
            JSON_OBJECT,
            MODEL,
            parameters=[name],
        ),
        "/models/{name}/versions/{version}/card": page(
            "Models",
            "/models/{name}/versions/{version}/card",
            "The model card of a stored version",
            {"text/markdown": {"schema": {"title": "Card", "type": "string"}}},
            MODEL,
            parameters=[name, version],
        ),
        "/livez": page("Operation", "/livez", "Liveness probe", status_json),
        "/readyz": page("Operation", "/readyz", "Readiness probe", status_json, READINESS),
        "/metrics": page("Operation", "/metrics", "Metrics in Prometheus' text format", TEXT),
        "/schema.json": page("Operation", "/schema.json", "Schema for BentoML's client", JSON_OBJECT),
    }


HISTOGRAMS: Schema = {
    "name": "histograms",
    "in": "query",
    "description": "true adds the histograms of the columns at training",
    "schema": {"title": "Histograms", "type": "string", "enum": ["true", "false"], "default": "false"},
}
OPERATION_IDS = {
    "/models": "list_models",
    "/models/{name}": "describe_model",
    "/models/{name}/versions": "list_versions",
    "/models/{name}/versions/{version}/card": "version_card",
    "/schema.json": "schema",
}


def page(
    tag: str, path: str, summary: str, content: Schema, raised: Iterable[type[RequestError]] = (), **more: Any
) -> Schema:
    more["operationId"] = OPERATION_IDS.get(path, path.strip("/"))
    return operation(tag, path, "get", summary, content, PROBLEM_FORM, raised, **more)
