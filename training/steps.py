"""The steps of a training. An unexpected failure in a step becomes an error that names the table and the step.

An error of this project says what is wrong with the table. One of a library (scikit-learn, pandas, Keras) is about
arrays that its user has never seen.
"""

import contextlib
from collections.abc import Iterator

from training.errors import UsageError

PACKAGES = ("models.", "training.")


class UnexpectedError(UsageError):
    """A step failed for a reason that this project does not know. The cause is the error of the library."""


@contextlib.contextmanager
def step(failure: str, where: str) -> Iterator[None]:
    """Raises UnexpectedError for the errors of libraries. failure: what cannot be done, such as `the rows cannot be
    split`. where: the table."""
    try:
        yield
    except (OSError, MemoryError):  # about the machine
        raise
    except Exception as error:
        if type(error).__module__.startswith(PACKAGES):
            raise
        raise UnexpectedError(f"{where}: {failure}, for an unexpected reason (--debug prints the traceback)") from error
