"""The client for code with asyncio."""

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self, Unpack

import httpx

from tabserve_client.client_core import INLINE_ROWS, ClientCore
from tabserve_client.feedback import FeedbackReport
from tabserve_client.http_outcomes import failed_outcome, http_client_options, http_request, reply_of
from tabserve_client.metadata import ModelSchema, ModelSummary
from tabserve_client.options import PredictOptions
from tabserve_client.prediction_call import PredictionCall
from tabserve_client.predictions import Predictions
from tabserve_client.retries import RetryPolicy
from tabserve_client.wire import Conversation, Done, Outcome, Send, T, advance


class AsyncClient:
    """Like `Client`, with `await`. It belongs to one event loop and is an asynchronous context manager."""

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
        """The arguments are those of `Client`. Raises InvalidInput."""
        self._core = ClientCore(url, key, headers or {}, RetryPolicy(timeout, deadline, attempts))
        self._concurrency = max(1, concurrency)
        self._http = httpx.AsyncClient(**http_client_options(self._core, self._concurrency, verify))

    async def predict(self, model: str, data: Any, **options: Unpack[PredictOptions]) -> Predictions:
        """As `Client.predict`."""
        call = self._core.prediction(model, data, options)
        tasks = min(self._concurrency, call.pieces)
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(self._send_pieces(call))
        return await self._run(call.result(), in_thread=call.source.count > INLINE_ROWS)

    async def explain(
        self, model: str, data: Any, *, fast: bool = False, **options: Unpack[PredictOptions]
    ) -> Predictions:
        """As `Client.explain`."""
        options["explain"] = "fast" if fast else True
        return await self.predict(model, data, **options)

    async def models(self) -> list[ModelSummary]:
        """As `Client.models`."""
        return await self._run(self._core.models())

    async def schema(self, model: str) -> ModelSchema:
        """As `Client.schema`."""
        return await self._run(self._core.schema(model))

    async def feedback(
        self,
        model: str,
        rows: Any = None,
        *,
        ids: Sequence[str] | None = None,
        truths: Sequence[Any] | None = None,
    ) -> FeedbackReport:
        """As `Client.feedback`."""
        return await self._run(self._core.feedback(model, rows, ids, truths))

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _send_pieces(self, call: PredictionCall) -> None:
        """Send pieces of a call, one after the other, until there are no more."""
        large = call.source.count > INLINE_ROWS
        while piece := call.next_piece():
            number, conversation = piece
            try:
                call.succeeded(number, await self._run(conversation, in_thread=large))
            except Exception as error:
                call.failed(number, error)

    async def _run(self, conversation: Conversation[T], *, in_thread: bool = False) -> T:
        """Run a conversation. in_thread: whether a thread encodes rows and reads responses."""
        outcome: Outcome = None
        while True:
            step = (
                await asyncio.to_thread(advance, conversation, outcome) if in_thread else advance(conversation, outcome)
            )
            if isinstance(step, Done):
                return step.value
            if isinstance(step, Send):
                outcome = await self._send(step)
            else:
                await asyncio.sleep(step.seconds)
                outcome = None

    async def _send(self, step: Send) -> Outcome:
        end = time.monotonic() + step.seconds
        response: httpx.Response | None = None
        content = bytearray()
        try:
            async with self._http.stream(**http_request(self._core, step)) as response:
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if time.monotonic() > end:
                        raise httpx.ReadTimeout("the response took too long")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return failed_outcome(error, self._core.url, response, bytes(content))
        return reply_of(response, bytes(content))
