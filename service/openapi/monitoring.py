"""The routes of monitoring in the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from models.tabular_model import TabularModel
from service import errors
from service.openapi.operations import JSON_OBJECT, operation
from service.openapi.responses import MODEL, PROBLEM_FORM, READINESS
from service.settings import Settings

TAG = "Monitoring"


def paths(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    return {
        "/drift": operation(
            TAG,
            "/drift",
            "get",
            "How rows and predictions differ from those at training",
            JSON_OBJECT,
            PROBLEM_FORM,
            (*READINESS, *MODEL, errors.RequestNotValid),
            parameters=[
                {
                    **option("model", "The model; needed if several are served", models[0].name),
                    "required": len(models) > 1,
                },
                option("version", "A version by number or alias; by default the champion", example="challenger"),
                option("window", "1m to 7d; by default the shortest of 1h, 24h and 7d with 500 rows", example="24h"),
                option("histograms", "true adds the histograms of each column and of the prediction", example="true"),
            ],
        )
    }


def option(name: str, description: str, default: str = "", example: str = "") -> dict[str, Any]:
    """A query parameter. default: the value that requests from Postman's import have."""
    schema = {"title": name.title(), "type": "string", "default": default, "examples": [example or default]}
    return {"name": name, "in": "query", "description": description, "schema": schema}
