"""Tables as text: columns aligned by blanks, or Markdown."""

from collections.abc import Sequence


def align_columns(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """A line for each row; the columns in `left` are aligned to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def aligned(table: Sequence[Sequence[str]]) -> str:
    """A table as text, the first column to the left and the others to the right."""
    return "\n".join(align_columns(table))


def markdown(table: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """A table as Markdown. numbers: align all columns but the first to the right."""
    head, *body = [
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |" for row in table
    ]
    rule = "|---|" + ("---:|" if numbers else "---|") * (len(table[0]) - 1)
    return "\n".join([head, rule, *body])
