"""The version of tabserve."""

import functools
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@functools.cache
def version() -> str:
    """The version in pyproject.toml in a checkout or a Bento, otherwise the version of the installed wheel."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    return metadata.version("tabserve")
