"""`/predict/{model}`: the native API. This module handles JSON; `http.table_handler` handles the table formats."""

import re
import time
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple
from urllib.parse import parse_qsl

from models.formats.json_encoder import JsonWriter
from models.option_parsing import OPTION_NAMES, parse_output_options
from models.output_options import OutputOptions
from models.text import did_you_mean, truncate
from service.data_plane import LARGE_ROWS, DataPlane, PredictionContext
from service.error_mapping import translate_option_errors
from service.errors import RequestError
from service.exchange import unknown_option
from service.http import negotiation
from service.http.compression import MIN_COMPRESSED_BYTES
from service.http.http_exchange import HttpExchange, Response
from service.http.table_handler import TableHandler, TableOptions
from service.protocols import native
from service.protocols.parsing import ON_INVALID_OPTIONS
from service.registry import Snapshot, normal_version
from service.routes.route import Route
from service.routes.split_route import route_of_model
from service.served_model import ServedModel

PREFIX = "/predict/"
VERSION = re.compile(PREFIX + r"(?P<name>[^/]+)/(?:versions/(?P<version>[^/]+)|aliases/(?P<alias>[^/]+))")
SMALL_BYTES = 16 * 1024  # the fast path is not tried for larger bodies


class PredictRoute(Route):
    """Predicts with one version of a model."""

    protocol = "json"
    access = "predict"
    allow = ("POST", "OPTIONS")
    answers_directly = True
    served: ServedModel

    def __init__(self, plane: DataPlane, served: ServedModel) -> None:
        super().__init__(plane, served)
        self._writer = served.compiled(JsonWriter)
        self._parse_body = served.model.schema.validators.parse_body

    async def handle(self, exchange: HttpExchange) -> Response | None:
        headers, query = exchange.headers, exchange.scope["query_string"]
        if not negotiation.is_plain_json(headers):
            return await self._handle_table(exchange)
        exchange.set_deadline()
        options = parse_options(query) if query else NO_OPTIONS
        if options.inputs:
            raise unknown_option(INPUTS_FORMATS)
        served = self.plane.extended(self.served, options.outputs)
        body = await exchange.body.read(headers, self.plane)
        if not query and b"x-request-timeout" not in headers and time.monotonic() < exchange.deadline:
            found = self.answer(body, exchange.request_id)
            if found is not None:
                fast, exchange.rows = found
                if len(fast) > MIN_COMPRESSED_BYTES:
                    return Response(fast)
                await exchange.respond_json(fast)
                return None
        return Response(await predict_json(self.plane, served, body, options.on_invalid, exchange.prediction_context))

    def answer(self, body: bytes, request_id: bytes) -> tuple[bytes, int] | None:
        """The response to a small body with a few valid rows without warnings, and the number of rows."""
        if len(body) > SMALL_BYTES or self.served.inline_rows < 1 or (rows := self._parse_body(body)) is None:
            return None
        outputs = self.plane.predict_fast(self.served, rows, request_id)
        if outputs is None:
            return None
        written = self._writer.write_value(outputs) if isinstance(outputs, float) else self._writer.write_plain(outputs)
        return written, len(rows)

    async def _handle_table(self, exchange: HttpExchange) -> Response | None:
        """Handle a request whose body or response is a table. Returns None if the response was streamed."""
        formats = negotiation.negotiate(exchange.headers)
        exchange.protocol = formats[0].name
        if exchange.protocol != "json":
            exchange.body.limit = self.plane.settings.max_stream_bytes
        options = parse_options(exchange.query)
        served = self.plane.extended(self.served, options.outputs)
        if options.inputs and [known.name for known in formats] != ["parquet", "csv"]:
            raise unknown_option(INPUTS_FORMATS)
        table = TableHandler(exchange, served, formats, TableOptions(options.skips_invalid, options.inputs))
        return await table.handle()


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


class PredictOptions(NamedTuple):
    """The query of a predict request."""

    on_invalid: str = "fail"
    inputs: bool = False  # columns of a Parquet body in a CSV response
    outputs: OutputOptions = OutputOptions()

    @property
    def skips_invalid(self) -> bool:
        """Whether on_invalid=skip. Raises RequestNotValid for an unknown value."""
        if self.on_invalid not in ON_INVALID_OPTIONS:
            raise unknown_option(f"on_invalid={truncate(self.on_invalid)!r} is unknown, expected fail or skip")
        return self.on_invalid == "skip"


NO_OPTIONS = PredictOptions()
NAMES = ("on_invalid", "inputs", *OPTION_NAMES)
TRUTHS = {"true": True, "false": False}
INPUTS_FORMATS = "inputs=true needs a Parquet body and a CSV response (Accept: text/csv)"


def parse_options(query: bytes) -> PredictOptions:
    """Raises RequestNotValid for an unknown option, and for a value that no model could satisfy."""
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"):
        if name not in NAMES:
            hint = did_you_mean(name, NAMES) or f", expected {', '.join(NAMES)}"
            raise unknown_option(f"unknown option {truncate(name)!r}{hint}")
        values.setdefault(name, []).append(value)
    joined = {name: ",".join(given) for name, given in values.items()}
    inputs = TRUTHS.get(joined.get("inputs", "false"))
    if inputs is None:
        raise unknown_option(f"inputs={truncate(joined['inputs'])!r} is unknown, expected true or false")
    with translate_option_errors():
        return PredictOptions(joined.get("on_invalid", "fail"), inputs, parse_output_options(joined))


class UnknownModelRoute(Route):
    """Responds with an error: the model is unknown or still loading."""

    protocol = "json"
    access = "predict"
    methods = ()
    always = True

    def __init__(self, plane: DataPlane, model_name: str, error: RequestError) -> None:
        super().__init__(plane, model_name=model_name)
        self._error = error

    async def handle_other_method(self, exchange: HttpExchange) -> Response:
        raise self._error


class NativeRoutes:
    """The routes below `/predict/`."""

    def common_routes(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        return {
            f"{PREFIX}{name}": route_of_model(plane, entry, partial(PredictRoute, plane))
            for name, entry in snapshot.entries.items()
        }

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        if not path.startswith(PREFIX):
            return None
        found = VERSION.fullmatch(path)
        name = found["name"] if found else path.removeprefix(PREFIX)
        try:
            if found is None:
                return route_of_model(plane, snapshot.entry(name), partial(PredictRoute, plane))
            version = found["version"] and normal_version(found["version"])
            return PredictRoute(plane, snapshot.find(name, version, found["alias"]))
        except RequestError as error:
            return UnknownModelRoute(plane, name, error)
