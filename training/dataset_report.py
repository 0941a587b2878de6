"""The report of `inspect` about the inferred columns, and the features.json to edit."""

from pathlib import Path

from models.text import truncate
from models.text_tables import align_columns
from training.dataset import Dataset
from training.errors import UsageError
from training.infer_columns import ColumnDecision

HEADINGS = ("column", "kind", "missing", "distinct", "range", "example", "why")
LEFT_ALIGNED = [index for index, heading in enumerate(HEADINGS) if heading not in ("missing", "distinct")]
MAX_CELL_LENGTH = 36  # maximum length of cells, except in the last column


def report(dataset: Dataset) -> str:
    """A data set as text: a line for each column, then the target, the task and the notices."""
    schema = dataset.schema
    lines = _align([HEADINGS, *map(_cells, dataset.decisions)])
    classes = f", {len(schema.classes)} classes: {_first_classes(schema.classes)}" if schema.classes else ""
    lines += [
        "",
        f"rows    {dataset.rows_used:,} used of {dataset.rows_read:,} read",
        f"target  {schema.target}",
        f"task    {schema.task}{classes}",
        f"name    {schema.name}",
    ]
    if dataset.notices:
        lines += ["", "notices", *(f"- {notice}" for notice in dataset.notices)]
    return "\n".join(lines) + "\n"


def write_schema(dataset: Dataset, path: str) -> None:
    """Write the features.json to edit and use with `--schema`. Raises UsageError when it cannot be written."""
    try:
        Path(path).write_text(dataset.schema.to_json(), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {path} cannot be written: {error.strerror or error}") from None


def _cells(decision: ColumnDecision) -> tuple[str, ...]:
    missing = f"{decision.missing:,}" if decision.missing else ""
    cells = (decision.column, decision.type, missing, f"{decision.distinct:,}", decision.value_range, decision.example)
    return (*(_one_line(cell) for cell in cells), " ".join(decision.reason.split()))


def _one_line(text: str) -> str:
    return truncate(" ".join(text.split()), MAX_CELL_LENGTH)


def _align(rows: list[tuple[str, ...]]) -> list[str]:
    """Align the columns, the counts to the right, with a rule below the headings."""
    heading, *lines = align_columns(rows, LEFT_ALIGNED)
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS) - 1)]
    rule = "  ".join("-" * width for width in [*widths, len(HEADINGS[-1])])
    return [heading, rule, *lines]


def _first_classes(classes: list[bool | int | float | str], limit: int = 6) -> str:
    more = ", …" if len(classes) > limit else ""
    return ", ".join(truncate(str(label), MAX_CELL_LENGTH) for label in classes[:limit]) + more
