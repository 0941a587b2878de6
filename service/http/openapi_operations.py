"""How a route of TF Serving's or MLflow's protocol stands in /docs.json."""

import re
from typing import Any

Schema = dict[str, Any]
ANY: Schema = {}
LISTED: Schema = {"type": "array", "minItems": 1, "items": ANY}
STATUSES = {
    400: "Rows or request not valid; the text names every row and field",
    404: "No such model or version",
    408: "The body came too slowly",
    413: "The body or the number of rows is over the limit",
    415: "The content type or coding is not supported",
    429: "The queue is full; Retry-After says when to come back",
    500: "Our fault; the log has the reason",
    503: "Not ready, or draining",
    504: "The deadline passed",
}


def operation(tag: str, path: str, method: str, text: str, keys: list[str], answer: Schema, **more: Any) -> Schema:
    """A path with one method. keys: of an error's object. answer: the media types of the answer with their schemas."""
    failure = {
        "type": "object",
        "properties": {key: {"type": "string"} for key in keys},
        "required": keys,
    }
    failures = {
        str(status): {"description": reason, "content": {"application/json": {"schema": failure}}}
        for status, reason in STATUSES.items()
    }
    about = {"tags": [tag], "operationId": re.sub(r"\W+", "_", path.strip("/")), "summary": text}
    return {method: {**about, **more, "responses": {"200": {"description": "OK", "content": answer}, **failures}}}


def json_body(properties: Schema, example: object, required: list[str] | None = None) -> Schema:
    body = {"type": "object", "properties": properties, "required": required or []}
    return {"required": True, "content": {"application/json": {"schema": body, "example": example}}}
