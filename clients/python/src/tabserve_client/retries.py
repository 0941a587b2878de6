"""Retries: which requests are tried again, after which delay, and until when."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tabserve_client.counts import counted
from tabserve_client.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InvalidResponse,
    Overloaded,
    ServerError,
    TabserveError,
    server_error,
)
from tabserve_client.wire import Conversation, NoReply, Outcome, Read, Reply, Request, Send, T, Wait

FAILURES = frozenset([408, 500, 502, 504])
"""Statuses after which a later attempt may succeed. Those of `Overloaded` are tried until the deadline."""
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0


@dataclass(frozen=True)
class RetryPolicy:
    """The limits of retries.

    timeout: seconds for one attempt. deadline: seconds for a whole call; None for no limit. attempts: the number of
    attempts for a request that fails. 429 and 503 are retried until the deadline.
    """

    timeout: float = 30.0
    deadline: float | None = 60.0
    attempts: int = 8

    def end(self) -> float:
        """The time, of `time.monotonic`, at which a call that begins now must end."""
        return float("inf") if self.deadline is None else time.monotonic() + self.deadline


def backoff(attempt: int) -> float:
    """Seconds to wait after an attempt, counted from 1. The time is doubled after each attempt, and half of it is
    random."""
    full = min(FIRST_DELAY_S * 2.0 ** (attempt - 1), LONGEST_DELAY_S)
    return full * random.uniform(0.5, 1)


def retry_after(reply: Reply) -> float:
    """Seconds to wait according to Retry-After; 0 without this header."""
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
    """Send a request until it is answered. Raises TabserveError.

    end: a time of `time.monotonic`. give_up: whether an error of the server is raised although a later attempt may
    succeed.
    """
    attempt = failures = 0
    problem: TabserveError | None = None
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise deadline_error(attempt, problem)
        outcome = yield Send(request, min(policy.timeout, left))
        attempt += 1
        try:
            return read_outcome(outcome, read)
        except TabserveError as error:
            problem = error
        if not is_retryable(problem, outcome, request) or (isinstance(problem, ServerError) and give_up(problem)):
            raise problem
        delay = backoff(attempt)
        if isinstance(problem, Overloaded) and isinstance(outcome, Reply):
            wanted = retry_after(outcome)
            delay = max(delay, wanted * random.uniform(1, 1.25))  # so that not all clients retry at the same moment
        else:
            failures += 1
            if failures >= policy.attempts:
                raise problem
        if time.monotonic() + delay >= end:
            raise deadline_error(attempt, problem)
        yield Wait(delay)


def read_outcome(outcome: Outcome, read: Read[T]) -> T:
    """The content of a reply. Raises TabserveError."""
    if isinstance(outcome, Reply):
        if 200 <= outcome.status < 300:
            return read(outcome)
        raise server_error(outcome.status, outcome.headers, outcome.content)
    assert isinstance(outcome, NoReply)
    reason = str(outcome.error) or type(outcome.error).__name__
    raise ConnectionFailed(f"no response from {outcome.url}: {reason}") from outcome.error


def is_retryable(problem: TabserveError, outcome: Outcome, request: Request) -> bool:
    """Whether a later attempt may succeed and is allowed."""
    if isinstance(problem, Overloaded):
        return True
    if isinstance(outcome, NoReply):
        return not outcome.final and (request.repeatable or not outcome.sent)
    if isinstance(problem, ServerError):
        return request.repeatable and problem.status in FAILURES
    return request.repeatable and isinstance(problem, InvalidResponse)


def deadline_error(attempts: int, problem: TabserveError | None) -> DeadlineExceeded:
    if problem is None:
        return DeadlineExceeded("the deadline passed before the request was sent")
    error = DeadlineExceeded(f"the deadline passed after {counted(attempts, 'attempt')}; the last error: {problem}")
    error.__cause__ = problem
    return error
