"""Tables as aligned text for a terminal, or as Markdown. The first row is the header."""

from collections.abc import Sequence

Table = Sequence[Sequence[str]]


def text(table: Table) -> str:
    """The first column aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        ).rstrip()
        for first, *others in table
    )


def markdown(table: Table) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([head, "|---|" + "---:|" * (len(table[0]) - 1), *body])
