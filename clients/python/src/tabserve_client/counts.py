"""Numbers with their nouns in messages."""


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun: `counted(1, "row")` is `1 row`. many: the plural, by default with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"
