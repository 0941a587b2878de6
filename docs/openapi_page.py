"""The reference page of the HTTP API, made from the OpenAPI document of two small models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STORE = Path(__file__).resolve().parents[1] / "tests/recorded/store"
MODELS = ("homes", "flags")
INTRODUCTION = """# OpenAPI

Every running server has its own OpenAPI 3.1 document at `/docs.json`, made from the schemas of its models. This page is
made from that of a server with two small models, {models}. Replace their names by yours.
"""


def page() -> str:
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
        lines += [f"### {name}\n", *block(schema)]
    return "\n".join(lines) + "\n"


def operation_lines(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method.upper()} {path}\n"
    sentences = [operation[key].rstrip(".") for key in ("summary", "description") if operation.get(key)]
    yield "".join(f"{sentence}. " for sentence in sentences).strip() + "\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | |\n|---|---|---|"
        for parameter in parameters:
            yield f"| `{parameter['name']}` | {parameter['in']} | {cell(parameter.get('description', ''))} |"
        yield ""
    if body := operation.get("requestBody"):
        yield "Request: " + ", ".join(media_type(*each) for each in body["content"].items()) + "\n"
    yield "| status | response | content |\n|---|---|---|"
    for status, response in operation["responses"].items():
        types = ", ".join(media_type(*each) for each in response.get("content", {}).items())
        yield f"| {status} | {cell(response['description'])} | {types} |"
    yield ""


def media_type(name: str, content: dict[str, Any]) -> str:
    """A content type, with a link to its schema if it has a name."""
    reference = content.get("schema", {}).get("$ref", "")
    title = reference.rpartition("/")[2]
    return f"`{name}` ([{title}](#{title.lower()}))" if title else f"`{name}`"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def block(schema: dict[str, Any]) -> list[str]:
    return ["```json", json.dumps(schema, indent=1, ensure_ascii=False), "```", ""]
