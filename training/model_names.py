"""Checks names of models, and derives them from the name of a file."""

import re
from pathlib import Path

from models.schema import NAME
from models.text import truncate
from training.errors import UsageError


def model_name(path: str) -> str:
    """A valid model name derived from the name of a file."""
    stem = re.sub(r"(\.(csv|tsv|txt|parquet|pq|data|gz))+$", "", Path(path).name, flags=re.IGNORECASE)
    name = re.sub(r"[^a-z0-9]+", "_", stem.casefold().encode("ascii", "ignore").decode()).strip("_")
    name = name if name[:1].isalpha() else f"table_{name}".rstrip("_")
    return name[:41].rstrip("_")


def check_model_name(name: str) -> str:
    """The name, if it is a valid model name. Raises UsageError with a suggestion."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{truncate(name)!r} is not a valid model name: at most 41 lowercase letters, digits and _, "
            f"starting with a letter; try {model_name(name)!r}"
        )
    return name
