"""Attempts: what is tried again, after how long, and when to give up."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tabserve_client.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InvalidAnswer,
    Overloaded,
    ServerError,
    TabserveError,
    server_error,
)
from tabserve_client.wire import Conversation, Lost, Outcome, Read, Reply, Request, Send, T, Wait

FAILURES = frozenset([408, 500, 502, 504])
"""Statuses that a later attempt may not have. Those of `Overloaded` are tried until the deadline."""
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0


@dataclass(frozen=True)
class RetryPolicy:
    """timeout: seconds for one attempt. deadline: seconds for a whole call; None for no limit. attempts: for a
    request that fails; 429 and 503 are retried until the deadline."""

    timeout: float = 30.0
    deadline: float | None = 60.0
    attempts: int = 8

    def end(self) -> float:
        """When a call that begins now has to end, on the clock of time.monotonic."""
        return float("inf") if self.deadline is None else time.monotonic() + self.deadline


def backoff(attempt: int) -> float:
    """Seconds to wait after an attempt, counted from 1: doubled each time, half of it random."""
    full = min(FIRST_DELAY_S * 2.0 ** (attempt - 1), LONGEST_DELAY_S)
    return full * random.uniform(0.5, 1)


def retry_after(reply: Reply) -> float:
    """Seconds to wait according to Retry-After; 0 without it."""
    text = reply.headers.get("retry-after", "")
    try:
        return max(float(text), 0.0) if text else 0.0
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


def never(error: ServerError) -> bool:
    return False


def exchange(
    request: Request,
    read: Read[T],
    policy: RetryPolicy,
    end: float,
    give_up: Callable[[ServerError], bool] = never,
) -> Conversation[T]:
    """Send a request until it is answered. end: on the clock of time.monotonic. give_up: whether an error of the server
    is for the caller, although a later attempt may not have it. Raises TabserveError.
    """
    attempt = failures = 0
    problem: TabserveError | None = None
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise exceeded(attempt, problem)
        outcome = yield Send(request, min(policy.timeout, left))
        attempt += 1
        try:
            return answer_in(outcome, read)
        except TabserveError as error:
            problem = error
        if not is_passing(problem, outcome, request) or (isinstance(problem, ServerError) and give_up(problem)):
            raise problem
        delay = backoff(attempt)
        if isinstance(problem, Overloaded) and isinstance(outcome, Reply):
            wanted = retry_after(outcome)
            delay = max(delay, wanted * random.uniform(1, 1.25))  # not all clients at the same moment
        else:
            failures += 1
            if failures >= policy.attempts:
                raise problem
        if time.monotonic() + delay >= end:
            raise exceeded(attempt, problem)
        yield Wait(delay)


def answer_in(outcome: Outcome, read: Read[T]) -> T:
    """The content of a reply. Raises TabserveError."""
    if isinstance(outcome, Reply):
        if 200 <= outcome.status < 300:
            return read(outcome)
        raise server_error(outcome.status, outcome.headers, outcome.content)
    assert isinstance(outcome, Lost)
    reason = str(outcome.error) or type(outcome.error).__name__
    raise ConnectionFailed(f"no answer from {outcome.url}: {reason}") from outcome.error


def is_passing(problem: TabserveError, outcome: Outcome, request: Request) -> bool:
    """Whether a later attempt may succeed, and may be made."""
    if isinstance(problem, Overloaded):
        return True
    if isinstance(outcome, Lost):
        return not outcome.final and (request.repeatable or not outcome.sent)
    if isinstance(problem, ServerError):
        return request.repeatable and problem.status in FAILURES
    return request.repeatable and isinstance(problem, InvalidAnswer)


def exceeded(attempts: int, problem: TabserveError | None) -> DeadlineExceeded:
    if problem is None:
        return DeadlineExceeded("the deadline passed before the request was sent")
    error = DeadlineExceeded(f"the deadline passed after {attempts} attempts; the last error: {problem}")
    error.__cause__ = problem
    return error
