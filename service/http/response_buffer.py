"""The response of a large request while its client may not read yet."""

import asyncio
import tempfile
from collections import deque
from typing import IO, Self

from models.formats.blocks import CHUNK_BYTES
from service.data_plane import DataPlane
from service.errors import ClientDisconnected
from service.http.asgi_types import Send
from service.http.request_body import RequestBody

HELD_BYTES = 1024**2  # of an answer that waits to be sent; more goes to a temporary file, or waits for the client


class ResponseBuffer:
    """What is to be sent, by a task of its own: many clients send all of their body before they read a byte, and who
    waited for them to read would wait for ever.

    While the body comes, what the client does not read goes to a temporary file; once it is there, it is waited for.
    """

    def __init__(self, plane: DataPlane, body: RequestBody, send: Send, seconds: float) -> None:
        self._plane = plane
        self._body = body
        self._send = send
        self._seconds = seconds
        self._held: deque[bytes] = deque()
        self._file: IO[bytes] | None = None
        self._written = self._read = self._bytes = 0
        self._ended = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._gone: asyncio.Future[None] | None = None  # looked out for once the body is there

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self._gone:
            self._gone.cancel()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._file:
            self._file.close()

    async def put(self, content: bytes) -> None:
        """Raises ClientDisconnected when nobody takes it."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        if self._gone is None and self._body.complete:
            self._gone = asyncio.ensure_future(self._body.disconnected())
        while self._waits():
            self._emptied.clear()
            emptied = asyncio.ensure_future(self._emptied.wait())
            await asyncio.wait([emptied, self._task], return_when=asyncio.FIRST_COMPLETED)
            emptied.cancel()
        if self._task.done() or (self._gone and self._gone.done()):
            raise ClientDisconnected
        if self._written or (self._bytes > HELD_BYTES and not self._body.complete):
            await self._plane.run_in_thread(self._write, content)
        else:
            self._held.append(content)
            self._bytes += len(content)
        self._filled.set()

    def _waits(self) -> bool:
        assert self._task
        on_disk = self._written - self._read
        if self._task.done():
            return False
        if self._body.complete:
            return self._bytes + on_disk > HELD_BYTES
        return on_disk > self._plane.settings.max_stream_bytes

    async def end(self, last: bytes) -> None:
        """Put the last, and wait until all is sent."""
        await self.put(last)
        assert self._task
        self._ended = True
        self._filled.set()
        await asyncio.wait([self._task])
        if self._task.cancelled() or self._task.exception():
            raise ClientDisconnected

    async def _run(self) -> None:
        while True:
            if self._held:
                content = self._held.popleft()
                self._bytes -= len(content)
            elif self._written:
                content = await self._plane.run_in_thread(self._take)
            elif self._ended:
                await self._deliver(b"", more=False)
                return
            else:
                self._filled.clear()
                await self._filled.wait()
                continue
            if content:
                await self._deliver(content)
            self._emptied.set()

    async def _deliver(self, content: bytes, *, more: bool = True) -> None:
        """Raises ClientDisconnected where the client takes nothing, although it has sent all of its body."""
        sending = asyncio.ensure_future(self._send({"type": "http.response.body", "body": content, "more_body": more}))
        try:
            while not sending.done():
                all_there = self._body.complete
                done, _ = await asyncio.wait([sending], timeout=self._seconds)
                if not done and all_there:
                    raise ClientDisconnected
            sending.result()
        finally:
            sending.cancel()

    # The file; both run in the one thread beside the event loop

    def _write(self, content: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the exchange ends
        self._file.seek(self._written)
        self._file.write(content)
        self._written += len(content)

    def _take(self) -> bytes:
        assert self._file
        self._file.seek(self._read)
        content = self._file.read(CHUNK_BYTES)
        self._read += len(content)
        if self._read == self._written:
            self._file.truncate(0)
            self._read = self._written = 0
        return content
