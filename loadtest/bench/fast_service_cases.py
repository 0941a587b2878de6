"""The fast paths of the protocols and of the data plane.

The only benchmark that runs the service's code in its own process, because no request can disable a fast path.
"""

import asyncio
import json
import math
import re
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any

import numpy as np
import uvicorn
from uvicorn.server import ServerState

from loadtest.bench.fast_case import Case, case_with_replacement
from loadtest.bench.fast_model_cases import counted_rows
from loadtest.bench.fast_models import NUMBERS, classification, regression, rows_of
from models.rows import ValidatedRows, from_valid_rows
from models.schema import FeatureSchema
from service.data_plane import DataPlane, PredictionContext
from service.exchange import ServerContext
from service.http import negotiation
from service.http.asgi import Application
from service.protocols import oip_json, oip_rows, tfserving
from service.protocols.oip_signature import ModelSignature
from service.protocols.oip_tensors import InferRequest, InputTensor
from service.routes import native, oip
from service.server.http_protocol import GuardedHttpProtocol
from service.settings import Settings

MAX_ROWS = 10_000
CALL = PredictionContext(math.inf)


def cases() -> Iterator[Case]:
    plane = DataPlane([regression(), classification()], Settings())
    plane.start()
    yield from known_heads(plane)
    yield from native_json(plane)
    yield from oip_requests(plane)
    yield from binary_tensors(regression().schema)
    yield from tf_serving()
    yield from headers()
    plane.close()


def result_without_waiting(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the coroutine waits")


class RecordingTransport(asyncio.Transport):
    """The transport of a connection without a client."""

    written = b""

    def write(self, data: "bytes | bytearray | memoryview") -> None:
        self.written = re.sub(rb"x-request-id: [^\r]*", b"", data)


def known_heads(plane: DataPlane) -> Iterator[Case]:
    """The case of a request with one row, from the bytes of the request to those of the response."""
    context = ServerContext(plane, Settings())
    context.state.mark_ready()
    app = Application(context)
    loop = asyncio.new_event_loop()
    protocol = GuardedHttpProtocol(uvicorn.Config(app, lifespan="off", log_config=None), ServerState(), {}, loop)
    transport = RecordingTransport()
    protocol.connection_made(transport)
    body = json.dumps({"rows": rows_of(1)}).encode()
    head = b"POST /predict/numbers HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    request = head % len(body) + body

    def answer() -> bytes:
        protocol.data_received(request)
        return transport.written

    answer()  # the protocol stores this request head, so that the next one is recognised
    name = "`DirectResponses.split`"
    yield case_with_replacement(
        name, "request to response, 1 row, regression", answer, split=(app.direct, lambda _: None)
    )
    loop.close()


def native_json(plane: DataPlane) -> Iterator[Case]:
    for served in plane.snapshot.served:
        route = native.PredictRoute(plane, served)
        for count in (1, 8):
            body = json.dumps({"rows": rows_of(count)}).encode()
            name = f"body to response, {counted_rows(count)}, {served.model.schema.task}"
            yield Case(
                "`PredictRoute.answer`",
                name,
                partial(answer_fast, route, body),
                partial(answer_with_general_code, route, body),
            )


def answer_fast(route: native.PredictRoute, body: bytes) -> bytes | None:
    """The response of the fast path to a body."""
    found = route.answer(body, b"")
    return None if found is None else found[0]


def answer_with_general_code(route: native.PredictRoute, body: bytes) -> bytes:
    response: bytes = result_without_waiting(native.predict_json(route.plane, route.served, body, "fail", CALL))
    return response


def oip_requests(plane: DataPlane) -> Iterator[Case]:
    served = plane.snapshot.find("numbers")
    (row,) = rows_of(1)
    body = json.dumps(
        {"inputs": [{"name": name, "datatype": "FP64", "shape": [1], "data": [value]} for name, value in row.items()]}
    ).encode()
    disabled = {"fast_tensor": (oip_json, lambda _: None)}
    yield case_with_replacement(
        "`oip_json.fast_tensor`", "parse 8 tensors of 1 row", partial(oip_json.read, body), **disabled
    )
    inference = oip_json.read(body)

    def predict(*, fast: bool) -> Any:
        answered = result_without_waiting(oip.infer(plane, served, inference, CALL, large=False, fast=fast))
        return answered.outputs

    yield Case(
        "`Signature.fast_row`",
        "tensors of 1 row to response",
        partial(predict, fast=True),
        partial(predict, fast=False),
    )
    signature, general = ModelSignature(served.model), ModelSignature(served.model)
    general._fast_value = None
    rows = from_valid_rows(served.model.schema, [row])
    arguments = rows, served.model.predict(rows.frame), inference
    yield Case(
        "`Signature._fast_value`",
        "write 1 value",
        partial(signature.write, *arguments),
        partial(general.write, *arguments),
    )


def binary_tensors(schema: FeatureSchema) -> Iterator[Case]:
    for count in (1, 1_000):
        x = np.array([[*row.values()] for row in rows_of(count)])
        matrix = [InputTensor("x", "FP64", x.shape, x.ravel())]
        call = partial(accept, schema, matrix)
        name = f"validate a binary matrix, {counted_rows(count)}"
        yield case_with_replacement("`oip_rows.fast_matrix`", name, call, fast_matrix=(oip_rows, lambda *_: None))
        columns = [
            InputTensor(name, "FP64", (count,), np.ascontiguousarray(column))
            for name, column in zip(NUMBERS, x.T, strict=True)
        ]
        name = f"validate binary columns, {counted_rows(count)}"
        call = partial(accept, schema, columns)
        yield case_with_replacement("`oip_rows.fast_columns`", name, call, fast_columns=(oip_rows, lambda *_: None))


def accept(schema: FeatureSchema, tensors: list[InputTensor]) -> ValidatedRows:
    return oip_rows.validate_inputs(schema, InferRequest(tensors), MAX_ROWS)


def tf_serving() -> Iterator[Case]:
    schema = regression().schema
    for count in (1, 100):
        body = json.dumps({"instances": rows_of(count)}).encode()
        call = partial(tfserving.read_predict, schema, body, MAX_ROWS)
        disabled = {"fast_instances": (tfserving, lambda *_: False)}
        yield case_with_replacement("`tfserving.fast_instances`", f"parse {counted_rows(count)}", call, **disabled)
    model = classification()
    fast, general = tfserving.TFServingWriter(model), tfserving.TFServingWriter(model)
    general._fast_rows = []
    for count in (1, 1_000):
        predicted = model.predict_rows(rows_of(count))
        calls = partial(fast.predictions, predicted), partial(general.predictions, predicted)
        yield Case("`tfserving.Writer._fast_rows`", f"write {counted_rows(count)} of classes", *calls)


def headers() -> Iterator[Case]:
    plain = {b"content-type": b"application/json", b"accept": b"*/*"}
    csv = {b"content-type": b"text/csv; charset=utf-8", b"accept": b"application/json, text/csv;q=0.5"}
    yield Case(
        "`is_plain_json`", "negotiate JSON", partial(negotiation.is_plain_json, plain), partial(negotiated_json, plain)
    )
    cached = ("parse_content_type", "body_format", "response_format", "parse_accept")
    uncached = {name: (negotiation, getattr(negotiation, name).__wrapped__) for name in cached}
    yield case_with_replacement(
        "caches of `negotiation`", "negotiate CSV", partial(negotiation.negotiate, csv), **uncached
    )


def negotiated_json(headers: dict[bytes, bytes]) -> bool:
    body, response = negotiation.negotiate(headers)
    return body is response is negotiation.JSON_FORMAT
