"""Formats tables as text with aligned columns, or as Markdown."""

from collections.abc import Sequence


def align_columns(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """A line for each row. The columns in `left` are left-aligned, all others right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def aligned(table: Sequence[Sequence[str]]) -> str:
    """A table as text, with the first column left-aligned and all others right-aligned."""
    return "\n".join(align_columns(table))


def markdown(table: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """A table as Markdown. numbers: right-align all columns except the first."""
    head, *body = [
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |" for row in table
    ]
    rule = "|---|" + ("---:|" if numbers else "---|") * (len(table[0]) - 1)
    return "\n".join([head, rule, *body])
