"""Which tabserve this is."""

import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def version() -> str:
    """The project's version. In a checkout and in a Bento nothing is installed, but pyproject.toml is there."""
    try:
        return metadata.version("tabserve")
    except metadata.PackageNotFoundError:
        return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
