"""Requests, replies and conversations, without the means to send them.

A conversation is a generator: it yields the next step (`Send`, `Wait`) and is resumed with its outcome. The two clients
differ only in how they execute a step.
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
    """A request. repeatable: whether the server may receive it twice without harm."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    repeatable: bool = True


@dataclass(frozen=True)
class Reply:
    """A reply. headers: with names in lower case. complete: False if the connection ended within the content."""

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
class NoReply:
    """The outcome without a reply.

    url: the URL of the request. sent: whether the server may have received it. final: whether a repetition would have
    the same outcome.
    """

    error: Exception
    url: str
    sent: bool
    final: bool = False


@dataclass(frozen=True)
class Send:
    """The step that sends a request and reads its reply within the time."""

    request: Request
    seconds: float


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Done(Generic[T]):
    value: T


Outcome = Reply | NoReply | None
Conversation = Generator[Send | Wait, Outcome, T]
Read = Callable[[Reply], T]


def advance(conversation: Conversation[T], outcome: Outcome) -> Send | Wait | Done[T]:
    """The next step of a conversation. outcome: that of the last step; None at the start and after a `Wait`."""
    try:
        return conversation.send(outcome)
    except StopIteration as stop:
        return Done(stop.value)
