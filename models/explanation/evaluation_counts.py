"""The number of rows that the engine predicts to explain one row, by the number of its columns.

This module is separate from the explainer because the workers of a server do not import the explainer.
"""

MAX_EXACT_COLUMNS = 10  # columns that differ from the background; at most 1,024 coalitions per background row
PAIRS = 8  # pairs of orders for each background row if more columns differ


def coalition_count(columns: int, *, exact: bool) -> int:
    """The number of coalitions that are evaluated if this number of columns differs from a background row."""
    sampled = 2 * PAIRS * (columns - 1)
    return 1 << columns if exact or columns < 2 or 1 << columns <= sampled else sampled


def evaluations_if_all_differ(columns: int, background_rows: int) -> int:
    """The number of evaluations for a row that has no value in common with the background, which is the common case."""
    return background_rows * (coalition_count(columns, exact=columns <= MAX_EXACT_COLUMNS) + 1) + 1


def max_evaluations(columns: int, background_rows: int) -> int:
    """The maximum number of evaluations for any row. With many columns, a row that differs in few of them may need the
    most evaluations, because it is explained exactly."""
    exact = background_rows * ((1 << min(columns, MAX_EXACT_COLUMNS)) + 1) + 1
    return max(exact, evaluations_if_all_differ(columns, background_rows))
