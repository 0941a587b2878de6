"""The names of aliases and the defaults of a canary. This module imports nothing, so that commands start fast."""

CHAMPION = "champion"
"""The alias of the version that handles requests without a version."""
CHALLENGER = "challenger"
"""The alias that a canary or a shadow uses by default."""
ALIAS_PATTERN = r"^[a-z][a-z0-9-]{0,30}$"
AFTER_ROWS = 500
"""By default, there is no automatic rollback until the challenger has predicted this number of rows."""
