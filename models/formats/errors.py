"""The errors that decoding a table can raise. `service.error_mapping` maps each of them to a request error."""

from models.text import counted

# ruff: noqa: N818 - the names describe the errors, as in httpx and starlette


class FormatError(Exception):
    """Bytes cannot be decoded. The message gives the reason, as a continuation of "the body cannot be read: "."""


class TooLarge(FormatError):
    """The body, or a part of it, is larger than allowed."""

    def __init__(self, limit: int, *, expanded: bool = False, what: str = "the body") -> None:
        super().__init__(f"{what} is larger than {counted(limit, 'byte')}")
        self.limit = limit
        self.expanded = expanded
        self.what = what


class EmptyTable(FormatError):
    """The body contains no rows."""

    def __init__(self) -> None:
        super().__init__("the body has no rows, expected one or more")


class SpillFailed(FormatError):
    """The body cannot be written to the temporary folder, for example because the disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the temporary folder cannot be written ({error.strerror or error})")


class UnsupportedType(FormatError):
    """A column has a type that no feature has."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field
