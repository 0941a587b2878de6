"""Packages that an installation without the development extra lacks."""

import importlib.util

INSTALL = "requirements/install.sh development"


class MissingPackageError(Exception):
    """A command needs a package that is not installed; the message is one line with the command that installs it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the package {name!r} is not installed; install it with: {INSTALL}")


def require(name: str) -> None:
    """Raises MissingPackageError."""
    if importlib.util.find_spec(name) is None:
        raise MissingPackageError(name)
