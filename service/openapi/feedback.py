"""The routes of feedback in the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from models.tabular_model import TabularModel
from service import errors
from service.openapi.operations import JSON_OBJECT, json_body, operation
from service.openapi.responses import BODY, MODEL, PROBLEM_FORM, READINESS
from service.openapi.schemas import Schema, example_rows
from service.settings import Settings

TAG = "Monitoring"
PATH = "/feedback/{name}"
WINDOW: Schema = {
    "name": "window",
    "in": "query",
    "description": "How far back the live metrics go",
    "schema": {"title": "Window", "type": "string", "enum": ["24h", "7d", "30d", "all"], "default": "all"},
}


def paths(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    names = [model.name for model in models]
    schema = {"title": "Name", "type": "string", "enum": names, "default": names[0]}
    parameters = [{"name": "name", "in": "path", "required": True, "schema": schema}, WINDOW]
    reads = (*READINESS, *MODEL, errors.RequestNotValid, errors.QueueFull)
    writes = (*reads, *BODY, errors.BadJson, errors.TooManyJsonNodes, errors.TooManyRows, errors.RowsNotValid)
    read = operation(
        TAG,
        PATH,
        "get",
        "The live metrics of a model's versions",
        JSON_OBJECT,
        PROBLEM_FORM,
        reads,
        operationId="live_metrics",
        parameters=parameters,
    )
    write = operation(
        TAG,
        PATH,
        "post",
        "Report the truth about predictions",
        JSON_OBJECT,
        PROBLEM_FORM,
        writes,
        operationId="feedback",
        parameters=parameters,
        requestBody=feedback_body(models[0]),
    )
    return {PATH: read | write}


def feedback_body(model: TabularModel) -> Schema:
    """The request body. model: the model in the example."""
    truth = model.schema.classes[0] if model.schema.classes else 4.2
    rows = [{**row, model.schema.target: truth} for row in example_rows(model, 1)]
    one = {
        "title": "OneFeedback",
        "type": "object",
        "properties": {"id": {"title": "Id", "type": "string", "examples": ["a1b2c3d4e5f6-2a:0"]}, "truth": {}},
    }
    properties = {
        "rows": {"title": "Rows", "type": "array", "items": {"type": "object"}},
        "feedback": {"title": "Feedback", "type": "array", "items": one},
    }
    return json_body("FeedbackBody", properties, {"rows": rows})
