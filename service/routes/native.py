"""`/predict/{model}`: the native API. This module handles JSON; `http.table_handler` the table formats."""

import time
from collections.abc import Mapping
from urllib.parse import parse_qsl

from models.formats.json_encoder import JsonWriter
from models.text import truncate
from service.data_plane import LARGE_ROWS, DataPlane, PredictionContext
from service.errors import RequestError
from service.exchange import unknown_option
from service.http import negotiation
from service.http.http_exchange import HttpExchange, Response
from service.http.table_handler import TableHandler
from service.protocols import native
from service.protocols.parsing import ON_INVALID_OPTIONS
from service.registry import Snapshot
from service.routes.route import Route
from service.served_model import ServedModel

PREFIX = "/predict/"
SMALL_BYTES = 16 * 1024  # larger bodies do not try the fast path


class PredictRoute(Route):
    """Predicts with one version of a model."""

    protocol = "json"
    allow = ("POST", "OPTIONS")
    served: ServedModel

    def __init__(self, plane: DataPlane, served: ServedModel) -> None:
        super().__init__(plane, served)
        self._writer = served.compiled(JsonWriter)
        self._parse_body = served.model.schema.validators.parse_body

    async def handle(self, exchange: HttpExchange) -> Response | None:
        headers, query = exchange.headers, exchange.scope["query_string"]
        if not negotiation.is_plain_json(headers):
            await self._handle_table(exchange)
            return None
        exchange.set_deadline()
        on_invalid = on_invalid_option(query) if query else "fail"
        body = await exchange.body.read(headers, self.plane)
        if not query and b"x-request-timeout" not in headers and time.monotonic() < exchange.deadline:
            fast = self._fast(body)
            if fast is not None:
                await exchange.respond_json(fast)
                return None
        return Response(await predict_json(self.plane, self.served, body, on_invalid, exchange.prediction_context))

    def _fast(self, body: bytes) -> bytes | None:
        """The response to the common request: a few valid rows without warnings in a small body.

        None for all other requests: `predict_json` handles them from the start.
        """
        if len(body) > SMALL_BYTES or (rows := self._parse_body(body)) is None:
            return None
        outputs = self.plane.predict_fast(self.served, rows)
        if outputs is None:
            return None
        return self._writer.one_value(outputs) if isinstance(outputs, float) else self._writer.plain(outputs)

    async def _handle_table(self, exchange: HttpExchange) -> None:
        """Handle a request whose body or response is a table."""
        formats = negotiation.negotiate(exchange.headers)
        exchange.protocol = formats[0].name
        if exchange.protocol != "json":
            exchange.body.limit = self.plane.settings.max_stream_bytes
        table = TableHandler(exchange, self.served, formats, skip=skips_invalid(exchange.query))
        await table.handle()


async def predict_json(
    plane: DataPlane, served: ServedModel, body: bytes, on_invalid: str, context: PredictionContext
) -> bytes:
    """The response body for a JSON request body. Raises RequestError."""
    limit = plane.settings.max_rows
    large = len(body) > native.LARGE_BODY_BYTES
    rows, outputs = await plane.predict(
        served, lambda schema: native.validate_request(schema, body, on_invalid, limit), context, large=large
    )
    skip, writer = on_invalid == "skip", served.compiled(JsonWriter)
    if rows.count > LARGE_ROWS:
        return await plane.run_in_thread(lambda: writer.write(rows, outputs, skip=skip))
    return writer.write(rows, outputs, skip=skip)


def on_invalid_option(query: bytes) -> str:
    """The value of on_invalid. Raises RequestNotValid for any other option."""
    options = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace")
    for name, _ in options:
        if name != "on_invalid":
            raise unknown_option(f"unknown option {truncate(name)!r}, expected on_invalid")
    return ",".join(value for _, value in options) if options else "fail"


def skips_invalid(query: bytes) -> bool:
    """Whether on_invalid=skip. Raises RequestNotValid."""
    value = on_invalid_option(query) if query else "fail"
    if value not in ON_INVALID_OPTIONS:
        raise unknown_option(f"on_invalid={truncate(value)!r} is unknown, expected fail or skip")
    return value == "skip"


class UnknownModelRoute(Route):
    """Responds with an error: the model is unknown or still loading."""

    protocol = "json"
    methods = ()
    always = True

    def __init__(self, plane: DataPlane, error: RequestError) -> None:
        super().__init__(plane)
        self._error = error

    async def handle_other_method(self, exchange: HttpExchange) -> Response:
        raise self._error


class NativeRoutes:
    """The routes below `/predict/`."""

    def listed(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        return {f"{PREFIX}{name}": PredictRoute(plane, entry.champion) for name, entry in snapshot.entries.items()}

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        if not path.startswith(PREFIX):
            return None
        try:
            return PredictRoute(plane, snapshot.find(path.removeprefix(PREFIX)))
        except RequestError as error:
            return UnknownModelRoute(plane, error)
