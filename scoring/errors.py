"""The errors of bulk scoring. `python -m scoring` maps each to an exit code."""


class ScoringError(Exception):
    """Scoring failed, with exit code 1. The message contains the reason and what to do."""


class UnusableRequest(ScoringError):  # noqa: N818 - the name describes the error
    """Options, inputs or a folder cannot be used. The exit code is 2, and nothing was written."""


class UnreadableInput(ScoringError):  # noqa: N818 - the name describes the error
    """An input cannot be read, or its columns do not match the model."""


class ChangedInput(ScoringError):  # noqa: N818 - the name describes the error
    """An input file has changed since the job started."""


class OutputFailed(ScoringError):  # noqa: N818 - the name describes the error
    """The output cannot be written."""
