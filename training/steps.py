"""Converts unexpected failures in the steps of a training run to errors that name the table and the step.

An error of this project describes what is wrong with the table. An error of a library (scikit-learn, pandas, Keras)
describes arrays that the user has never seen.
"""

import contextlib
from collections.abc import Iterator

from training.errors import UsageError

PACKAGES = ("models.", "training.")


class UnexpectedError(UsageError):
    """A step failed for an unknown reason. The cause is the error of a library."""


@contextlib.contextmanager
def step(failure: str, where: str) -> Iterator[None]:
    """Convert the errors of libraries to UnexpectedError. failure: what cannot be done, such as `the rows cannot be
    split`. where: the name of the table."""
    try:
        yield
    except (OSError, MemoryError):  # errors of the machine
        raise
    except Exception as error:
        if type(error).__module__.startswith(PACKAGES):
            raise
        raise UnexpectedError(f"{where}: {failure}, for an unexpected reason (--debug prints the traceback)") from error
