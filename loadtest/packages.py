"""Libraries that an installation without the extra `loadtest` lacks."""

import importlib.util

from models import command_line

LIBRARIES = ("httpx", "locust", "matplotlib", "psutil")
"""The extra `loadtest`. The other libraries that a benchmark compares with, such as onnxruntime, are in the extra
`development`."""


class MissingPackageError(Exception):
    """A command needs a library that is not installed; the message is one line with the command that installs it."""

    def __init__(self, name: str) -> None:
        super().__init__(command_line.missing_library(name, "loadtest" if name in LIBRARIES else "development"))


def require(name: str) -> None:
    """Raises MissingPackageError."""
    if importlib.util.find_spec(name) is None:
        raise MissingPackageError(name)
