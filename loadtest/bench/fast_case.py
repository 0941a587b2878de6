"""A fast path and the general way, for the same input."""

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

    disabled: makes the context in which `general` runs, say one without a cache.
    digits: to which both ways agree where they compute in another order; None: to the last bit.
    """

    path: str
    input: str
    fast: Callable[[], Any]
    general: Callable[[], Any]
    disabled: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
    digits: int | None = None


def without(path: str, given: str, call: Callable[[], Any], **replaced: Any) -> Case:
    """A case of one call, where the general way is the call with these replaced: `fast_path=(owner, replacement)`."""

    @contextlib.contextmanager
    def disabled() -> Any:
        with contextlib.ExitStack() as stack:
            for name, (owner, replacement) in replaced.items():
                stack.enter_context(mock.patch.object(owner, name, replacement))
            yield

    return Case(path, given, call, call, disabled)


def check(case: Case) -> None:
    """Raises ArithmeticError where the two ways have different results. Also warms both up."""
    fast = comparable(case.fast(), case.digits)
    with case.disabled():
        general = comparable(case.general(), case.digits)
    if fast != general:
        raise ArithmeticError(f"{case.path}, {case.input}: {fast} is not {general}")


def comparable(result: Any, digits: int | None = None) -> Any:
    """A result as values that `==` compares."""
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
