"""A hook reports which part a library no longer has, and what breaks without it."""

from importlib.metadata import version

import pytest

from models.library_hook import (
    LibraryHook,
    LibraryHookMissing,
    check_all,
    equality_problem,
    parameter_problem,
    reference_problem,
)


class Library:
    def __init__(self, path: str, *, limit: int = 3) -> None:
        self.path = path
        self.later = lambda: self.path.center(limit)

    def anything(self, **options: int) -> str:
        return "--option"


HOLDS = LibraryHook("a name", "numpy", "Nothing works.", lambda: None)


def test_names_are_found_in_a_function_and_its_inner_functions() -> None:
    assert reference_problem(Library.__init__, "path", "later", "center", "limit") is None
    assert reference_problem(Library.anything, "--option", "options") is None
    assert reference_problem(Library.__init__, "path", "write") == "Library.__init__ no longer refers to write"


def test_arguments_are_found_by_name() -> None:
    assert parameter_problem(Library, "path", "limit") is None
    assert parameter_problem(Library.anything, "whatever") is None
    assert parameter_problem(Library, "path", "size") == "Library no longer accepts size"


def test_unexpected_value_is_reported() -> None:
    assert equality_problem("the name", "a", "a") is None
    assert equality_problem("the name", "b", "a") == "the name is 'b', expected 'a'"


def test_exception_in_a_check_is_reported_as_a_problem() -> None:
    hook = LibraryHook("a name", "numpy", "Nothing works.", lambda: Library.new_name)  # type: ignore[attr-defined]
    assert hook.problem() == "AttributeError: type object 'Library' has no attribute 'new_name'"


def test_missing_hook_names_library_reason_and_effect() -> None:
    missing = LibraryHook("another name", "numpy", "Nothing works.", lambda: "it was renamed")
    check_all([HOLDS])
    with pytest.raises(LibraryHookMissing) as raised:
        check_all([HOLDS, missing])
    assert raised.value.hook is missing
    assert str(raised.value) == (
        f"hook 'another name' into numpy {version('numpy')} is missing (it was renamed). "
        "What breaks without it: Nothing works."
    )


def test_library_that_is_not_installed_has_no_version() -> None:
    assert LibraryHook("a name", "no-such-library", "Nothing works.", lambda: None).version == "not installed"
