"""Buffers the response of a large request until its body has been received, and then until its client reads it."""

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from typing import IO, Self

from models.formats.blocks import CHUNK_BYTES
from service.errors import ClientDisconnected
from service.http.asgi_types import Header
from service.http.http_exchange import HttpExchange

MAX_BUFFERED_BYTES = 1024**2  # limit in memory; the rest is written to a temporary file or waits for the client


class ResponseBuffer:
    """Sends a response in a separate task, once the body of its request is complete: nginx stops forwarding the body
    when the response starts, and many clients read nothing before they have sent their body.

    Until then, and for HTTP/1.0 until the response is complete, a temporary file stores the part beyond
    MAX_BUFFERED_BYTES. If memory is short, the response starts earlier. Once it has started, `put` waits for the
    client.
    """

    def __init__(self, exchange: HttpExchange, headers: Sequence[Header], seconds: float) -> None:
        self._exchange = exchange
        self._plane = exchange.context.plane
        self._body = exchange.body
        self._headers = headers
        self._send_timeout_s = seconds
        # In HTTP/1.0, clients cannot distinguish the end of a stream from a lost connection.
        self._whole = exchange.scope.get("http_version") == "1.0"
        self._chunks: deque[bytes] = deque()
        self._file: IO[bytes] | None = None
        self._written = self._read = self._bytes = 0
        self._ended = self._failed = self._disk_full = False
        self._may_start = asyncio.Event()
        self._has_content = asyncio.Event()
        self._has_room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._disconnected: asyncio.Future[None] | None = None  # watched once the body is complete

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
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
        assert self._task
        if self._disconnected is None and self._body.complete:
            self._disconnected = asyncio.ensure_future(self._body.disconnected())
        await self._wait_for_room()
        if self._on_disk or (self._bytes > MAX_BUFFERED_BYTES and not self._may_start.is_set()):
            await self._put_on_disk(content)
        else:
            self._put_in_memory(content)
        self._has_content.set()
        if self._body.complete and not self._whole and self._bytes + self._on_disk > MAX_BUFFERED_BYTES:
            self._may_start.set()

    async def _wait_for_room(self) -> None:
        assert self._task
        started = time.monotonic()
        while self._is_full() and not self._task.done():
            self._has_room.clear()
            has_room = asyncio.ensure_future(self._has_room.wait())
            await asyncio.wait([has_room, self._task], return_when=asyncio.FIRST_COMPLETED)
            has_room.cancel()
        self._exchange.sending += time.monotonic() - started
        if self._task.done() or (self._disconnected and self._disconnected.done()):
            raise ClientDisconnected

    def _is_full(self) -> bool:
        if not self._may_start.is_set():
            return False
        return self._bytes + self._on_disk > MAX_BUFFERED_BYTES or (self._disk_full and self._on_disk > 0)

    @property
    def _on_disk(self) -> int:
        return self._written - self._read

    def _put_in_memory(self, content: bytes) -> None:
        self._chunks.append(content)
        self._bytes += len(content)

    async def _put_on_disk(self, content: bytes) -> None:
        """Add content to the temporary file, or start the response and wait for the client if it does not fit there."""
        if self._on_disk <= self._plane.settings.max_stream_bytes:
            try:
                await self._plane.run_in_thread(self._write_file, content)
            except OSError:
                pass
            else:
                return
        self._disk_full = True
        self._may_start.set()
        await self._wait_for_room()
        self._put_in_memory(content)

    def withdraw(self) -> bool:
        """Drop the response if no part of it was sent. Returns whether it was dropped."""
        assert self._task
        if not self._exchange.begun:
            self._task.cancel()
        return not self._exchange.begun

    async def end(self, last: bytes, *, failed: bool = False) -> None:
        """Add the last content and wait until everything is sent. Raises ClientDisconnected.

        failed: the response is incomplete, so its connection is ended, and no client considers it complete.
        """
        await self.put(last)
        assert self._task
        self._ended, self._failed = True, failed
        self._may_start.set()
        self._has_content.set()
        started = time.monotonic()
        await asyncio.wait([self._task])
        self._exchange.sending += time.monotonic() - started
        if self._task.cancelled() or self._task.exception():
            raise ClientDisconnected

    async def _run(self) -> None:
        await self._may_start.wait()
        await self._start()
        while True:
            if self._chunks:
                content = self._chunks.popleft()
                self._bytes -= len(content)
            elif self._on_disk:
                content = await self._plane.run_in_thread(self._read_file)
            elif self._ended:
                break
            else:
                self._has_content.clear()
                await self._has_content.wait()
                continue
            if content:
                await self._send_chunk(content)
            self._has_room.set()
        if self._failed:
            self._exchange.abort()
        else:
            await self._send_chunk(b"", more=False)

    async def _start(self) -> None:
        headers = [*self._headers, *self._exchange.common_headers]
        if self._ended:
            headers.append((b"content-length", b"%d" % (self._bytes + self._on_disk)))
        self._exchange.begun = True
        await self._exchange.send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _send_chunk(self, content: bytes, *, more: bool = True) -> None:
        """Raises ClientDisconnected if the client stops reading after its body is complete."""
        message = {"type": "http.response.body", "body": content, "more_body": more}
        sending = asyncio.ensure_future(self._exchange.send(message))
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
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed when the exchange ends
        self._file.seek(self._written)
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]
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
