"""JSON Schemas of rows and predictions, derived from the FeatureSchema, for /docs.json and BentoML's client.

Declared limits become limits of the JSON Schema. Levels and values from the training data become examples and
`x-levels`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import WithJsonSchema

from models.date_parsing import EPOCH_UNITS, describe_format
from models.feature import Feature
from models.output_columns import OutputColumn, OutputSpec
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text_score import MAX_CHARACTERS

Schema = dict[str, Any]
MAX_LISTED_LEVELS = 1000
LEVEL_TYPES = {"text": "string", "number": "number", "boolean": "boolean"}
JSON_TYPES = {"number": "number", "boolean": "boolean", "date": "string", "text": "string"}


def type_name(name: str) -> str:
    """`housing` -> `Housing`, `house_prices` -> `HousePrices_house_prices`: distinct names get distinct type names."""
    camel = "".join(part.title() for part in name.split("_"))
    return f"{camel}_{name}" if "_" in name else camel


def feature_schema(feature: Feature) -> Schema:
    kinds = json_types(feature)
    schema: Schema = {"title": feature.name, "type": kinds if len(kinds) > 1 else kinds[0]}
    if feature.kind == "number":
        schema |= {
            key: value
            for key, value in (("minimum", feature.minimum), ("maximum", feature.maximum))
            if value is not None
        }
    if feature.kind == "date":
        form = "ISO 8601" if feature.date_format in (None, "iso") else feature.date_format
        if feature.date_format in EPOCH_UNITS:
            form = describe_format(feature.date_format)
        limits = [f"from {feature.minimum}"] * (feature.minimum is not None)
        limits += [f"to {feature.maximum}"] * (feature.maximum is not None)
        schema["description"] = " ".join([f"A date or time, {form}; UTC without a time zone", *limits])
    if feature.kind == "text":
        schema["maxLength"] = MAX_CHARACTERS
    samples = [feature.example] if feature.example is not None else []
    if feature.kind == "category" and feature.seen.levels:
        samples += [level for level in feature.seen.levels[:5] if level != feature.example]
        schema["x-levels"] = feature.seen.levels[:MAX_LISTED_LEVELS]
    if samples:
        schema["examples"] = samples
    return schema


def json_types(feature: Feature) -> list[str]:
    """The JSON types that a value may have."""
    kinds = [LEVEL_TYPES[feature.level_type] if feature.kind == "category" else JSON_TYPES[feature.kind]]
    if feature.kind in ("number", "boolean") and feature.cells.reads_text:
        kinds.append("string")
    if feature.kind == "date" and feature.date_format in EPOCH_UNITS:
        kinds.append("number")
    return [*kinds, "null"] if feature.nullable else kinds


def request_schema(model: TabularModel, max_rows: int) -> Schema:
    row = {"$ref": f"#/components/schemas/{type_name(model.name)}Row"}
    return {
        "title": f"{type_name(model.name)}Request",
        "type": "object",
        "properties": {
            "rows": {"title": "Rows", "type": "array", "items": row, "minItems": 1, "maxItems": max_rows},
        },
        "required": ["rows"],
        "additionalProperties": False,
        "default": {"rows": example_rows(model)},  # Postman's import creates its request from the default
    }


def ambiguous_names(names: Iterable[str]) -> set[str]:
    """The names for which client generators may create an identifier that already exists: that of an earlier name, such
    as `a b` before `a_b`, or a method of the generated class."""
    seen = {"", "additionalproperties", "todict", "fromdict", "tojson", "fromjson", "tostr"}
    ambiguous = set()
    for name in names:
        identifier = re.sub(r"[^0-9a-z]", "", name.lower())
        if identifier in seen:
            ambiguous.add(name)
        seen.add(identifier)
    return ambiguous


def row_schema(schema: FeatureSchema) -> Schema:
    """The columns of a row as properties. Those with ambiguous names are additional properties."""
    properties = {feature.name: feature_schema(feature) for feature in schema.features}
    unused = [(column.name, column.reason) for column in schema.ignored] + [(schema.target, "the target")]
    properties |= {
        name: {"title": name, "description": f"Accepted and ignored: {reason}"} for name, reason in sorted(unused)
    }
    ambiguous = ambiguous_names(properties)
    more = {"description": f"Further columns: {', '.join(sorted(ambiguous))}"}
    required = [feature.name for feature in schema.features if not feature.nullable]
    return {
        "title": f"{type_name(schema.name)}Row",
        "type": "object",
        "properties": {name: column for name, column in properties.items() if name not in ambiguous},
        "required": [name for name in required if name not in ambiguous],
        "additionalProperties": more if ambiguous else False,
    }


def prediction_schema(name: str, spec: OutputSpec, optional: Sequence[OutputColumn] = ()) -> Schema:
    """The schema of a prediction. optional: the columns that a request may name."""
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
    outputs = {column.key: column.json_schema for column in spec.columns}
    on_request = {column.key: column.json_schema for column in optional}
    return {
        "title": f"{type_name(name)}Prediction",
        "type": "object",
        "properties": {**outputs, **on_request, "warnings": {"title": "Warnings", "type": "array", "items": warning}},
        "required": list(outputs),
    }


def response_schema(schema: FeatureSchema, prediction: Schema) -> Schema:
    return {
        "title": f"{type_name(schema.name)}Response",
        "type": "object",
        "properties": {
            "model": {"title": "Model", "type": "string"},
            "version": {"title": "Version", "type": "string"},
            "predictions": {
                "title": "Predictions",
                "description": "One per row, in order; null for an invalid row if on_invalid=skip",
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
    """Valid rows: the golden rows or, if there are none, one row of the features' examples."""
    if model.golden.rows:
        return model.golden.rows[:count]
    return [{feature.name: feature.example for feature in model.schema.features if feature.example is not None}]


def native_types(model: TabularModel) -> tuple[Any, Any]:
    """The types of `rows` and of the response for `@bentoml.api`. They accept any value, because the data plane
    validates it. The JSON type is `["object"]` instead of the equivalent "object": with "object", BentoML's client
    would silently drop unknown keys."""
    row = {**row_schema(model.schema), "type": ["object"], "examples": example_rows(model)}
    rows = {"title": "Rows", "type": "array", "items": row}
    response = {"title": f"{type_name(model.name)}Response", "type": ["object"]}
    return Annotated[Any, WithJsonSchema(rows)], Annotated[Any, WithJsonSchema(response)]


ROW_ERROR: Schema = {
    "title": "RowError",
    "type": "object",
    "properties": {
        "row": {
            "title": "Row",
            "description": "Position from 0; null for the whole request",
            "type": ["integer", "null"],
        },
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
MODEL_SUMMARY: Schema = {
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


def ref(schema: Schema) -> Schema:
    return {"$ref": f"#/components/schemas/{schema['title']}"}
