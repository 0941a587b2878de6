"""The routes that change which versions are served, in the OpenAPI document."""

from collections.abc import Sequence
from typing import Any, Literal

from models.tabular_model import TabularModel
from service import errors
from service.openapi.operations import JSON_OBJECT, json_body, operation
from service.openapi.responses import BODY, MODEL, PROBLEM_FORM, READINESS, ErrorGroup
from service.openapi.schemas import Schema
from service.settings import Settings

TAG = "Versions"
ADMIN: ErrorGroup = (errors.Forbidden,)
CHANGE: ErrorGroup = (
    *(*ADMIN, *READINESS, *MODEL, *BODY, errors.BadJson, errors.RequestNotValid),
    *(errors.Conflict, errors.PreconditionFailed),
)
VERSION = {"version": {"type": "integer", "minimum": 1}}
IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "description": "The generation that the change expects",
    "schema": {"title": "Generation", "type": "string", "examples": ['"12"']},
}


def paths(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    percent = {"type": "number", "minimum": 0, "maximum": 100}
    after_rows, feedback = {"type": "integer", "minimum": 1}, {"type": "boolean", "default": True}
    rollback = {"type": "object", "properties": {"after_rows": after_rows, "feedback": feedback}}
    traffic = {"champion": percent, "challenger": percent, "rollback": rollback}
    shadow = {"alias": {"type": "string"}, "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}}
    version = json_body("VersionChoice", VERSION, {"version": 4}, ["version"])
    alias = change("aliases/{alias}", "put", "Name a version", version)
    alias |= change("aliases/{alias}", "delete", "Delete a name")
    example = {"champion": 95, "challenger": 5, "rollback": {"after_rows": 500}}
    return {
        "/models/{name}/aliases/{alias}": alias,
        "/models/{name}/promote": change("promote", "post", "Make a version the champion", version),
        "/models/{name}/rollback": change("rollback", "post", "Return to the previous champion"),
        "/models/{name}/traffic": change(
            "traffic", "put", "Split the requests", json_body("Traffic", traffic, example)
        ),
        "/models/{name}/shadow": change(
            "shadow",
            "put",
            "Copy requests",
            json_body("Shadow", shadow, {"alias": "challenger", "share": 0.1}, ["share"]),
        ),
        "/audit": operation(
            TAG, "/audit", "get", "The changes of versions", JSON_OBJECT, PROBLEM_FORM, (*ADMIN, *READINESS)
        ),
    }


def change(
    path: str, method: Literal["post", "put", "delete"], summary: str, body: Schema | None = None
) -> dict[str, Any]:
    names = ["name", "alias"] if "{alias}" in path else ["name"]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"title": name.title(), "type": "string"}}
        for name in names
    ]
    more: Schema = {"parameters": [*parameters, IF_MATCH], "operationId": f"{method}_{path.partition('/')[0]}"}
    return operation(
        TAG,
        f"/models/{{name}}/{path}",
        method,
        summary,
        JSON_OBJECT,
        PROBLEM_FORM,
        CHANGE,
        **more,
        **({"requestBody": body} if body else {}),
    )
