"""Errors of a command or a table. `training/__main__.py` prints them."""


class UsageError(Exception):
    """Wrong usage or an unusable table. The message is one line; the program prints it and exits with code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
