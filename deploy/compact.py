"""Compiles folders of packages without docstrings and column numbers: python deploy/compact.py FOLDER…

The two processes of a server then use 13 MB less memory, and no start under a read-only root compiles modules. Unlike
`python -OO`, the script keeps assertions and skips packages that read their own docstrings: circus at import,
TensorFlow in many modules.
"""

import ast
import os
import sys
from importlib._bootstrap_external import _code_to_hash_pyc  # type: ignore[attr-defined]
from importlib.util import cache_from_source, source_hash
from pathlib import Path

SKIPPED_PACKAGES = {"circus", "keras", "tensorflow"}
Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def without_docstrings(source: bytes) -> ast.Module:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.copy_location(ast.Pass(), node.body[0])
    return tree


def main() -> None:
    if os.environ.get("PYTHONNODEBUGRANGES") != "1":
        sys.exit("compact: needs PYTHONNODEBUGRANGES=1, which omits the column numbers")
    found = [(path, Path(folder)) for folder in sys.argv[1:] for path in Path(folder).rglob("*.py")]
    for path, folder in found:
        if path.relative_to(folder).parts[0] in SKIPPED_PACKAGES:
            continue
        source = path.read_bytes()
        try:
            code = compile(without_docstrings(source), path, "exec", dont_inherit=True)
        except SyntaxError:  # a template, or code for another Python version
            continue
        compiled = Path(cache_from_source(str(path)))
        compiled.parent.mkdir(exist_ok=True)
        compiled.write_bytes(_code_to_hash_pyc(code, source_hash(source), False))


if __name__ == "__main__":
    main()
