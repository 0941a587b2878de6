"""What requests and answers look like, in JSON Schema made from the FeatureSchema: for /docs.json and BentoML's client.

Declared limits only: what training saw stands there as examples and `x-levels`, never as a rule.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import orjson
from pydantic import WithJsonSchema

from models import json_text
from models.feature import Feature
from models.output_columns import OutputSpec
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from service.settings import Settings

Schema = dict[str, Any]
LISTED_LEVELS = 1000
LEVEL_TYPES = {"text": "string", "number": "number", "boolean": "boolean"}
JSON_TYPES = {"number": "number", "boolean": "boolean", "date": "string"}


def type_name(name: str) -> str:
    """`house_prices` -> `HousePrices`. Underscores that carry a difference stay: names never fall together."""
    camel = "".join(part.title() for part in name.split("_"))
    return camel if name == "_".join(name.split("_")) and "_" not in name else f"{camel}_{name}"


def feature_schema(feature: Feature) -> Schema:
    kind = LEVEL_TYPES[feature.level_type] if feature.kind == "category" else JSON_TYPES[feature.kind]
    schema: Schema = {"title": feature.name, "type": [kind, "null"] if feature.nullable else kind}
    if feature.kind == "number":
        schema |= {
            key: value
            for key, value in (("minimum", feature.minimum), ("maximum", feature.maximum))
            if value is not None
        }
    if feature.kind == "date":
        form = "ISO 8601" if feature.date_format in (None, "iso") else feature.date_format
        limits = [f"from {feature.minimum}"] * (feature.minimum is not None)
        limits += [f"to {feature.maximum}"] * (feature.maximum is not None)
        schema["description"] = " ".join([f"A date or time, {form}; UTC where it names no zone", *limits])
    samples = [feature.example] if feature.example is not None else []
    if feature.kind == "category" and feature.seen.levels:
        samples += [level for level in feature.seen.levels[:5] if level != feature.example]
        schema["x-levels"] = feature.seen.levels[:LISTED_LEVELS]
    if samples:
        schema["examples"] = samples
    return schema


def row_schema(schema: FeatureSchema) -> Schema:
    properties = {feature.name: feature_schema(feature) for feature in schema.features}
    unused = [(column.name, column.reason) for column in schema.ignored] + [(schema.target, "what is predicted")]
    properties |= {
        name: {"title": name, "description": f"Accepted and ignored: {reason}"} for name, reason in sorted(unused)
    }
    return {
        "title": f"{type_name(schema.name)}Row",
        "type": "object",
        "properties": properties,
        "required": [feature.name for feature in schema.features if not feature.nullable],
        "additionalProperties": False,
    }


def prediction_schema(name: str, spec: OutputSpec) -> Schema:
    warning = {
        "title": "Warning",
        "type": "object",
        "properties": {
            "field": {"title": "Field", "type": "string"},
            "code": {"title": "Code", "type": "string", "examples": ["outside_seen", "unseen_level"]},
            "message": {"title": "Message", "type": "string"},
        },
        "required": ["field", "code", "message"],
    }
    answer = {column.key: column.json_schema for column in spec.columns}
    return {
        "title": f"{type_name(name)}Prediction",
        "type": "object",
        "properties": {**answer, "warnings": {"title": "Warnings", "type": "array", "items": warning}},
        "required": list(answer),
    }


def answer_schema(schema: FeatureSchema, prediction: Schema) -> Schema:
    return {
        "title": f"{type_name(schema.name)}Answer",
        "type": "object",
        "properties": {
            "model": {"title": "Model", "type": "string"},
            "version": {"title": "Version", "type": "string"},
            "predictions": {
                "title": "Predictions",
                "description": "One per row, in order; null where a row is not valid and on_invalid=skip",
                "type": "array",
                "items": {"anyOf": [prediction, {"type": "null"}]},
            },
            "errors": {
                "title": "Errors",
                "description": "With on_invalid=skip",
                "type": "array",
                "items": {"$ref": "#/components/schemas/RowError"},
            },
            "errors_omitted": {"title": "Errors omitted", "type": "integer"},
        },
        "required": ["model", "version", "predictions"],
    }


def example_rows(model: TabularModel, count: int = 2) -> list[dict[str, Any]]:
    """Rows that the model answers: golden ones, else one of the features' examples."""
    if model.golden.rows:
        return model.golden.rows[:count]
    return [{feature.name: feature.example for feature in model.schema.features if feature.example is not None}]


