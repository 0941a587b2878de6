"""Lower limits without an ASGI server: an asyncio protocol that parses HTTP with httptools, on uvloop.

`--answer predictions` does the work of `bare_asgi.app`: it checks the rows with pydantic, runs the network and writes
JSON. `--answer fixed` returns the same bytes for every request, the lower limit of any HTTP server in Python. Both
send their responses without limits, time limits, metrics or ids.
"""

import argparse
import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import cast

import httptools
import numpy as np
import orjson
import uvloop

from loadtest.bench.bare_asgi import FIELDS, check, forward

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
FIXED = b'{"predictions":[{"value":1.25}]}'
Handler = Callable[[bytes], bytes]


def predictions(body: bytes) -> bytes:
    rows = check(body)["rows"]
    y = forward(np.array([[row[name] for name in FIELDS] for row in rows], "f4"))  # type: ignore[literal-required]
    return orjson.dumps({"predictions": [{"value": v} for v in y[:, 0].tolist()]})


def fixed(body: bytes) -> bytes:
    return FIXED


HANDLERS: dict[str, Handler] = {"predictions": predictions, "fixed": fixed}


class BareProtocol(asyncio.Protocol):
    """Answers every request of a connection in the call that receives its last byte."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        content, self._body = self._handle(self._body), b""
        self._transport.write(HEAD % len(content) + content)


async def serve(port: int, handle: Handler) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        server = await loop.create_server(lambda: BareProtocol(handle), sock=listener)
        await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer", choices=HANDLERS, default="predictions")
    options = parser.parse_args(arguments)
    uvloop.run(serve(options.port, HANDLERS[options.answer]))


if __name__ == "__main__":
    main()
