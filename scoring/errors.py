"""The errors of bulk scoring. `python -m scoring` maps each to an exit code."""


class ScoringError(Exception):
    """Scoring failed: exit code 1. The message has the reason and what to do."""


class UnusableRequest(ScoringError):  # noqa: N818 - the name describes the error
    """Options, inputs or a folder that cannot be used: exit code 2, and nothing was written."""


class UnreadableInput(ScoringError):  # noqa: N818 - the name describes the error
    """An input that cannot be read, or whose columns are not those of the model."""


class ChangedInput(ScoringError):  # noqa: N818 - the name describes the error
    """Raised if an input file has changed since the job started."""


class OutputFailed(ScoringError):  # noqa: N818 - the name describes the error
    """The output cannot be written."""
