"""API keys in the OpenAPI document: how to send a key, and the errors that keys add to each operation."""

from collections.abc import Mapping
from typing import Any

from service import errors
from service.openapi.responses import RETRY_AFTER
from service.settings import Settings

OPEN_PATHS = frozenset({"/livez", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready"})
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def add_keys(paths: Mapping[str, Any], settings: Settings) -> None:
    """Add the errors about keys to the operations that need a key, in the format of their other errors."""
    for path, operations in paths.items():
        if path in OPEN_PATHS or path == settings.health_route:
            continue
        for operation in operations.values():
            responses = operation["responses"]
            content = responses[str(errors.InternalError.status)]["content"]
            for kind in (errors.Unauthorized, errors.Forbidden, errors.RateExceeded):
                responses.setdefault(str(kind.status), {"description": kind.title, "content": content})
            responses[str(errors.RateExceeded.status)]["headers"] = RETRY_AFTER
            operation["responses"] = dict(sorted(responses.items()))
            operation["security"] = [{name: []} for name in SCHEMES]
