"""The client package is independent: it imports the standard library, httpx and itself, and optional packages when
needed.
"""

import ast
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "clients/python"
FILES = sorted((PACKAGE / "src").rglob("*.py"))
PROJECT: dict[str, Any] = tomllib.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))["project"]
SERVER: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OPTIONAL = {"pandas", "polars", "pyarrow"}


def imported_packages(body: list[ast.stmt]) -> set[str]:
    names = set()
    for node in body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).partition(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_modules_do_not_import_the_server(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    allowed = {*sys.stdlib_module_names, "httpx", "tabserve_client"}
    assert imported_packages(tree.body) <= allowed
    everywhere = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    assert imported_packages(everywhere) <= allowed | OPTIONAL
    assert path.read_text("utf-8").count("\n") < 400


def test_the_package_requires_only_httpx() -> None:
    assert [name.partition(">")[0] for name in PROJECT["dependencies"]] == ["httpx"]
    assert PROJECT["optional-dependencies"].keys() == OPTIONAL
    assert (PROJECT["license"], PROJECT["version"]) == ("Apache-2.0", SERVER["version"])
    assert (PACKAGE / "LICENSE").read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")
    assert (PACKAGE / "src/tabserve_client/py.typed").is_file()
