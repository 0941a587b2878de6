"""Checks that several files have the same column names."""

from collections.abc import Sequence

from models.text import truncate
from training.errors import UsageError


def check_same_names(expected: Sequence[str], found: Sequence[str], first: str, where: str) -> None:
    """Raises UsageError if the columns of a file differ from those of the first file; their order may differ."""
    if sorted(expected) == sorted(found):
        return
    lacking = next((name for name in expected if name not in found), None)
    further = next((name for name in found if name not in expected), "")
    if lacking is not None:
        raise UsageError(f"{where} has no column {truncate(lacking)!r}, but {first} has")
    raise UsageError(f"{where} has a column {truncate(further)!r}, but {first} does not")
