"""Lower limits: the cost of a predict request with only an HTTP server, parsing, the network and JSON.

`app` validates rows with pydantic, the lower limit for a request of one row; `loads` only parses, the lower limit for a
request of many rows; `tensors` reads the body as a matrix. Run by uvicorn with uvloop and httptools and one worker;
the response is the same for every path.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import orjson
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

FIELDS = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"]
COLUMNS = int(os.environ.get("BENCH_COLUMNS", len(FIELDS)))  # number of columns of the rows that `loads` receives

Row = TypedDict("Row", dict.fromkeys(FIELDS, float))  # type: ignore[misc]  # created from a list
Row.__pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)  # type: ignore[attr-defined]


class BareBody(TypedDict):
    rows: list[Row]


check = TypeAdapter(BareBody).validate_json

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

rng = np.random.default_rng(0)
W1, b1 = rng.standard_normal((COLUMNS, 32)).astype("f4"), np.zeros(32, "f4")
W2, b2 = rng.standard_normal((32, 1)).astype("f4"), np.zeros(1, "f4")


async def read_body(receive: Receive) -> bytes:
    chunks, more = [], True
    while more:
        message = await receive()
        chunks.append(message["body"])
        more = message.get("more_body", False)
    return b"".join(chunks)


def forward(x: Any) -> Any:
    return np.maximum(x @ W1 + b1, 0) @ W2 + b2  # (rows, 1)


async def answer(x: Any, send: Send) -> None:
    y = forward(x)
    body = orjson.dumps({"predictions": [{"value": v} for v in y[:, 0].tolist()]})
    await send_response(b"application/json", body, send)


async def send_response(content_type: bytes, body: bytes, send: Send) -> None:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    rows = check(await read_body(receive))["rows"]
    await answer(np.array([[row[name] for name in FIELDS] for row in rows], "f4"), send)  # type: ignore[literal-required]


async def loads(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    rows = orjson.loads(await read_body(receive))["rows"]
    await answer(np.array([list(row.values()) for row in rows], "f4"), send)


async def tensors(scope: Message, receive: Receive, send: Send) -> None:
    """The request and the response are float32 matrices, row by row."""
    if scope["type"] != "http":
        return
    x = np.frombuffer(await read_body(receive), "<f4").reshape(-1, COLUMNS)
    await send_response(b"application/octet-stream", forward(x).tobytes(), send)
