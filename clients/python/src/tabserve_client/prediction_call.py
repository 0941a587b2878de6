"""One call of `predict`: its rows are sent in pieces, several at once, and the responses are joined in order.

A piece that exceeds a limit of the server is split, and so are the pieces after it. A piece is repeated as a whole or
not at all, and a response counts only if it has one entry for each row of the piece, so no row is lost or answered
twice.
"""

import threading
import uuid
from collections.abc import Iterator, Mapping
from functools import partial

from tabserve_client.errors import InvalidResponse, RequestTooLarge, ServerError
from tabserve_client.json_rows import json_body, ndjson_body
from tabserve_client.metadata import ModelSchema, read_schema
from tabserve_client.options import PredictOptions, output_options, predict_path, segment
from tabserve_client.predictions import Predictions
from tabserve_client.responses import (
    EntryResponse,
    Response,
    SentRequest,
    StoppedResponse,
    TableResponse,
    read_response,
)
from tabserve_client.retries import RetryPolicy, exchange
from tabserve_client.sources import Source, arrow_body
from tabserve_client.table_columns import empty_columns
from tabserve_client.wire import ARROW, JSON, NDJSON, Conversation, Request

PIECE_ROWS = 4096
"""The size of the server's batches, with which several pieces at once do not fill its queue."""
EXPLAINED_ROWS = {"true": 16, "fast": 256}
"""The number of rows in a request with explanations, whose model evaluations the server limits."""
SMALL_ROWS = 100
"""Up to this number of rows, JSON is faster than Arrow."""
CLIENT_KEY = "x-client-key"


class KnownServer:
    """What a client has learned about its server."""

    reads_arrow = True


class PredictionCall:
    """The state of a call. Several threads may call its methods."""

    def __init__(
        self,
        model: str,
        source: Source,
        options: PredictOptions,
        policy: RetryPolicy,
        server: KnownServer,
        headers: Mapping[str, str],
    ) -> None:
        """headers: the headers of every request, with names in lower case. Raises InvalidInput."""
        self.model = model
        self.source = source
        self.policy = policy
        self.server = server
        self.path = predict_path(model, options)
        self.outputs = output_options(options)
        self.skips = options.get("on_invalid", "fail") == "skip"
        self.end = policy.end()
        self.limit = EXPLAINED_ROWS.get(self.outputs.explain, PIECE_ROWS)  # rows of a request
        self.pieces = -(-source.count // self.limit)
        # The same key for all pieces, so that one version answers them if the traffic is split
        self.headers = {CLIENT_KEY: uuid.uuid4().hex, **headers} if self.pieces > 1 else headers
        self._lock = threading.Lock()
        self._pieces = self._split(0, source.count)
        self._responses: dict[int, list[Response]] = {}
        self._failures: dict[int, Exception] = {}

    def _split(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        while start < stop:
            end = min(start + self.limit, stop)
            yield start, end
            start = end

    def next_piece(self) -> tuple[int, Conversation[list[Response]]] | None:
        """The next piece to send: its first row and its conversation. None if none is left, or a piece has failed."""
        with self._lock:
            piece = None if self._failures else next(self._pieces, None)
        return None if piece is None else (piece[0], self._conversation(*piece))

    def succeeded(self, piece: int, responses: list[Response]) -> None:
        with self._lock:
            self._responses[piece] = responses

    def failed(self, piece: int, error: Exception) -> None:
        with self._lock:
            self._failures[piece] = error

    def responses(self) -> list[Response]:
        """All responses in order, once every started piece has ended. Raises the error of the first failed piece:
        pieces are started in order, so the error does not depend on their speed."""
        if self._failures:
            raise self._failures[min(self._failures)]
        return [response for piece in sorted(self._responses) for response in self._responses[piece]]

    def _conversation(self, start: int, stop: int) -> Conversation[list[Response]]:
        """The responses for some rows, from several requests if one request exceeds a limit."""
        rows = stop - start
        if rows > self.limit:
            responses: list[Response] = []
            for piece in self._split(start, stop):
                responses += yield from self._conversation(*piece)
            return responses
        request = self._request(start, stop)
        sent = SentRequest(self.model, start, rows, self.outputs)
        give_up = partial(self._is_too_large, rows)
        try:
            response = yield from exchange(request, partial(read_response, sent=sent), self.policy, self.end, give_up)
            return [response]
        except ServerError as error:
            if not self._adapt(error, request, rows):
                raise error.moved(start) from error.__cause__
        except StoppedResponse as error:
            if rows == 1:
                raise InvalidResponse(f"the server ended its response early: {error}") from None
            self._halve(rows)
        return (yield from self._conversation(start, stop))

    def _adapt(self, error: ServerError, request: Request, rows: int) -> bool:
        """Adapt to an error. Returns whether the rows can be sent in another format or in smaller pieces."""
        if error.status == 415 and request.headers["content-type"] == ARROW:
            self.server.reads_arrow = False
            return True
        if self._is_too_large(rows, error):
            self._halve(rows)
            return True
        return False

    def _is_too_large(self, rows: int, error: ServerError) -> bool:
        """Whether fewer rows may succeed. 422 without a row means too many evaluations for explanations."""
        if rows == 1:
            return False
        explained = bool(self.outputs.explain)
        return isinstance(error, RequestTooLarge) or (
            explained and (error.status == 504 or (error.status == 422 and not error.errors))
        )

    def _halve(self, rows: int) -> None:
        self.limit = min(self.limit, rows // 2)

    def _request(self, start: int, stop: int) -> Request:
        """A request: JSON for few rows, else Arrow if the data can be a table, else NDJSON. Only NDJSON contains the
        errors of all rows, and explanations."""
        small = stop - start <= SMALL_ROWS
        arrow = None
        if not small and not self.outputs.explain and self.server.reads_arrow:
            arrow = self.source.arrow(start, stop)
        if arrow is not None:
            kind, content = ARROW, arrow_body(arrow)
        elif small and not self.skips:
            kind, content = JSON, json_body(self.source.rows(start, stop))
        else:
            kind, content = NDJSON, ndjson_body(self.source.rows(start, stop))
        query = self.outputs.query() | ({"on_invalid": "skip"} if self.skips else {})
        return Request("POST", self.path, query, {**self.headers, "content-type": kind}, content)

    def result(self) -> Conversation[Predictions]:
        """The predictions, after all pieces. If no row has a prediction, a request for the schema returns the columns.
        Raises the error of the first failed piece."""
        responses, names = self.responses(), list[str]()
        if not any(isinstance(response, TableResponse) or any(response.entries) for response in responses):
            request = Request("GET", f"/models/{segment(self.model)}", headers=self.headers)
            schema: ModelSchema = yield from exchange(request, read_schema, self.policy, self.end)
            names = empty_columns(schema.classes, [feature.name for feature in schema.features], self.outputs)
            responses = responses or [
                EntryResponse(SentRequest(self.model, 0, 0, self.outputs), schema.version, "", [])
            ]
        return Predictions(self.model, responses, self.source.index, names)
