"""Generates the reference page of the HTTP API from the OpenAPI document of two small models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STORE = Path(__file__).resolve().parents[1] / "tests/recorded/store"
MODELS = ("homes", "flags")
INTRODUCTION = """# OpenAPI

Every running server has its own OpenAPI 3.1 document at `/docs.json`, which is generated from the schemas of its
models. This page shows the document of a server with two small models, {models}. Replace their names with those of your
models.
"""


def openapi_markdown() -> str:
    from models import store
    from service.openapi.document import document
    from service.settings import Settings

    found, _ = store.versions(STORE)
    models = [store.load(found[name][0]) for name in MODELS]
    content = json.loads(document(models, Settings(), "0"))
    lines = [INTRODUCTION.format(models=" and ".join(f"`{name}`" for name in MODELS))]
    for tag in content["tags"]:
        lines.append(f"## {tag['name']}\n")
        for path, item in content["paths"].items():
            for method, operation in item.items():
                if operation["tags"][0] == tag["name"]:
                    lines += operation_lines(method, path, operation)
    lines.append("## Schemas\n")
    for name, schema in content["components"]["schemas"].items():
        lines += [f"### {name}\n", *json_block(schema)]
    return "\n".join(lines) + "\n"


def operation_lines(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method.upper()} {path}\n"
    sentences = [operation[key].rstrip(".") for key in ("summary", "description") if operation.get(key)]
    yield "".join(f"{sentence}. " for sentence in sentences).strip() + "\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | |\n|---|---|---|"
        for parameter in parameters:
            yield f"| `{parameter['name']}` | {parameter['in']} | {table_cell(parameter.get('description', ''))} |"
        yield ""
    if body := operation.get("requestBody"):
        yield "Request: " + ", ".join(linked_media_type(*each) for each in body["content"].items()) + "\n"
    yield "| status | response | content |\n|---|---|---|"
    for status, response in operation["responses"].items():
        types = ", ".join(linked_media_type(*each) for each in response.get("content", {}).items())
        yield f"| {status} | {table_cell(response['description'])} | {types} |"
    yield ""


def linked_media_type(name: str, content: dict[str, Any]) -> str:
    """A content type, with a link to its schema if it has a name."""
    reference = content.get("schema", {}).get("$ref", "")
    title = reference.rpartition("/")[2]
    return f"`{name}` ([{title}](#{title.lower()}))" if title else f"`{name}`"


def table_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def json_block(schema: dict[str, Any]) -> list[str]:
    return ["```json", json.dumps(schema, indent=1, ensure_ascii=False), "```", ""]
