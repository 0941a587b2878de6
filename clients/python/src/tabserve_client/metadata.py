"""Reads the server's descriptions of its models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tabserve_client.errors import InvalidResponse, objects_in
from tabserve_client.json_rows import Row
from tabserve_client.table_columns import Label
from tabserve_client.wire import Reply


@dataclass(frozen=True)
class ModelSummary:
    """One of the served models. metric: the name and value of its error or accuracy on the test set."""

    name: str
    version: str
    task: str
    target: str
    metric: Mapping[str, Any]


@dataclass(frozen=True)
class Feature:
    """A column that the model uses. seen: the range or the levels in the training data."""

    name: str
    kind: str
    nullable: bool
    seen: Mapping[str, Any]


@dataclass(frozen=True)
class ModelSchema:
    """The columns of a model. classes: None for a regression. ignored: columns that are accepted and not used.

    examples: valid rows. document: the complete description by the server.
    """

    name: str
    version: str
    task: str
    target: str
    classes: tuple[Label, ...] | None
    features: tuple[Feature, ...]
    ignored: tuple[str, ...]
    examples: tuple[Row, ...]
    document: Mapping[str, Any]


def read_models(reply: Reply) -> list[ModelSummary]:
    """Raises InvalidResponse."""
    try:
        return [
            ModelSummary(
                entry["name"], str(entry["version"]), entry["task"], entry["target"], entry.get("metric") or {}
            )
            for entry in document_of(reply)["models"]
        ]
    except (KeyError, TypeError):
        raise InvalidResponse("not a list of models of tabserve") from None


def read_schema(reply: Reply) -> ModelSchema:
    """Raises InvalidResponse."""
    document = document_of(reply)
    try:
        columns = document["schema"]
        classes = document["classes"]
        return ModelSchema(
            document["name"],
            str(document["version"]),
            document["task"],
            document["target"],
            None if classes is None else tuple(classes),
            tuple(
                Feature(one["name"], one["kind"], one["nullable"], one.get("seen") or {}) for one in columns["features"]
            ),
            tuple(one["name"] for one in objects_in(columns, "ignored")),
            tuple(one["row"] for one in document["examples"]),
            document,
        )
    except (KeyError, TypeError):
        raise InvalidResponse("not the description of a model of tabserve") from None


def document_of(reply: Reply) -> dict[str, Any]:
    """Raises InvalidResponse."""
    document = reply.json()
    if not reply.complete or not isinstance(document, dict):
        raise InvalidResponse("not a response of tabserve, or a part of one")
    return document
