"""The common part of both clients: the conversation of each operation, and the headers of every request."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tabserve_client.counts import counted
from tabserve_client.errors import InvalidInput, TabserveError
from tabserve_client.feedback import FeedbackReport, feedback_requests, read_report
from tabserve_client.metadata import ModelSchema, ModelSummary, read_models, read_schema
from tabserve_client.options import PredictOptions, segment
from tabserve_client.prediction_call import KnownServer, PredictionCall
from tabserve_client.retries import RetryPolicy, exchange
from tabserve_client.sources import source_of
from tabserve_client.wire import Conversation, Request

KNOWN_OPTIONS = frozenset(PredictOptions.__annotations__)
KEY = re.compile(r"[!-~]+")
INLINE_ROWS = 256
"""The asynchronous client encodes a larger number of rows in a thread."""


class ClientCore:
    """Builds requests and reads replies; it sends nothing.

    url: the address of the server, which may have a path. headers: the headers of every request, with names in lower
    case.
    """

    def __init__(self, url: str, key: str | None, headers: Mapping[str, str], policy: RetryPolicy) -> None:
        """Raises InvalidInput."""
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise InvalidInput(f"{url!r} is not the address of a server, such as http://127.0.0.1:3000")
        if policy.attempts < 1 or policy.timeout <= 0:
            raise InvalidInput("attempts and timeout must be positive")
        self.url = url.rstrip("/")
        self.headers = {"accept-encoding": "identity"} | {name.lower(): value for name, value in headers.items()}
        if key is not None:
            if not KEY.fullmatch(key):
                raise InvalidInput("the key is empty or has characters that no key has, such as a line break")
            self.headers["authorization"] = f"Bearer {key}"
        self.policy = policy
        self.server = KnownServer()

    def prediction(self, model: str, data: Any, options: PredictOptions) -> PredictionCall:
        """Raises InvalidInput."""
        unknown = sorted(options.keys() - KNOWN_OPTIONS)
        if unknown:
            raise InvalidInput(f"unknown option {unknown[0]!r}, expected {', '.join(sorted(KNOWN_OPTIONS))}")
        if options.get("on_invalid", "fail") not in ("fail", "skip"):
            raise InvalidInput(f"on_invalid must be 'fail' or 'skip', not {options['on_invalid']!r}")
        policy = self.policy
        if "deadline" in options:
            policy = RetryPolicy(policy.timeout, options["deadline"], policy.attempts)
        return PredictionCall(model, source_of(data), options, policy, self.server, self.headers)

    def models(self) -> Conversation[list[ModelSummary]]:
        return exchange(Request("GET", "/models"), read_models, self.policy, self.policy.end())

    def schema(self, model: str) -> Conversation[ModelSchema]:
        request = Request("GET", f"/models/{segment(model)}")
        return exchange(request, read_schema, self.policy, self.policy.end())

    def feedback(self, model: str, rows: Any, ids: Any, truths: Any) -> Conversation[FeedbackReport]:
        """Report the truth. An error has a note with the number of entries that were reported before it."""
        end, report, sent = self.policy.end(), FeedbackReport(model), 0
        for request, entries in feedback_requests(model, rows, ids, truths):
            try:
                report = report.followed_by((yield from exchange(request, read_report, self.policy, end)))
            except TabserveError as error:
                if sent:
                    error.add_note(f"The first {counted(sent, 'entry was', 'entries were')} reported before.")
                raise
            sent += entries
        return report
