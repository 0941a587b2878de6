"""A request leaves no reference cycles, whose collection would cost 10 % of the time of a request."""

import asyncio
import gc
import json
from typing import Any

import pytest

from service.http.asgi import Application
from tests.service.conftest import HOME
from tests.service.server.conftest import listening

REQUESTS = 200
ROW = json.dumps({"rows": [HOME]}).encode()
CSV = ",".join(HOME).encode() + b"\n12,Adoption,1.5,true,2013-04-01,2\n"


def encoded_request(path: str, content_type: str, body: bytes) -> bytes:
    lines = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return lines.encode() + body


REQUESTS_BY_KIND = {
    "row": encoded_request("/predict/homes", "application/json", ROW),  # answered directly
    "row, by the application": encoded_request("/predict/homes?on_invalid=fail", "application/json", ROW),
    # 422: a model without a background
    "explanation": encoded_request("/predict/homes?explain=fast", "application/json", ROW),
    "table": encoded_request("/predict/homes", "text/csv", CSV),
    "page": b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n",
    "error": encoded_request("/predict/homes", "application/json", b'{"rows": [{}]}'),
    "invalid JSON": encoded_request("/predict/homes", "application/json", b"{"),
    "unknown": b"GET /unknown HTTP/1.1\r\nHost: x\r\n\r\n",
}


async def unreachable_objects_per_request(app: Any, request: bytes) -> float:
    async with listening(app) as address:
        reader, writer = await asyncio.open_connection(*address)

        async def send(count: int) -> None:
            for _ in range(count):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                await reader.readexactly(int(length.partition(b":")[2]))

        await send(20)
        gc.collect()
        gc.disable()
        try:
            await send(REQUESTS)
            found = gc.collect()
        finally:
            gc.enable()
        writer.close()
    return found / REQUESTS


@pytest.mark.parametrize("kind", REQUESTS_BY_KIND)
def test_requests_leave_no_reference_cycles(asgi_app: Application, kind: str) -> None:
    assert asyncio.run(unreachable_objects_per_request(asgi_app, REQUESTS_BY_KIND[kind])) < 0.5


def test_a_reference_cycle_is_detected() -> None:
    """The measurement detects an application that leaves one reference cycle per request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["itself"] = scope
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    assert asyncio.run(unreachable_objects_per_request(app, REQUESTS_BY_KIND["page"])) >= 1
