"""The names of aliases and the default of a canary. Imports nothing, so that command lines start fast."""

CHAMPION = "champion"
"""The alias of the version that handles requests without a version."""
CHALLENGER = "challenger"
"""The alias that a canary and a shadow use if nothing else is requested."""
ALIAS_PATTERN = r"^[a-z][a-z0-9-]{0,30}$"
AFTER_ROWS = 500
"""Rows of the challenger before an automatic rollback may act, if nothing else is requested."""