def native_types(model: TabularModel) -> tuple[Any, Any]:
    """The types of `rows` and of the answer for `@bentoml.api`.

    They describe and let everything through: the data plane checks. The type is a list of one, which JSON Schema takes
    for the same and BentoML's client does not know: by a plain "object" it drops unknown keys in silence.
    """
    row = {**row_schema(model.schema), "type": ["object"], "examples": example_rows(model)}
    rows = {"title": "Rows", "type": "array", "items": row}
    answer = {"title": f"{type_name(model.name)}Answer", "type": ["object"]}
    return Annotated[Any, WithJsonSchema(rows)], Annotated[Any, WithJsonSchema(answer)]


ROW_ERROR: Schema = {
    "title": "RowError",
    "type": "object",
    "properties": {
        "row": {"title": "Row", "description": "From 0; null for the whole request", "type": ["integer", "null"]},
        "field": {"title": "Field", "type": ["string", "null"]},
        "code": {"title": "Code", "type": "string"},
        "message": {"title": "Message", "type": "string"},
    },
    "required": ["row", "field", "code", "message"],
}
PROBLEM: Schema = {
    "title": "Problem",
    "description": "RFC 9457",
    "type": "object",
    "properties": {
        "type": {"title": "Type", "type": "string"},
        "title": {"title": "Title", "type": "string"},
        "status": {"title": "Status", "type": "integer"},
        "detail": {"title": "Detail", "type": "string"},
        "errors": {"title": "Errors", "type": "array", "items": {"$ref": "#/components/schemas/RowError"}},
        "errors_omitted": {"title": "Errors omitted", "type": "integer"},
    },
    "required": ["type", "title", "status", "detail", "errors", "errors_omitted"],
}
PREDICT_ERRORS = {
    400: "The body is not JSON",
    404: "No such model",
    408: "The body came too slowly",
    413: "The body or the number of rows is over the limit",
    406: "No such form of answer",
    415: "The content type is none of those listed",
    422: "Rows or request not valid",
    429: "The queue is full; Retry-After says when to come back",
    500: "Our fault; the log has the reason",
    503: "Not ready, or draining",
    504: "The deadline passed",
}
MODEL_LINE: Schema = {
    "title": "Model",
    "type": "object",
    "properties": {
        "name": {"title": "Name", "type": "string"},
        "version": {"title": "Version", "type": "string"},
        "task": {"title": "Task", "type": "string"},
        "target": {"title": "Target", "type": "string"},
        "engine": {"title": "Engine", "type": "string"},
        "metric": {
            "title": "Metric",
            "type": ["object", "null"],
            "properties": {"name": {"title": "Name", "type": "string"}, "value": {"title": "Value", "type": "number"}},
        },
    },
}


def document(
    models: Sequence[TabularModel], settings: Settings, version: str, foreign: Mapping[str, Any] | None = None
) -> bytes:
    """`/docs.json`. foreign: the paths of other protocols."""
    schemas: dict[str, Schema] = {"Problem": PROBLEM, "RowError": ROW_ERROR, "Model": MODEL_LINE}
    paths: dict[str, Any] = {}
    for model in models:
        row, prediction = row_schema(model.schema), prediction_schema(model.name, model.output_spec)
        answer = answer_schema(model.schema, ref(prediction))
        schemas |= {part["title"]: part for part in (row, prediction, answer)}
        paths[f"/predict/{model.name}"] = {"post": predict_operation(model, ref(row), ref(answer), settings)}
    paths |= {**other_paths(), **(foreign or {})}
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "tabserve",
            "version": version,
            "description": "Predictions from tables. Errors are problem documents (RFC 9457) but for other protocols.",
        },
        "servers": [{"url": "."}],
        "tags": [{"name": "Predictions"}, {"name": "Models"}, {"name": "Operation"}, *tags_of(foreign or {})],
        "paths": paths,
        "components": {"schemas": schemas},
    }
    try:
        return orjson.dumps(whole)
    except TypeError:
        return orjson.dumps(json_text.repaired(whole))


