"""What `models` finds invalid in a body, as errors of the service: the one place where they are translated."""

import contextlib
from collections.abc import Iterator

from models.formats.errors import EmptyTable, FormatError, TooLarge, UnsupportedType
from models.rows import RowError, ValidatedRows
from service.errors import BadBody, BodyTooLarge, RequestError, RequestNotValid, RowsNotValid


def require_valid(validated: ValidatedRows, *, skip: bool = False) -> ValidatedRows:
    """The same rows. Raises RowsNotValid where one is invalid and they are not skipped (on_invalid=fail)."""
    if validated.errors and not skip:
        raise RowsNotValid(validated.count, validated.invalid_rows, validated.errors, validated.omitted)
    return validated


@contextlib.contextmanager
def format_errors() -> Iterator[None]:
    """Raises a FormatError of a decoder as the RequestError that it is."""
    try:
        yield
    except FormatError as error:
        raise request_error(error) from None


def request_error(error: FormatError) -> RequestError:
    if isinstance(error, TooLarge):
        return BodyTooLarge(error.limit, expanded=error.expanded, what=error.what)
    if isinstance(error, EmptyTable):
        return RequestNotValid(str(error), [RowError(None, None, "empty_rows", str(error))])
    if isinstance(error, UnsupportedType):
        return RequestNotValid(str(error), [RowError(None, error.field, "wrong_type", str(error))])
    return BadBody(str(error))
