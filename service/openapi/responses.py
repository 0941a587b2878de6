"""The error responses of an operation: all statuses that it can return, in the format of its protocol.

Statuses and descriptions come from the classes in `service.errors`. An operation lists the groups of errors that it can
raise, in addition to those of ALWAYS.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from service import errors
from service.errors import RequestError
from service.openapi.schemas import PROBLEM, Schema, ref
from service.protocols import error_text

ErrorGroup = tuple[type[RequestError], ...]
# raised before the route is known
TRANSPORT: ErrorGroup = (errors.InvalidHttp, errors.HeadTooSlow, errors.HeadTooLarge)
ALWAYS: ErrorGroup = (*TRANSPORT, errors.MethodNotAllowed, errors.InternalError)
READINESS: ErrorGroup = (errors.NotReady,)
TIMEOUT_HEADER: ErrorGroup = (errors.RequestNotValid,)
MODEL: ErrorGroup = (errors.NotFound,)
BODY: ErrorGroup = (
    *(errors.BadBody, errors.BodyTooSlow, errors.BodyTooLarge, errors.UnsupportedMediaType, errors.OutOfMemory),
    errors.DiskFull,
)
ROWS: ErrorGroup = (
    *(errors.BadJson, errors.TooManyJsonNodes, errors.TooManyRows, errors.RowsNotValid, errors.RequestNotValid),
    *(errors.QueueFull, errors.EngineFailed, errors.DeadlinePassed),
)
RETRY_AFTER: Schema = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
ACCEPT: ErrorGroup = (errors.NotAcceptable,)
PREDICTION: ErrorGroup = (*READINESS, *TIMEOUT_HEADER, *MODEL, *BODY, *ROWS)


class ErrorForm(NamedTuple):
    """The format in which a protocol writes errors."""

    media_type: str
    schema: Schema
    status: Mapping[int, int]  # the statuses that differ from those of the native API


PROBLEM_FORM = ErrorForm(errors.PROBLEM.decode(), ref(PROBLEM), {})


def text_form(*keys: str) -> ErrorForm:
    """The format of errors that are JSON objects with these keys, each with a string."""
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in keys}, "required": [*keys]}
    return ErrorForm("application/json", schema, error_text.STATUSES)


def error_responses(form: ErrorForm, raised: Iterable[type[RequestError]]) -> dict[str, Any]:
    """The OpenAPI responses for the errors of ALWAYS and `raised`, by status."""
    by_status: dict[int, list[type[RequestError]]] = {}
    for kind in dict.fromkeys((*ALWAYS, *raised)):
        status = kind.status if kind in TRANSPORT else form.status.get(kind.status, kind.status)
        by_status.setdefault(status, []).append(kind)
    return {str(status): _response(form, kinds) for status, kinds in sorted(by_status.items())}


def _response(form: ErrorForm, kinds: Sequence[type[RequestError]]) -> dict[str, Any]:
    content = {}
    for kind in kinds:
        used = PROBLEM_FORM if kind in TRANSPORT else form
        content[used.media_type] = {"schema": used.schema}
    response: dict[str, Any] = {
        "description": "; ".join(dict.fromkeys(kind.title for kind in kinds)),
        "content": content,
    }
    if any(issubclass(kind, errors.RetryLater) for kind in kinds):
        response["headers"] = RETRY_AFTER
    if errors.MethodNotAllowed in kinds:
        response["headers"] = {"Allow": {"description": "The methods of this path", "schema": {"type": "string"}}}
    return response
