"""Messages for the first problem that pydantic found in a document."""

from pydantic import ValidationError

UNION_MEMBERS = ("int", "float", "str", "bool")  # pydantic appends the type of the union to the location


def first_message(error: ValidationError) -> str:
    return clean_message(error.errors()[0]["msg"])


def first_problem(error: ValidationError) -> str:
    """The message of the first problem, with its place in the document."""
    place = ".".join(map(str, error_location(error.errors()[0]["loc"])))
    message = first_message(error)
    return f"{place}: {message}" if place else message


def clean_message(text: str) -> str:
    """The message of pydantic without its prefix for errors of custom validators."""
    return text.removeprefix("Value error, ")


def error_location(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The location of an error, without the type of a union at its end."""
    return location[:-1] if location and location[-1] in UNION_MEMBERS else location
