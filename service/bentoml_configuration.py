"""Warns about settings in BentoML's configuration that have no effect, because tabserve's ASGI application precedes
BentoML's."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE, OPTIONS, OVERRIDES = "BENTOML_CONFIG", "BENTOML_CONFIG_OPTIONS", "BENTOML_CONFIG_OVERRIDES"
INSTEAD: Mapping[str, str] = {
    "tracing": "set OTEL_EXPORTER_OTLP_ENDPOINT instead (docs/deployment.md#traces)",
    "cors": "let the proxy in front of the server add the CORS headers",
}
"""The sections without effect, and what to do instead."""


def warnings(environ: Mapping[str, str]) -> list[str]:
    """One warning for each variable and each of its sections that has values."""
    found = []
    for variable, configuration in configurations(environ):
        for name in INSTEAD:
            if any(has_values(section) for section in sections(configuration, name)):
                found.append(f"{variable}: the section {name!r} has no effect; {INSTEAD[name]}")
    return found


def configurations(environ: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """The content of the variables. BentoML itself reports unreadable configurations."""
    if path := environ.get(FILE):
        import yaml  # type: ignore[import-untyped]  # comes with BentoML

        with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
            yield FILE, yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if text := environ.get(OVERRIDES):
        with contextlib.suppress(ValueError):
            yield OVERRIDES, json.loads(text)
    for option in environ.get(OPTIONS, "").split():
        path, _, value = option.partition("=")
        nested: Any = value
        for key in reversed(path.split(".")):
            nested = {key: nested}
        yield OPTIONS, nested


def sections(configuration: Any, name: str) -> Iterator[Any]:
    """The values under a name, at any depth."""
    if isinstance(configuration, dict):
        for key, inner in configuration.items():
            if key == name:
                yield inner
            else:
                yield from sections(inner, name)


def has_values(section: Any) -> bool:
    """Whether a section sets anything other than a default."""
    if isinstance(section, dict):
        return any(map(has_values, section.values()))
    return section not in (None, False, "", "false", 0)
