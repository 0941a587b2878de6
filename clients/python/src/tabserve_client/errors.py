"""The exceptions of the client.

TabserveError
├── InvalidInput         the data cannot be sent; nothing was
├── ConnectionFailed     no response after all attempts
├── DeadlineExceeded     the deadline passed; `__cause__` is the error of the last attempt
├── InvalidResponse      a response that is not tabserve's, or only a part of one, after all attempts
└── ServerError          the server refused; with status, title, detail and the errors of rows
    ├── AuthenticationError 401 · PermissionDenied 403 · NotFound 404 · RequestTooLarge 413
    ├── RowsNotValid     400, 422
    └── Overloaded       429, 503
"""

# ruff: noqa: N818 - no suffix `Error` where the name describes one, as in httpx

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tabserve_client.row_issues import RowError, error_of

SHOWN_ERRORS = 5
SHOWN_CHARACTERS = 200


class TabserveError(Exception):
    """Any error of this package."""


class InvalidInput(TabserveError, ValueError):
    """Data that cannot be sent. row, field: the place of the value, if the reason is a single value."""

    def __init__(self, message: str, row: int | None = None, field: str | None = None) -> None:
        place = [] if row is None else [f"row {row}"]
        place += [] if field is None else [f"field {field!r}"]
        super().__init__(f"{', '.join(place)}: {message}" if place else message)
        self.row = row
        self.field = field


class ConnectionFailed(TabserveError, ConnectionError):
    """There was no connection, or it ended before the response was complete."""


class DeadlineExceeded(TabserveError, TimeoutError):
    """The deadline of the call passed before all responses had been received."""


class InvalidResponse(TabserveError):
    """A successful response whose content is not a response of tabserve, or is not complete."""


class ServerError(TabserveError):
    """The server refused a request.

    errors: with row and field, where the server named them; it lists 100 and counts the others in `errors_omitted`.
    request_id: the id of the request in the log of the server.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        errors: Sequence[RowError] = (),
        errors_omitted: int = 0,
        request_id: str | None = None,
    ) -> None:
        super().__init__(status, title, detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.errors_omitted = errors_omitted
        self.request_id = request_id

    def __str__(self) -> str:
        lines = [f"{self.status} {self.title}: {self.detail}"]
        lines += [f"  {error.message}" for error in self.errors[:SHOWN_ERRORS] if error.message != self.detail]
        more = max(len(self.errors) - SHOWN_ERRORS, 0) + self.errors_omitted
        if more > 0:
            lines.append(f"  and {more} more")
        return "\n".join(lines)

    def moved(self, rows: int) -> "ServerError":
        """The same error with the row numbers of a request that `rows` rows of the call precede."""
        errors = [error.moved(rows) for error in self.errors]
        return type(self)(self.status, self.title, self.detail, errors, self.errors_omitted, self.request_id)


class AuthenticationError(ServerError):
    """401: the key is missing, unknown or expired."""


class PermissionDenied(ServerError):
    """403: the key does not have the scope, or may not use the model."""


class NotFound(ServerError):
    """404: no such model, or a version that is not loaded."""


class RequestTooLarge(ServerError):
    """413: a single row exceeds a limit of the server. Larger requests are split."""


class RowsNotValid(ServerError):
    """400 or 422: rows, options, or the body around them are not valid."""


class Overloaded(ServerError):
    """429 or 503: too many rows are waiting, the key has exceeded its rate, or the server is not ready."""


BY_STATUS: Mapping[int, type[ServerError]] = {
    400: RowsNotValid,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    413: RequestTooLarge,
    422: RowsNotValid,
    429: Overloaded,
    503: Overloaded,
}


def server_error(status: int, headers: Mapping[str, str], content: bytes) -> ServerError:
    """The exception for a response that is not a success. headers: names in lower case."""
    problem = problem_document(content)
    kind = BY_STATUS.get(status, ServerError)
    request_id = headers.get("x-request-id")
    if problem is None:  # from a proxy, or from another server
        text = " ".join(content[: 4 * SHOWN_CHARACTERS].decode("utf-8", "replace").split())
        detail = text[:SHOWN_CHARACTERS] or "the response has no content"
        return kind(status, "Not a response of tabserve", detail, request_id=request_id)
    errors = [error_of(entry) for entry in objects_in(problem, "errors")]
    omitted = problem.get("errors_omitted")
    return kind(
        status,
        str(problem.get("title", "Error")),
        str(problem.get("detail", "")),
        errors,
        omitted if isinstance(omitted, int) else 0,
        request_id,
    )


def problem_document(content: bytes) -> dict[str, Any] | None:
    """The problem document of a response, if it has one."""
    try:
        document = json.loads(content)
    except ValueError:
        return None
    return document if isinstance(document, dict) and "title" in document and "status" in document else None


def objects_in(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of a list in a document; none if there is no such list."""
    found = document.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
