"""Captured files of two versions, and the lines of the documentation that read them; the second version has one more
column.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.feature import Feature, TrainingRange
from models.schema import FeatureSchema
from service.capture.capture_database import FeedbackBatch, RowBatch
from service.capture.captured_tables import feedback_as_parquet, rows_as_parquet

PAGE = Path(__file__).resolve().parents[1] / "docs/capture-and-feedback.md"
ROWS = 3  # of each version
NAMES = ("housing-1-20261128T091500Z-" + 32 * "a", "housing-2-20261128T101500Z-" + 32 * "b")


def schema(*names: str) -> FeatureSchema:
    seen = TrainingRange(min=0, max=9)
    numbers = [Feature(name=name, kind="number", nullable=False, seen=seen, example=1) for name in names]
    levels, days = TrainingRange(levels=["here", "there"]), TrainingRange(min="2026-01-01", max="2026-12-31")
    town = Feature(name="town", kind="category", nullable=False, seen=levels, example="here")
    day = Feature(name="day", kind="date", nullable=False, seen=days, example="2026-11-28")
    return FeatureSchema(name="housing", task="regression", target="price", features=[*numbers, town, day])


def write_captured(folder: Path) -> None:
    """Write a file for each version, and one with feedback."""
    (folder / "feedback").mkdir(parents=True)
    times = [1.79e9 + number for number in range(ROWS)]
    for version, (name, numbers) in enumerate(zip(NAMES, (["size"], ["size", "age"]), strict=True), 1):
        ids = [f"{version}:{number}" for number in range(ROWS)]
        rows: list[Sequence[Any]] = [[*(number + 0.5 for _ in numbers), "hère", "2026-11-28"] for number in range(ROWS)]
        batch = RowBatch([*numbers, "town", "day"], ids, times, "request", rows, [[4.0]] * ROWS)
        (folder / f"{name}.parquet").write_bytes(rows_as_parquet(str(version), schema(*numbers), [batch]))
        truths = FeedbackBatch(ids, times, [4.5] * ROWS)
    file = folder / "feedback" / f"housing-20261128T101500Z-{32 * 'c'}.parquet"
    file.write_bytes(feedback_as_parquet(schema("size", "age"), [truths]))


def line_of(library: str) -> str:
    """The documented line that reads captured files with this library."""
    found = re.search(rf"^{library} +(\S.*?)(?: {{2,}}#.*)?$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert found, library
    return found[1]
