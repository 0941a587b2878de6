"""What was inferred from a table, as text for a person and as a features.json to edit."""

from pathlib import Path

from models.text import truncate
from training.columns import Dataset
from training.errors import UsageError

HEADINGS = ("column", "kind", "missing", "distinct", "range", "example", "why")
WIDTH = 36  # characters of a cell, but for the last


def report(dataset: Dataset) -> str:
    """A readable account of a data set: a line for each column, then the target, the task and the notices."""
    schema = dataset.schema
    lines = _aligned([HEADINGS, *(_cells(dataset, index) for index in range(len(dataset.decisions)))])
    classes = f", {len(schema.classes)} classes: {_some(schema.classes)}" if schema.classes else ""
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
    """Write the features.json to edit and hand back with `--schema`. Raises UsageError when it cannot be written."""
    try:
        Path(path).write_text(dataset.schema.to_json(), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {path} cannot be written: {error.strerror or error}") from None


def _cells(dataset: Dataset, index: int) -> tuple[str, ...]:
    decision = dataset.decisions[index]
    missing = f"{decision.missing:,}" if decision.missing else ""
    cells = (decision.column, decision.kind, missing, f"{decision.distinct:,}", decision.span, decision.example)
    return (*(_one_line(cell) for cell in cells), " ".join(decision.why.split()))


def _one_line(text: str) -> str:
    return truncate(" ".join(text.split()), WIDTH)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns side by side, counts to the right, a rule below the headings."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    counts = {HEADINGS.index("missing"), HEADINGS.index("distinct")}
    lines = [
        "  ".join(
            cell.rjust(width) if column in counts else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths[:-1]) + "  " + "-" * len(HEADINGS[-1]), *lines[1:]]


def _some(classes: list[bool | int | float | str], limit: int = 6) -> str:
    more = ", …" if len(classes) > limit else ""
    return ", ".join(truncate(str(label), WIDTH) for label in classes[:limit]) + more
