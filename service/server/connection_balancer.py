"""Which worker takes the next connection, and how many at once.

libuv takes one in each turn of the event loop. Under load a turn serves every connection that is there already, so
those still waiting would wait for as many such turns as there are before them: seconds. And of several workers that
wait on one listening socket, the one that wakes first takes nearly all connections that are opened together. So each
worker takes what waits in bulk, but where it holds more than another, it leaves that one a moment to take them first.
"""

import asyncio
import contextlib
import logging
import mmap
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.metrics import alive

ACCEPTED_AT_ONCE = 64
MORE_THAN_OTHERS = 2  # a worker may hold so many more than the one with the fewest, and one for each PART it holds
PART = 16
LEFT_TO_OTHERS_S = 0.001
TELL_S = 0.05
LOOK_S = 0.5
RETRY_S = 1.0
PREFIX = "connections_"
log = logging.getLogger("tabserve.process")


class ConnectionCounts:
    """How many connections each worker of this server holds: a number in a mapped file each, in a folder they share."""

    def __init__(self, folder: Path | None) -> None:
        """folder: None where there are no other workers."""
        self._folder = folder
        self._own = folder and folder / f"{PREFIX}{os.getpid()}"
        self._others: dict[str, memoryview] = {}
        self._mine = memoryview(bytearray(4)).cast("i")
        if self._own:
            self._own.unlink(missing_ok=True)  # of a worker that died and had the same process id; some may map it
            self._own.write_bytes(bytes(4))
            self._mine = mapped(self._own)
        self.look()

    def tell(self, count: int) -> None:
        """Let the others know how many this worker holds."""
        self._mine[0] = count

    def room(self, held: int) -> int:
        """How many more this worker may take, when it holds so many, before it is another's turn; none if below 1."""
        if not self._others:
            return ACCEPTED_AT_ONCE
        fewest = min(other[0] for other in self._others.values())
        return fewest + MORE_THAN_OTHERS + held // PART - held

    def look(self) -> None:
        """Find workers that have come, forget those that have gone."""
        if not self._folder:
            return
        files = [file for file in self._folder.glob(f"{PREFIX}*") if file.name[len(PREFIX) :].isdecimal()]
        found = {file.name: file for file in files if file != self._own}
        for name, file in list(found.items()):
            if not alive(int(name[len(PREFIX) :])):
                file.unlink(missing_ok=True)
                del found[name]
            elif name not in self._others:
                with contextlib.suppress(OSError, ValueError):  # just gone, or not yet written
                    self._others[name] = mapped(file)
        for name in self._others.keys() - found.keys():
            del self._others[name]

    def close(self) -> None:
        if self._own:
            self._own.unlink(missing_ok=True)


def mapped(file: Path) -> memoryview:
    with file.open("r+b") as opened:
        return memoryview(mmap.mmap(opened.fileno(), 4)).cast("i")


class Acceptor:
    """Takes the connections of a uvicorn server, and stands where that keeps the listeners of its loop."""

    def __init__(
        self, server: uvicorn.Server, protocol: Callable[[], HttpToolsProtocol], held: ConnectionCounts
    ) -> None:
        """server: has started."""
        self._connections = server.server_state.connections
        self._protocol = protocol
        self._held = held
        self._loop = asyncio.get_running_loop()
        self._new: set[asyncio.Task[None]] = set()
        self.sockets = [socket.socket(fileno=os.dup(each.fileno())) for own in server.servers for each in own.sockets]
        for own in server.servers:
            own.close()
        for listener in self.sockets:
            listener.setblocking(False)
            self._loop.add_reader(listener, self._on_readable, listener)

    def close(self) -> None:
        for listener in self.sockets:
            self._loop.remove_reader(listener)
            listener.close()
        self.sockets = []
        self._held.close()

    async def wait_closed(self) -> None:
        """As uvicorn asks of a listener; nothing is left to wait for."""

    async def watch(self) -> None:
        """Keep the other workers informed about this one, and this one about them."""
        while self.sockets:
            try:
                self._held.look()
            except Exception as error:  # out of file descriptors, mostly: what is known will do until there are some
                log.warning("other workers cannot be seen", extra={"reason": str(error), "retry_s": LOOK_S})
            for _ in range(round(LOOK_S / TELL_S)):
                await asyncio.sleep(TELL_S)
                self._held.tell(self._count())

    def _count(self) -> int:
        return len(self._connections) + len(self._new)

    def _on_readable(self, listener: socket.socket) -> None:
        room = self._held.room(self._count())
        if room > 0:
            self._take(listener, room)
        else:
            self._pause(listener, LEFT_TO_OTHERS_S)

    def _pause(self, listener: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(listener)
        self._loop.call_later(seconds, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        if listener in self.sockets:
            self._loop.add_reader(listener, self._on_readable, listener)
            count = self._count()
            self._take(listener, max(1, count // PART, self._held.room(count)))

    def _take(self, listener: socket.socket, most: int) -> None:
        for _ in range(min(most, ACCEPTED_AT_ONCE)):
            try:
                accepted, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:  # out of file descriptors, mostly: those who wait may find some later
                log.warning("no connection can be accepted", extra={"reason": str(error), "retry_s": RETRY_S})
                self._pause(listener, RETRY_S)
                break
            accepted.setblocking(False)
            task = self._loop.create_task(self._serve(accepted))
            self._new.add(task)
            task.add_done_callback(self._new.discard)
        self._held.tell(self._count())

    async def _serve(self, accepted: socket.socket) -> None:
        try:
            _, protocol = await self._loop.connect_accepted_socket(self._protocol, accepted)
        except OSError:  # gone already
            accepted.close()
            return
        if not self.sockets:  # uvicorn has told the others already that it stops
            protocol.shutdown()


async def accept_connections(
    server: uvicorn.Server, protocol: Callable[[], HttpToolsProtocol], folder: Path | None
) -> None:
    """Take the connections of a server, as soon as it has started, until it closes its listeners.

    folder: shared by the workers of one server and by nobody else; None where there is but one.
    """
    while not server.started:
        await asyncio.sleep(TELL_S)
    try:
        acceptor = Acceptor(server, protocol, ConnectionCounts(folder))
    except OSError as error:  # uvloop's listeners stay
        log.warning("connections are not shared between workers", extra={"reason": str(error)})
        return
    server.servers = [cast(Any, acceptor)]
    try:
        await acceptor.watch()
    finally:
        acceptor.close()
