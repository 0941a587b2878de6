"""The limits: what a predict request costs with nothing but an HTTP server, parsing, the network and JSON.

`app` checks one table's rows with pydantic, as the floor of a request of one row; `loads` only parses, as the floor of
a request of many; `tensors` takes the body as the matrix that it is. Run by uvicorn with uvloop and httptools, one
worker; every path answers.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import orjson
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

FIELDS = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"]
COLUMNS = int(os.environ.get("BENCH_COLUMNS", len(FIELDS)))  # of what `loads` is sent

Row = TypedDict("Row", dict.fromkeys(FIELDS, float))  # type: ignore[misc]  # made from a list
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


async def body_of(receive: Receive) -> bytes:
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
    await send_whole(b"application/json", body, send)


async def send_whole(kind: bytes, body: bytes, send: Send) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    rows = check(await body_of(receive))["rows"]
    await answer(np.array([[row[name] for name in FIELDS] for row in rows], "f4"), send)  # type: ignore[literal-required]


async def loads(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    rows = orjson.loads(await body_of(receive))["rows"]
    await answer(np.array([list(row.values()) for row in rows], "f4"), send)


async def tensors(scope: Message, receive: Receive, send: Send) -> None:
    """float32, row by row, there and back."""
    if scope["type"] != "http":
        return
    x = np.frombuffer(await body_of(receive), "<f4").reshape(-1, COLUMNS)
    await send_whole(b"application/octet-stream", forward(x).tobytes(), send)