def tags_of(paths: Mapping[str, Any]) -> list[dict[str, str]]:
    tags = [tag for item in paths.values() for operation in item.values() for tag in operation["tags"]]
    return [{"name": tag} for tag in dict.fromkeys(tags)]


def ref(schema: Schema) -> Schema:
    return {"$ref": f"#/components/schemas/{schema['title']}"}


TABLES: Schema = {
    "application/x-ndjson": {"schema": {"title": "JSON lines", "type": "string"}},
    "text/csv": {"schema": {"title": "CSV with a header line", "type": "string"}},
    "application/vnd.apache.arrow.stream": {"schema": {"title": "Arrow IPC stream", "type": "string"}},
    "application/vnd.apache.parquet": {"schema": {"title": "Parquet file", "type": "string"}},
}
"""The other forms of bodies and answers; docs/api.md says what is in them."""
TASKS = {"regression": "a number", "binary": "one of two classes", "multiclass": "one of several classes"}


def predict_operation(model: TabularModel, row: Schema, answer: Schema, settings: Settings) -> Schema:
    body = {
        "title": f"{type_name(model.name)}Request",
        "type": "object",
        "properties": {
            "rows": {"title": "Rows", "type": "array", "items": row, "minItems": 1, "maxItems": settings.max_rows}
        },
        "required": ["rows"],
        "additionalProperties": False,
    }
    rows = example_rows(model)
    shown: Schema = {"schema": answer}
    if model.golden.rows:
        predictions = model.present(model.predict_rows(rows))
        shown["example"] = {"model": model.name, "version": model.version, "predictions": predictions}
    return {
        "tags": ["Predictions"],
        "operationId": f"predict_{model.name}",
        "summary": f"Predict {model.schema.target}",
        "description": f"Model {model.tag}: {TASKS[model.schema.task]}.",
        "parameters": [
            {
                "name": "on_invalid",
                "in": "query",
                "description": "fail: one row that is not valid refuses the request; skip: it is answered by null",
                "schema": {"title": "On invalid", "type": "string", "enum": ["fail", "skip"], "default": "fail"},
            },
            {
                "name": "X-Request-Timeout",
                "in": "header",
                "description": f"Seconds until the answer is of no use, at most {settings.timeout_s:g}",
                "schema": {"title": "Timeout", "type": "number", "exclusiveMinimum": 0},
            },
            {"name": "X-Request-ID", "in": "header", "schema": {"title": "Request ID", "type": "string"}},
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body, "example": {"rows": rows}}, **TABLES},
        },
        "responses": {
            "200": {"description": "Predictions", "content": {"application/json": shown, **TABLES}},
            **{str(status): failure(text) for status, text in PREDICT_ERRORS.items()},
        },
    }


def failure(text: str) -> Schema:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content}


def other_paths() -> dict[str, Any]:
    def get(tag: str, name: str, text: str, schema: Schema, kind: str = "application/json", **more: Any) -> Schema:
        responses = {"200": {"description": text, "content": {kind: {"schema": schema}}}}
        responses |= {str(status): failure(reason) for status, reason in more.pop("failures", {}).items()}
        return {"get": {"tags": [tag], "operationId": name, "summary": text, "responses": responses, **more}}

    status = {"title": "Status", "type": "object", "properties": {"status": {"title": "Status", "type": "string"}}}
    models = {
        "title": "Models",
        "type": "object",
        "properties": {"models": {"title": "Models", "type": "array", "items": {"$ref": "#/components/schemas/Model"}}},
    }
    name = {"name": "name", "in": "path", "required": True, "schema": {"title": "Name", "type": "string"}}
    anything: Schema = {"title": "Details", "type": "object"}
    unready = {503: "Not ready, or draining"}
    text = {"title": "Text", "type": "string"}
    return {
        "/models": get("Models", "list_models", "What is served", models),
        "/models/{name}": get(
            "Models",
            "describe_model",
            "One model: schema, quality, examples, card",
            anything,
            parameters=[name],
            failures={404: "No such model"},
        ),
        "/livez": get("Operation", "livez", "Whether the process answers", status),
        "/readyz": get("Operation", "readyz", "Whether every model answers", status, failures=unready),
        "/metrics": get("Operation", "metrics", "Metrics in Prometheus' text form", text, "text/plain"),
        "/schema.json": get("Operation", "schema", "What BentoML's client reads", anything),
    }
