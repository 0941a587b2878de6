"""Hooks into private parts of libraries. Each hook describes the consequences if the part is missing, and has a check
that it exists."""

import importlib.metadata
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Any


@dataclass(frozen=True)
class LibraryHook:
    """A private part of a library that this project relies on."""

    name: str
    library: str  # the name of the library's distribution
    breaks: str  # the consequences if the part is missing, in one sentence
    check: Callable[[], str | None]  # why the part is missing, or None if it exists

    def problem(self) -> str | None:
        """The result of `check`, or the error that it raised because a part was removed."""
        try:
            return self.check()
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    @property
    def version(self) -> str:
        """The installed version of the library."""
        try:
            return importlib.metadata.version(self.library)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"


class LibraryHookMissing(Exception):  # noqa: N818 - the name describes the error
    """A library no longer has the private part that a hook relies on."""

    def __init__(self, hook: LibraryHook, reason: str) -> None:
        place = f"hook {hook.name!r} into {hook.library} {hook.version}"
        super().__init__(f"{place} is missing ({reason}). What breaks without it: {hook.breaks}")
        self.hook = hook


def require(hook: LibraryHook, reason: str | None) -> None:
    """Raises LibraryHookMissing if the part is missing."""
    if reason is not None:
        raise LibraryHookMissing(hook, reason)


def check_all(hooks: Iterable[LibraryHook]) -> None:
    """Raises LibraryHookMissing for the first hook that is missing."""
    for hook in hooks:
        require(hook, hook.problem())


def first_problem(*reasons: str | None) -> str | None:
    return next((reason for reason in reasons if reason is not None), None)


def reference_problem(function: Callable[..., Any], *names: str) -> str | None:
    """The problem if a function's code does not refer to all these names: variables, attributes, arguments or texts;
    else None."""
    found = set(_names(inspect.unwrap(function).__code__))
    missing = [name for name in names if name not in found]
    return f"{function.__qualname__} no longer refers to {', '.join(missing)}" if missing else None


def parameter_problem(function: Callable[..., Any], *names: str) -> str | None:
    """The problem if a function does not accept all these arguments by name; else None."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    missing = [name for name in names if name not in parameters]
    return f"{function.__qualname__} no longer accepts {', '.join(missing)}" if missing else None


def equality_problem(what: str, found: object, expected: object) -> str | None:
    """The problem if a value is not the expected value; else None."""
    return None if found == expected else f"{what} is {found!r}, expected {expected!r}"


def _names(code: CodeType) -> list[str]:
    """All names and texts in a function's code and in the functions inside it."""
    found = [*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += _names(constant)
        elif isinstance(constant, str):
            found.append(constant)
        elif isinstance(constant, tuple):
            found += [each for each in constant if isinstance(each, str)]
    return found
