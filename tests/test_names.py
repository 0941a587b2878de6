"""No two classes or modules have the same name, and a long file states the reason for its length."""

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("models", "service", "training", "scoring", "loadtest")
MAX_LINES = 400
PROTOCOL_FOLDERS = {"service/routes", "service/protocols", "service/openapi"}

KERAS_COUNTERPART = "the Keras layer and its counterpart in our network, which keras_export.py translates by name"
PROTOCOL = "a protocol: its folder says whether the module has its routes, its wire format or its OpenAPI operations"
SHARED_CLASSES = dict.fromkeys(("MemberDense", "MemberMean", "Members", "Periodic", "SharedDense"), KERAS_COUNTERPART)
SHARED_MODULES = dict.fromkeys(("feedback", "invocations", "native", "oip", "tfserving"), PROTOCOL)
SHARED_MODULES["errors"] = "the errors of a package or layer"

Places = dict[str, set[str]]


def classes(files: Iterable[tuple[str, str]]) -> Places:
    """The modules of each class name. files: paths and sources."""
    found: Places = defaultdict(set)
    for path, source in files:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                found[node.name].add(path)
    return found


def modules(paths: Iterable[str]) -> Places:
    """The paths of each module name."""
    found: Places = defaultdict(set)
    for path in paths:
        if not Path(path).name.startswith("__"):
            found[Path(path).stem].add(path)
    return found


def repeated(places: Places) -> Places:
    return {name: paths for name, paths in places.items() if len(paths) > 1}


def files() -> list[tuple[str, str]]:
    found = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in found]


def test_undeclared_class_names_are_unique() -> None:
    assert repeated(classes(files())).keys() == SHARED_CLASSES.keys()


def test_undeclared_module_names_are_unique() -> None:
    assert repeated(modules(path for path, _ in files())).keys() == SHARED_MODULES.keys()


@pytest.mark.parametrize("name", sorted(SHARED_MODULES.keys() - {"errors"}))
def test_modules_with_the_name_of_a_protocol_are_in_protocol_folders(name: str) -> None:
    paths = modules(path for path, _ in files())[name]
    assert {Path(path).parent.as_posix() for path in paths} <= PROTOCOL_FOLDERS


def test_long_file_states_its_reason_at_the_top() -> None:
    sources = [path for package in (*PACKAGES, "tests", "docs") for path in (ROOT / package).rglob("*.py")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sources}
    long = {name: text for name, text in texts.items() if text.count("\n") > MAX_LINES}
    assert [name for name, text in long.items() if f"more than {MAX_LINES} lines: " not in text[:600]] == []


def test_search_for_repeated_names_finds_classes_and_modules() -> None:
    sources = [
        ("a/x.py", "class A: ...\nclass B: ..."),
        ("b/x.py", "def f():\n    class A: ..."),
        ("b/__main__.py", ""),
    ]
    assert repeated(classes(sources)) == {"A": {"a/x.py", "b/x.py"}}
    assert repeated(modules(["a/__main__.py", *(path for path, _ in sources)])) == {"x": {"a/x.py", "b/x.py"}}
