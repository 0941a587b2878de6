"""The first problem that pydantic found in a document, as text."""

from pydantic import ValidationError

UNION_MEMBERS = ("int", "float", "str", "bool")  # pydantic names the member of a union that it tried


def first_message(error: ValidationError) -> str:
    return message_of(error.errors()[0]["msg"])


def first_problem(error: ValidationError) -> str:
    """The message and its place in the document."""
    place = ".".join(map(str, place_of(error.errors()[0]["loc"])))
    message = first_message(error)
    return f"{place}: {message}" if place else message


def message_of(text: str) -> str:
    """A message of pydantic's, without its words about a validator of ours."""
    return text.removeprefix("Value error, ")


def place_of(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where an error is, without the member of a union at its end."""
    return location[:-1] if location and location[-1] in UNION_MEMBERS else location
