"""Translates the errors of `models` (rows, tables, options) to errors of the service."""

import contextlib
from collections.abc import Iterator

from models.formats.errors import EmptyTable, FormatError, SpillFailed, TooLarge, UnsupportedType
from models.output_options import OptionError
from models.rows import RowError, ValidatedRows
from service.errors import BadBody, BodyTooLarge, DiskFull, RequestError, RequestNotValid, RowsNotValid


def require_valid(validated: ValidatedRows, *, skip: bool = False) -> ValidatedRows:
    """Return the rows. Raises RowsNotValid if one is invalid and `skip` (on_invalid=skip) is not set."""
    if validated.errors and not skip:
        raise RowsNotValid(validated.count, validated.invalid_rows, validated.errors, validated.omitted)
    return validated


@contextlib.contextmanager
def translate_format_errors() -> Iterator[None]:
    """Translate a FormatError of a decoder to a RequestError."""
    try:
        yield
    except FormatError as error:
        raise request_error(error) from None


@contextlib.contextmanager
def translate_option_errors() -> Iterator[None]:
    """Translate an OptionError to a RequestNotValid."""
    try:
        yield
    except OptionError as error:
        raise RequestNotValid(str(error), [RowError(None, None, "unknown_option", str(error))]) from None


def request_error(error: FormatError) -> RequestError:
    """The RequestError for a FormatError."""
    if isinstance(error, TooLarge):
        return BodyTooLarge(error.limit, expanded=error.expanded, subject=error.what)
    if isinstance(error, SpillFailed):
        return DiskFull(str(error))
    if isinstance(error, EmptyTable):
        return RequestNotValid(str(error), [RowError(None, None, "empty_rows", str(error))])
    if isinstance(error, UnsupportedType):
        return RequestNotValid(str(error), [RowError(None, error.field, "wrong_type", str(error))])
    return BadBody(str(error))
