"""Reads the messages of gRPC calls within the memory budget.

gRPC reads the message of a unary call before it calls the handler. Calls are therefore handled as streams of requests,
which makes no difference to clients: the handler decides when to read, and flow control stops the client until then.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from service.errors import BadBody, BodyTooSlow
from service.memory_budget import MemoryBudget, Reservation, memory_of_body

MAX_UNRESERVED_READS = 4  # messages that are read at once without a reservation, because most are small
UNRESERVED_SHARE = 0.125  # upper limit of these reads as a fraction of the budget
UNRESERVED_S = 0.02  # a message that takes longer may be large: it needs a reservation if other messages wait
MAX_UNRESERVED_S = 1.0  # after this time a message needs a reservation even if no other message waits
COPIES = 2  # copies of a message in memory while it is received
FLOW_CONTROL = [
    ("grpc.http2.lookahead_bytes", 64 * 1024),  # bytes that a client may send before its message is read
    ("grpc.http2.bdp_probe", 0),  # off, because it would raise this limit to megabytes on a fast connection
    ("grpc.max_concurrent_streams", 256),  # concurrent calls of a connection; clients delay further calls
]


class MessageReader:
    """Reads the messages of all calls of a server. max_bytes: the maximum size of a message."""

    def __init__(self, memory: MemoryBudget, max_bytes: int) -> None:
        self.memory = memory
        self.max_bytes = max_bytes
        self._waiting = 0  # calls that wait for an unreserved read
        self._unreserved: asyncio.Semaphore | None = None

    def _unreserved_reads(self) -> asyncio.Semaphore:
        """The semaphore that limits unreserved reads. The first call creates it: the budget is known once the server
        has started."""
        if self._unreserved is None:
            limit = self.memory.limit
            fitting = MAX_UNRESERVED_READS if limit is None else int(UNRESERVED_SHARE * limit / self.max_bytes)
            self._unreserved = asyncio.Semaphore(min(max(fitting, 1), MAX_UNRESERVED_READS))
        return self._unreserved

    async def read_unreserved(self, context: Any) -> "asyncio.Future[Any]":
        """Begin to read a message. Returns when it is complete, or when it needs a reservation to continue."""
        turns = self._unreserved_reads()
        self._waiting += 1
        try:
            await turns.acquire()
        finally:
            self._waiting -= 1
        try:
            # The read is never cancelled, because gRPC writes into its buffers.
            reading: asyncio.Future[Any] = asyncio.ensure_future(context.read())
            reading.add_done_callback(ignore_failure)
            until = time.monotonic() + MAX_UNRESERVED_S
            while not reading.done():
                await asyncio.wait([reading], timeout=UNRESERVED_S)
                await process_received_data(reading)
                if self._waiting or time.monotonic() > until:
                    break
            return reading
        finally:
            turns.release()


class IncomingMessage:
    """The message of one call, and its part of the memory budget, which is released when the call has ended."""

    def __init__(self, reader: MessageReader, context: Any) -> None:
        self._reader = reader
        self._context = context
        self._reservation = Reservation(reader.memory)

    async def read(self, seconds: float) -> bytes:
        """Read the message. Raises OutOfMemory, BodyTooSlow or BadBody.

        The size of a message is unknown until it is complete. A message that is not complete at once therefore reserves
        the memory that the largest message needs.
        """
        reading = await self._reader.read_unreserved(self._context)
        if not reading.done():
            self._reservation.resize(COPIES * self._reader.max_bytes)
            await asyncio.wait([reading], timeout=seconds)
            if not reading.done():
                raise BodyTooSlow(seconds)
        message = reading.result()
        if message is grpc.aio.EOF:  # or the message is too large, which gRPC has reported to the client
            raise BadBody("the call has no message")
        body: bytes = message
        self._reservation.resize(memory_of_body(len(body)))
        return body

    def release(self) -> None:
        self._reservation.close()


def ignore_failure(reading: "asyncio.Future[Any]") -> None:
    """Read the exception of a read whose call has ended, so that asyncio does not log it."""
    if not reading.cancelled():
        reading.exception()


async def process_received_data(reading: "asyncio.Future[Any]") -> None:
    """Let the event loop process received data: after a busy time, the message may be complete already."""
    for _ in range(3):
        if not reading.done():
            await asyncio.sleep(0)


def unary_handler(handler: Callable[[Any], Awaitable[bytes]]) -> Any:
    """The handler of a unary call. `handler` receives the context and reads the message with `IncomingMessage`."""

    async def handle(_: Any, context: Any) -> bytes:
        return await handler(context)

    return grpc.stream_unary_rpc_method_handler(handle)
