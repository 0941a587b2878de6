"""The direction of imports: training -> models <- service, loadtest -> models; heavy libraries where they belong."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("models", "training", "service", "loadtest")
MAY_IMPORT = {"models": {"models"}, "training": {"training", "models"}, "service": {"service", "models"}}
MAY_IMPORT["loadtest"] = {"loadtest", "models"}
OF_TRAINING = {"pandas", "sklearn", "matplotlib", "pyarrow", "scipy"}
OF_KERAS = {"keras", "tensorflow"}
OF_GRPC = {"grpc", "grpc_health", "google"}
SPEAKS_GRPC = {"service/grpc_server.py", "service/protocols/oip_messages.py"}
READS_ARROW = {"service/protocols/arrow.py"}
BUILDS_KERAS = {"models/keras_nets.py", "models/keras_export.py"}
MEASURED_KERAS = {"loadtest/bench/keras_app.py"}  # a server of its own, that the benchmark starts beside ours

FILES = sorted(path.relative_to(ROOT) for package in OURS for path in (ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """The full names of all modules that are imported anywhere below."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import relative to its own file"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import(tree: ast.Module) -> Iterator[str]:
    """What is imported as soon as the file is: not in functions, nor for the type checker only."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)


def tops(names: Iterator[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"), str(path))


def test_there_are_files_to_look_at() -> None:
    assert {path.parts[0] for path in FILES} == set(OURS)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_in_one_direction(path: Path) -> None:
    found = tops(imports(parsed(path)))
    assert found & {*OURS, "tests"} <= MAY_IMPORT[path.parts[0]]


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "loadtest"], ids=str)
def test_load_tests_know_only_what_a_row_is_but_for_the_bench(path: Path) -> None:
    ours = {name for name in imports(parsed(path)) if name.startswith("models.")}
    assert path.parts[1] == "bench" or all(name.startswith("models.features") for name in ours)


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] != "training"], ids=str)
def test_libraries_of_training_stay_in_training(path: Path) -> None:
    allowed = {"matplotlib"} if path.parts[0] == "loadtest" else set()
    if path.parts[:2] == ("loadtest", "bench"):  # writes Arrow and Parquet bodies
        allowed = {"matplotlib", "pyarrow"}
    if path.as_posix() in READS_ARROW:  # an extra of the installation, imported only when used
        assert "pyarrow" not in tops(at_import(parsed(path)))
        allowed = {"pyarrow"}
    assert not tops(imports(parsed(path))) & (OF_TRAINING - allowed)


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] != "training"], ids=str)
def test_keras_is_imported_only_when_a_model_needs_it(path: Path) -> None:
    if path.as_posix() not in BUILDS_KERAS | MEASURED_KERAS:
        assert not tops(at_import(parsed(path))) & OF_KERAS
        heavy = {f"models.{Path(name).stem}" for name in BUILDS_KERAS}
        assert not set(at_import(parsed(path))) & heavy


@pytest.mark.parametrize("path", FILES, ids=str)
def test_grpc_is_imported_only_when_its_port_is_set(path: Path) -> None:
    if path.as_posix() not in SPEAKS_GRPC:
        found = set(at_import(parsed(path)))
        assert not tops(iter(found)) & OF_GRPC
        assert not found & {name.removesuffix(".py").replace("/", ".") for name in SPEAKS_GRPC}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_of_ours_imports_pickle(path: Path) -> None:
    assert not tops(imports(parsed(path))) & {"pickle", "cloudpickle", "joblib", "dill"}


@pytest.mark.parametrize(
    ("source", "everywhere", "soon"),
    [
        ("import keras", {"keras"}, {"keras"}),
        ("def f():\n    import keras.layers", {"keras"}, set()),
        ("class A:\n    def f(self):\n        from keras import x", {"keras"}, set()),
        ("try:\n    import keras\nexcept ImportError:\n    pass", {"keras"}, {"keras"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import keras", {"typing", "keras"}, {"typing"}),
        ("class A:\n    import keras", {"keras"}, {"keras"}),
    ],
)
def test_the_reader_of_imports_sees_what_there_is(source: str, everywhere: set[str], soon: set[str]) -> None:
    assert tops(imports(ast.parse(source))) == everywhere
    assert tops(at_import(ast.parse(source))) == soon
