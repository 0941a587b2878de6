"""Operations of the OpenAPI document: a method of a path with its parameters, body and responses."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from service.errors import RequestError
from service.openapi.responses import ErrorForm, error_responses
from service.openapi.schemas import Schema

ANY: Schema = {}
LISTED: Schema = {"type": "array", "minItems": 1, "items": ANY}
JSON_OBJECT: Schema = {"application/json": {"schema": {"type": "object"}}}
TEXT: Schema = {"text/plain": {"schema": {"title": "Text", "type": "string"}}}


def operation(
    tag: str,
    path: str,
    method: Literal["get", "post", "put", "delete"],
    summary: str,
    content: Schema,
    form: ErrorForm,
    raised: Iterable[type[RequestError]] = (),
    **more: Any,
) -> Schema:
    """A path item with one method. content: the media types of status 200. form, raised: as in `error_responses`."""
    return {
        method: {
            "tags": [tag],
            "operationId": re.sub(r"\W+", "_", path.strip("/")),
            "summary": summary,
            **more,
            "responses": {"200": {"description": "OK", "content": content}, **error_responses(form, raised)},
        }
    }


def json_body(
    title: str, properties: Schema, example: Mapping[str, Any], required: Sequence[str] = (), **more: Any
) -> Schema:
    """A body with one content type: with several, some client generators send none.

    The example is also the default, because Postman's import creates requests from defaults, or else from the names of
    types.
    """
    body: Schema = {"title": title, "type": "object", "properties": properties, **more, "default": example}
    if required:
        body["required"] = [*required]
    return {"required": True, "content": {"application/json": {"schema": body, "example": example}}}
