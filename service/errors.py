"""All errors that a client can receive, and the problem documents (RFC 9457) for them.

socket ───────▶ exchange, route ─▶ data plane ───────────▶ batcher ─────────▶ engine
400 408 431     401 403 404 405 406    400 404 413 422 503     429 504            500
                408 413 415 503
                changes of versions: 409 412
"""

# ruff: noqa: N818 - no suffix `Error`, as in httpx and starlette

import math
from collections.abc import Sequence
from typing import ClassVar

import orjson

from models.json_text import error_entries, replace_surrogates
from models.rows import RowError
from models.text import counted

PROBLEM = b"application/problem+json"


class RequestError(Exception):
    """The error response to a request. The client sees `detail` and `errors`."""

    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(self, detail: str, errors: Sequence[RowError] = (), omitted: int = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.omitted = omitted

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Additional headers of the response."""
        return []

    def document(self) -> bytes:
        """The problem document."""
        return problem_document(self.status, self.title, self.detail, self.errors, self.omitted)


class InvalidHttp(RequestError):
    status = 400
    title = "Bad request"


class HeadTooSlow(RequestError):
    status = 408
    title = "Request head too slow"

    def __init__(self) -> None:
        super().__init__("the request head was not received in time")


class HeadTooLarge(RequestError):
    status = 431
    title = "Request head too large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request head is larger than {limit} bytes")


class BadJson(RequestError):
    status = 400
    title = "Not JSON"

    def __init__(self, reason: str) -> None:
        detail = f"the body is not JSON: {reason}"
        super().__init__(detail, [RowError(None, None, "bad_json", detail)])


class BadBody(RequestError):
    """A compressed or binary body that cannot be decoded."""

    status = 400
    title = "Body not readable"

    def __init__(self, reason: str) -> None:
        detail = f"the body cannot be read: {reason}"
        super().__init__(detail, [RowError(None, None, "bad_body", detail)])


class Unauthorized(RequestError):
    """The request has no valid key. invalid: whether it has an invalid key."""

    status = 401
    title = "Unauthorized"

    def __init__(self, detail: str, *, invalid: bool) -> None:
        super().__init__(detail)
        self.invalid = invalid

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        error = b', error="invalid_token"' if self.invalid else b""
        return [(b"www-authenticate", b'Bearer realm="tabserve"' + error)]


class Forbidden(RequestError):
    status = 403
    title = "Forbidden"


class NotFound(RequestError):
    status = 404
    title = "Not found"


class MethodNotAllowed(RequestError):
    status = 405
    title = "Method not allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"method {method} is not allowed, expected {allowed}")
        self.allowed = allowed

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"allow", self.allowed.encode("latin-1"))]


class NotAcceptable(RequestError):
    status = 406
    title = "Not acceptable"


class BodyTooSlow(RequestError):
    status = 408
    title = "Body too slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body was not received within {counted(seconds, 'second', spec='g')}")


class Conflict(RequestError):
    """A version change that is not possible now. Nothing was changed."""

    status = 409
    title = "Conflict"

    def __init__(self, detail: str, code: str = "conflict") -> None:
        super().__init__(detail, [RowError(None, None, code, detail)])


class PreconditionFailed(RequestError):
    """The generation differs from the one in If-Match. Nothing was changed."""

    status = 412
    title = "Precondition failed"


class BodyTooLarge(RequestError):
    status = 413
    title = "Body too large"

    def __init__(self, limit: int, *, expanded: bool = False, subject: str = "the body") -> None:
        detail = f"{subject} is larger than {counted(limit, 'byte')}" + (" when decompressed" if expanded else "")
        super().__init__(detail, [RowError(None, None, "body_too_large", detail)])


class TooManyJsonNodes(RequestError):
    status = 413
    title = "Body too large"

    def __init__(self, count: int, limit: int, nodes: str = "arrays and objects") -> None:
        detail = f"the body has {count} JSON {nodes}, expected at most {limit}"
        super().__init__(detail, [RowError(None, None, "body_too_large", detail)])


class TooManyRows(RequestError):
    status = 413
    title = "Too many rows"

    def __init__(self, count: int, limit: int) -> None:
        detail = f"the request has {count} rows, expected at most {limit}"
        super().__init__(detail, [RowError(None, None, "too_many_rows", detail)])


class TooManyEvaluations(RequestError):
    status = 422
    title = "The explanation is too expensive"

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(
            f"explaining these rows takes {count} evaluations of the model, the limit is {limit}: send fewer rows, or "
            "use explain=fast"
        )


class UnsupportedMediaType(RequestError):
    status = 415
    title = "Content type not supported"


class RowsNotValid(RequestError):
    status = 422
    title = "Rows not valid"

    def __init__(self, rows: int, invalid: int, errors: Sequence[RowError], omitted: int) -> None:
        of_rows = f"of {counted(rows, 'row')}"
        super().__init__(f"{counted(invalid, f'{of_rows} is', f'{of_rows} are')} not valid", errors, omitted)
        self.valid, self.invalid = rows - invalid, invalid


class RequestNotValid(RequestError):
    status = 422
    title = "Request not valid"


class RetryLater(RequestError):
    """The client may try again after `after` seconds."""

    def __init__(self, detail: str, after: float = 1.0) -> None:
        super().__init__(detail)
        self.after = min(max(math.ceil(after), 1), 60)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"retry-after", b"%d" % self.after)]


class QueueFull(RetryLater):
    status = 429
    title = "Too many requests"


class RateExceeded(RetryLater):
    """A key has exceeded its rate limit."""

    status = 429
    title = "Too many requests"


class EngineFailed(RequestError):
    """The engine failed. The log contains the reason, the response does not."""

    status = 500
    title = "Prediction failed"

    def __init__(self) -> None:
        super().__init__("the prediction failed; the server's log has the reason under the request id")


class InternalError(RequestError):
    """Any unexpected exception. The log contains the reason, the response does not."""

    status = 500
    title = "Internal error"

    def __init__(self) -> None:
        super().__init__("internal error; the server's log has the reason under the request id")


class NotReady(RetryLater):
    status = 503
    title = "Not ready"


class OutOfMemory(RetryLater):
    """The bodies of the requests in flight use all the memory that is reserved for bodies."""

    status = 503
    title = "Busy"

    def __init__(self) -> None:
        super().__init__("the server has no memory for this body now: other requests are in flight")


class DiskFull(RetryLater):
    """The temporary folder has no space for a body that is too large for memory."""

    status = 503
    title = "Busy"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the server has no space for this body now: {reason}")


class DeadlinePassed(RequestError):
    status = 504
    title = "Deadline exceeded"

    def __init__(self) -> None:
        super().__init__("the deadline passed before the prediction was ready")


class ClientDisconnected(RequestError):
    """The client has closed the connection. The status is the one that nginx uses; it appears only in metrics."""

    status = 499
    title = "Client disconnected"

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


TITLES = {
    **{kind.status: kind.title for kind in (NotFound, MethodNotAllowed, BodyTooSlow, UnsupportedMediaType, NotReady)},
    400: InvalidHttp.title,
    413: BodyTooLarge.title,
    422: RequestNotValid.title,
    429: QueueFull.title,
    500: InternalError.title,
    504: DeadlinePassed.title,
}
"""The titles of error responses that BentoML's app sends, by status."""


def problem_document(status: int, title: str, detail: str, errors: Sequence[RowError] = (), omitted: int = 0) -> bytes:
    """A problem document. Replaces text that is not valid Unicode, such as a lone surrogate in a path."""
    document = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "errors": error_entries(errors),
        "errors_omitted": omitted,
    }
    try:
        return orjson.dumps(document)
    except TypeError:
        return orjson.dumps(replace_surrogates(document))
