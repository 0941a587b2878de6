"""How many rows the engine predicts to explain a row, by the number of its columns.

Separate from the explainer, which the workers of a server do not import.
"""

MAX_EXACT_COLUMNS = 10  # that differ between the row and the background: at most 1,024 coalitions a background row
PAIRS = 8  # of orders, for each background row, if more columns differ


def coalition_count(columns: int, *, exact: bool) -> int:
    """How many coalitions are evaluated if this many columns differ from a background row."""
    sampled = 2 * PAIRS * (columns - 1)
    return 1 << columns if exact or columns < 2 or 1 << columns <= sampled else sampled


def evaluations_if_all_differ(columns: int, background_rows: int) -> int:
    """The number for a row that has no value in common with the background, which is the usual case."""
    return background_rows * (coalition_count(columns, exact=columns <= MAX_EXACT_COLUMNS) + 1) + 1


def most_evaluations(columns: int, background_rows: int) -> int:
    """The maximum for any row. With many columns, a row that differs in few of them may need the most, as it is
    explained exactly."""
    exact = background_rows * ((1 << min(columns, MAX_EXACT_COLUMNS)) + 1) + 1
    return max(exact, evaluations_if_all_differ(columns, background_rows))
