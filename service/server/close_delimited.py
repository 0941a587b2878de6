"""Responses of unknown length to HTTP/1.0 clients: without chunks, the end of the connection ends the body."""

import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def delimit_by_close(cycle: RequestResponseCycle) -> None:
    """Send the response to an HTTP/1.0 request without chunks, even if it has no Content-Length.

    uvicorn closes the connection after each response to an HTTP/1.0 client.
    """
    send: Any = cycle.send
    has_length = True

    async def send_without_chunks(message: Any) -> None:
        nonlocal has_length
        if message["type"] == "http.response.start":
            has_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            if not has_length:
                cycle.chunked_encoding = False
                cycle.expected_content_length = sys.maxsize  # uvicorn subtracts the sent bytes
        elif not has_length and not message.get("more_body", False):
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = send_without_chunks  # type: ignore[method-assign]  # of this response only
