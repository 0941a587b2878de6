"""What can be wrong with a command or a table. Raised where it is known, printed once by `training/__main__.py`."""


class UsageError(Exception):
    """Wrong usage or an unusable table. The message is one line; the program prints it and exits with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
