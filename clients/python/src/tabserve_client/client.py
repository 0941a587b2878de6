"""The client for code without asyncio."""

import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, Unpack

import httpx

from tabserve_client.client_core import ClientCore
from tabserve_client.feedback import FeedbackReport
from tabserve_client.http_outcomes import failed_outcome, http_client_options, http_request, reply_of
from tabserve_client.metadata import ModelSchema, ModelSummary
from tabserve_client.options import PredictOptions
from tabserve_client.prediction_call import PredictionCall
from tabserve_client.predictions import Predictions
from tabserve_client.retries import RetryPolicy
from tabserve_client.wire import Conversation, Done, Outcome, Send, T, advance


class Client:
    """A client of one server. It may be used by several threads, and is a context manager.

    url: such as https://predict.example.com. key: an API key, if the server needs one. timeout: seconds of one attempt.
    deadline: seconds for a call with all its attempts; None for no limit. attempts: the number of attempts for a
    request that fails; 429 and 503 are retried until the deadline. concurrency: the number of simultaneous requests for
    one call with many rows. verify: False, or an ssl.SSLContext, for the certificate of the server. headers: headers of
    every request.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 30.0,
        deadline: float | None = 60.0,
        attempts: int = 8,
        concurrency: int = 4,
        verify: ssl.SSLContext | bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Does not connect to the server yet. Raises InvalidInput."""
        self._core = ClientCore(url, key, headers or {}, RetryPolicy(timeout, deadline, attempts))
        self._concurrency = max(1, concurrency)
        self._http = httpx.Client(**http_client_options(self._core, self._concurrency, verify))

    def predict(self, model: str, data: Any, **options: Unpack[PredictOptions]) -> Predictions:
        """Predictions for all rows of the data, in order.

        data: one row (a mapping), rows, a pandas or polars frame, an Arrow table. Raises TabserveError.
        """
        call = self._core.prediction(model, data, options)
        stopped = threading.Event()
        threads = min(self._concurrency, call.pieces)
        if threads <= 1:
            self._send_pieces(call, stopped)
        else:
            with ThreadPoolExecutor(threads, "tabserve-client") as executor:
                try:
                    for future in [executor.submit(self._send_pieces, call, stopped) for _ in range(threads)]:
                        future.result()
                except BaseException:  # after an interruption, the waiting pieces stop waiting
                    stopped.set()
                    raise
        return self._run(call.result())

    def explain(self, model: str, data: Any, *, fast: bool = False, **options: Unpack[PredictOptions]) -> Predictions:
        """Predictions with the contribution of each column. fast: compare with one typical row."""
        options["explain"] = "fast" if fast else True
        return self.predict(model, data, **options)

    def models(self) -> list[ModelSummary]:
        """The models that the server serves. Raises TabserveError."""
        return self._run(self._core.models())

    def schema(self, model: str) -> ModelSchema:
        """The columns of a model, its task and examples. Raises TabserveError."""
        return self._run(self._core.schema(model))

    def feedback(
        self,
        model: str,
        rows: Any = None,
        *,
        ids: Sequence[str] | None = None,
        truths: Sequence[Any] | None = None,
    ) -> FeedbackReport:
        """Report the truth: rows with their target, or ids of predictions and their truths.

        The server counts an id once, so ids are sent again after any failure. Rows are sent again only if the server
        did not receive them. Raises TabserveError.
        """
        return self._run(self._core.feedback(model, rows, ids, truths))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _send_pieces(self, call: PredictionCall, stopped: threading.Event) -> None:
        """Send pieces of a call, one after the other, until there are no more."""
        while not stopped.is_set() and (piece := call.next_piece()):
            number, conversation = piece
            try:
                call.succeeded(number, self._run(conversation, stopped))
            except Exception as error:
                call.failed(number, error)

    def _run(self, conversation: Conversation[T], stopped: threading.Event | None = None) -> T:
        outcome: Outcome = None
        while not isinstance(step := advance(conversation, outcome), Done):
            if isinstance(step, Send):
                outcome = self._send(step)
                continue
            outcome = None
            if stopped is None:
                time.sleep(step.seconds)
            elif stopped.wait(step.seconds):
                raise InterruptedError("the call was stopped")
        return step.value

    def _send(self, step: Send) -> Outcome:
        end = time.monotonic() + step.seconds
        response: httpx.Response | None = None
        content = bytearray()
        try:
            with self._http.stream(**http_request(self._core, step)) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    if time.monotonic() > end:
                        raise httpx.ReadTimeout("the response took too long")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return failed_outcome(error, self._core.url, response, bytes(content))
        return reply_of(response, bytes(content))
