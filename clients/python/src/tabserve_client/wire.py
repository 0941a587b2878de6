"""What goes over the wire, without the means to send it.

A conversation is a generator: it yields what to do next (`Send`, `Wait`) and is resumed with the outcome. The two
clients differ only in how they do it.
"""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True)
class Request:
    """repeatable: whether the server may receive it twice without harm."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    repeatable: bool = True


@dataclass(frozen=True)
class Reply:
    """headers: names in lower case. complete: False if the connection ended within the content."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    complete: bool = True

    def json(self) -> Any:
        """The content; None if it is not JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None


@dataclass(frozen=True)
class Lost:
    """No reply. url: of the request. sent: whether the server may have received it. final: whether a repetition would
    end alike."""

    error: Exception
    url: str
    sent: bool
    final: bool = False


@dataclass(frozen=True)
class Send:
    """Send a request, and read its reply within the time."""

    request: Request
    seconds: float


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Done(Generic[T]):
    value: T


Outcome = Reply | Lost | None
Conversation = Generator[Send | Wait, Outcome, T]
Read = Callable[[Reply], T]


def advance(conversation: Conversation[T], outcome: Outcome) -> Send | Wait | Done[T]:
    """The next step of a conversation. outcome: of the last one; None at the start and after a `Wait`."""
    try:
        return conversation.send(outcome)
    except StopIteration as stop:
        return Done(stop.value)
