"""Errors of decoding a table. The service maps each to an error of a request in one place, `service.error_mapping`."""

# ruff: noqa: N818 - the names describe the errors, as in httpx and starlette


class FormatError(Exception):
    """Bytes that cannot be decoded; the message gives the reason and reads on from "the body cannot be read: "."""


class TooLarge(FormatError):
    """More bytes than allowed, in the body or in a part of it."""

    def __init__(self, limit: int, *, expanded: bool = False, what: str = "the body") -> None:
        super().__init__(f"{what} is larger than {limit} bytes")
        self.limit = limit
        self.expanded = expanded
        self.what = what


class EmptyTable(FormatError):
    """A body without rows."""

    def __init__(self) -> None:
        super().__init__("the body has no rows, expected one or more")


class SpillFailed(FormatError):
    """The temporary folder cannot take the body, for example because the disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the temporary folder cannot be written ({error.strerror or error})")


class UnsupportedType(FormatError):
    """A column of a type that no feature has."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field
