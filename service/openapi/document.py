"""Builds the OpenAPI document at `/docs.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from models import json_text
from models.output_options import optional_columns
from models.tabular_model import TabularModel
from service.openapi import feedback, invocations, keys_security, monitoring, native, oip, tfserving, versions
from service.openapi.schemas import (
    MODEL_SUMMARY,
    PROBLEM,
    ROW_ERROR,
    Schema,
    prediction_schema,
    ref,
    request_schema,
    response_schema,
    row_schema,
)
from service.settings import Settings

SERVERS = [
    {"url": "/", "description": "Without a path prefix"},  # client generators use the first server
    {"url": ".", "description": "Behind the path prefix of a proxy: relative to this document"},
]
PROTOCOLS = (native, versions, monitoring, feedback, tfserving, oip, invocations)


def document(models: Sequence[TabularModel], settings: Settings, version: str) -> bytes:
    paths: dict[str, Any] = {}
    for protocol in PROTOCOLS:
        paths |= protocol.paths(models, settings)
    components: dict[str, Any] = {"schemas": schemas(models, settings)}
    content = {
        "openapi": "3.1.0",
        "info": {
            "title": "tabserve",
            "version": version,
            "description": "Predictions from tables. The native API returns errors as problem documents (RFC 9457).",
        },
        "servers": SERVERS,
        "tags": tags(paths),
        "paths": paths,
        "components": components,
    }
    if settings.keys_file:
        keys_security.add_keys(paths, settings)
        components["securitySchemes"] = keys_security.SCHEMES
    try:
        return orjson.dumps(content)
    except TypeError:
        return orjson.dumps(json_text.replace_surrogates(content))


def schemas(models: Sequence[TabularModel], settings: Settings) -> dict[str, Schema]:
    """The schemas that the operations refer to, by title."""
    found = [PROBLEM, ROW_ERROR, MODEL_SUMMARY]
    for model in models:
        found.append(request_schema(model, settings.max_rows))
        prediction = prediction_schema(model.name, model.output_spec, optional_columns(model))
        found += [row_schema(model.schema), prediction, response_schema(model.schema, ref(prediction))]
    return {schema["title"]: schema for schema in found}


def tags(paths: Mapping[str, Any]) -> list[dict[str, str]]:
    names = [tag for item in paths.values() for operation in item.values() for tag in operation["tags"]]
    return [{"name": name} for name in dict.fromkeys(names)]
