"""Cases of the fast-path benchmark: a fast path and the general code, with the same input."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from models.outputs import Outputs
from models.rows import ValidatedRows


class Case(NamedTuple):
    """One row of the table: a part of a request with the fast path, and the same part without it.

    disabled: returns the context in which `general` runs, for example one without a cache.
    digits: number of equal decimal digits where the order of operations differs; None: equal to the last bit.
    """

    path: str
    input: str
    fast: Callable[[], Any]
    general: Callable[[], Any]
    disabled: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
    digits: int | None = None


def case_with_replacement(path: str, input_name: str, call: Callable[[], Any], **replaced: Any) -> Case:
    """A case whose general code is the same call with replaced attributes, as in `fast_path=(owner, replacement)`."""

    @contextlib.contextmanager
    def disabled() -> Any:
        with contextlib.ExitStack() as stack:
            for name, (owner, replacement) in replaced.items():
                stack.enter_context(mock.patch.object(owner, name, replacement))
            yield

    return Case(path, input_name, call, call, disabled)


def check(case: Case) -> None:
    """Raises ArithmeticError if the two results differ. The check also warms up the code."""
    fast = comparable(case.fast(), case.digits)
    with case.disabled():
        general = comparable(case.general(), case.digits)
    if fast != general:
        raise ArithmeticError(f"{case.path}, {case.input}: {fast} differs from {general}")


def comparable(result: Any, digits: int | None = None) -> Any:
    """A result as values that `==` can compare."""
    if isinstance(result, Outputs):
        return comparable(result.primary, digits)
    if isinstance(result, float):
        return [[result]]
    if isinstance(result, np.ndarray):
        return (result if digits is None else result.round(digits)).tolist()
    if isinstance(result, ValidatedRows):
        parts = (result.frame.numbers.tolist(), result.frame.codes.tolist(), result.count, result.valid)
        return (*parts, [*result.errors], {**result.warnings})
    if isinstance(result, list | tuple):
        return [comparable(one, digits) for one in result]
    return result
