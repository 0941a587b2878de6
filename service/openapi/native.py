"""The native API in the OpenAPI document: predictions, models, and the pages about the server."""

from collections.abc import Iterable, Sequence
from typing import Any

from models.tabular_model import TabularModel
from service.errors import RequestError
from service.openapi.operations import JSON_OBJECT, TEXT, operation
from service.openapi.responses import ACCEPT, MODEL, PREDICTION, PROBLEM_FORM, READINESS
from service.openapi.schemas import MODEL_SUMMARY, Schema, example_rows, ref, type_name
from service.settings import Settings

TABLES: Schema = {
    "application/x-ndjson": {"schema": {"title": "JSON lines", "type": "string"}},
    "text/csv": {"schema": {"title": "CSV with a header line", "type": "string"}},
    "application/vnd.apache.arrow.stream": {"schema": {"title": "Arrow IPC stream", "type": "string"}},
    "application/vnd.apache.parquet": {"schema": {"title": "Parquet file", "type": "string"}},
}
"""The table formats of bodies and responses; docs/api.md describes their content."""
TASKS = {"regression": "a number", "binary": "one of two classes", "multiclass": "one of several classes"}


def paths(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    return {**{f"/predict/{model.name}": predict(model, settings) for model in models}, **pages()}


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
        {"application/json": response, **TABLES},
        PROBLEM_FORM,
        (*PREDICTION, *ACCEPT),
        description=f"Model {model.tag}: {TASKS[model.schema.task]}.",
        parameters=[*parameters(settings), *output_parameters(model)],
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": request_schema(model, settings), "example": {"rows": rows}}}
            | TABLES,
        },
    )


def request_schema(model: TabularModel, settings: Settings) -> Schema:
    row = {"$ref": f"#/components/schemas/{type_name(model.name)}Row"}
    rows = {"title": "Rows", "type": "array", "items": row, "minItems": 1, "maxItems": settings.max_rows}
    return {
        "title": f"{type_name(model.name)}Request",
        "type": "object",
        "properties": {"rows": rows},
        "required": ["rows"],
        "additionalProperties": False,
    }


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
            "schema": {"title": "Timeout", "type": "number", "exclusiveMinimum": 0},
        },
        {"name": "X-Request-ID", "in": "header", "schema": {"title": "Request ID", "type": "string"}},
    ]


def output_parameters(model: TabularModel) -> list[Schema]:
    """The options for intervals, label sets and explanations, where the version can satisfy them."""
    levels = "Levels between 0 and 1, such as 0.9 or 0.5,0.9"
    found: list[Schema] = []
    if model.uncertainty is not None:
        regression = model.schema.task == "regression"
        name, what = ("interval", "intervals") if regression else ("set", "label sets")
        schema = {"title": name.title(), "type": "string", "examples": ["0.9"]}
        found.append({"name": name, "in": "query", "description": f"Adds {what}. {levels}", "schema": schema})
    if model.background is not None:
        what = "Adds explanations; fast compares with one typical row"
        schema = {"title": "Explain", "type": "string", "enum": ["true", "fast", "false"], "default": "false"}
        found.append({"name": "explain", "in": "query", "description": what, "schema": schema})
    return found


def pages() -> dict[str, Any]:
    status = {"title": "Status", "type": "object", "properties": {"status": {"title": "Status", "type": "string"}}}
    status_json = {"application/json": {"schema": status}}
    models = {
        "title": "Models",
        "type": "object",
        "properties": {"models": {"title": "Models", "type": "array", "items": ref(MODEL_SUMMARY)}},
    }
    name = {"name": "name", "in": "path", "required": True, "schema": {"title": "Name", "type": "string"}}
    return {
        "/models": page("Models", "/models", "List the models", {"application/json": {"schema": models}}),
        "/models/{name}": page(
            "Models",
            "/models/{name}",
            "One model: schema, quality, examples, card",
            JSON_OBJECT,
            MODEL,
            parameters=[name],
        ),
        "/models/{name}/versions": page(
            "Models",
            "/models/{name}/versions",
            "The stored versions of a model, and which are served",
            JSON_OBJECT,
            MODEL,
            parameters=[name],
        ),
        "/livez": page("Operation", "/livez", "Liveness probe", status_json),
        "/readyz": page("Operation", "/readyz", "Readiness probe", status_json, READINESS),
        "/metrics": page("Operation", "/metrics", "Metrics in Prometheus' text format", TEXT),
        "/schema.json": page("Operation", "/schema.json", "Schema for BentoML's client", JSON_OBJECT),
    }


OPERATION_IDS = {
    "/models": "list_models",
    "/models/{name}": "describe_model",
    "/models/{name}/versions": "list_versions",
    "/schema.json": "schema",
}


def page(
    tag: str, path: str, summary: str, content: Schema, raised: Iterable[type[RequestError]] = (), **more: Any
) -> Schema:
    more["operationId"] = OPERATION_IDS.get(path, path.strip("/"))
    return operation(tag, path, "get", summary, content, PROBLEM_FORM, raised, **more)
