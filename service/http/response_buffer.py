"""Buffers the response of a large request while its client is not reading."""

import asyncio
import tempfile
from collections import deque
from typing import IO, Self

from models.formats.blocks import CHUNK_BYTES
from service.data_plane import DataPlane
from service.errors import ClientDisconnected
from service.http.asgi_types import Send
from service.http.request_body import RequestBody

MAX_BUFFERED_BYTES = 1024**2  # in memory; more goes to a temporary file or waits for the client


class ResponseBuffer:
    """Sends a response in a task of its own. Many clients send their whole body before they read a byte: waiting for
    them to read would never end.

    While the body is still being received, a temporary file takes what the client does not read. Once the body is
    complete, `put` waits for the client.
    """

    def __init__(self, plane: DataPlane, body: RequestBody, send: Send, seconds: float) -> None:
        self._plane = plane
        self._body = body
        self._send = send
        self._send_timeout_s = seconds
        self._chunks: deque[bytes] = deque()
        self._file: IO[bytes] | None = None
        self._written = self._read = self._bytes = 0
        self._ended = False
        self._has_content = asyncio.Event()
        self._has_room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._disconnected: asyncio.Future[None] | None = None  # watched once the body is complete

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self._disconnected:
            self._disconnected.cancel()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._file:
            self._file.close()

    async def put(self, content: bytes) -> None:
        """Add content to the buffer. Raises ClientDisconnected if the client has closed the connection."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        if self._disconnected is None and self._body.complete:
            self._disconnected = asyncio.ensure_future(self._body.disconnected())
        while self._is_full():
            self._has_room.clear()
            has_room = asyncio.ensure_future(self._has_room.wait())
            await asyncio.wait([has_room, self._task], return_when=asyncio.FIRST_COMPLETED)
            has_room.cancel()
        if self._task.done() or (self._disconnected and self._disconnected.done()):
            raise ClientDisconnected
        if self._written or (self._bytes > MAX_BUFFERED_BYTES and not self._body.complete):
            await self._plane.run_in_thread(self._write_file, content)
        else:
            self._chunks.append(content)
            self._bytes += len(content)
        self._has_content.set()

    def _is_full(self) -> bool:
        assert self._task
        on_disk = self._written - self._read
        if self._task.done():
            return False
        if self._body.complete:
            return self._bytes + on_disk > MAX_BUFFERED_BYTES
        return on_disk > self._plane.settings.max_stream_bytes

    async def end(self, last: bytes) -> None:
        """Add the last content and wait until everything is sent. Raises ClientDisconnected."""
        await self.put(last)
        assert self._task
        self._ended = True
        self._has_content.set()
        await asyncio.wait([self._task])
        if self._task.cancelled() or self._task.exception():
            raise ClientDisconnected

    async def _run(self) -> None:
        while True:
            if self._chunks:
                content = self._chunks.popleft()
                self._bytes -= len(content)
            elif self._written:
                content = await self._plane.run_in_thread(self._read_file)
            elif self._ended:
                await self._send_chunk(b"", more=False)
                return
            else:
                self._has_content.clear()
                await self._has_content.wait()
                continue
            if content:
                await self._send_chunk(content)
            self._has_room.set()

    async def _send_chunk(self, content: bytes, *, more: bool = True) -> None:
        """Raises ClientDisconnected if the client stops reading after its body is complete."""
        sending = asyncio.ensure_future(self._send({"type": "http.response.body", "body": content, "more_body": more}))
        try:
            while not sending.done():
                body_complete = self._body.complete
                done, _ = await asyncio.wait([sending], timeout=self._send_timeout_s)
                if not done and body_complete:
                    raise ClientDisconnected
            sending.result()
        finally:
            sending.cancel()

    # The temporary file: both functions run in the data plane's thread

    def _write_file(self, content: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the exchange ends
        self._file.seek(self._written)
        self._file.write(content)
        self._written += len(content)

    def _read_file(self) -> bytes:
        assert self._file
        self._file.seek(self._read)
        content = self._file.read(CHUNK_BYTES)
        self._read += len(content)
        if self._read == self._written:
            self._file.truncate(0)
            self._read = self._written = 0
        return content
