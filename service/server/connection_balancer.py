"""Accepts the connections of a worker in bulk, and balances them between the workers of a server.

libuv accepts one connection per turn of the event loop. Under load, each turn serves all open connections, so a new
connection would wait for seconds: one turn for each connection before it. If workers share a listening socket, the
first worker to wake accepts nearly all connections that are opened together. So each worker accepts in bulk, but a
worker with more connections than another worker pauses for a moment, so that the other worker accepts first.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from models.library_hook import require
from service.server.connection_counts import CONNECTIONS_PER_LEAD, ConnectionCounts
from service.server.library_hooks import uvicorn_hooks
from service.server.tls import HANDSHAKE_S, TlsContext

MAX_ACCEPTS = 64  # maximum number of connections accepted in one turn of the event loop
YIELD_S = 0.001  # the pause that lets other workers accept first
PUBLISH_INTERVAL_S = 0.05
REFRESH_INTERVAL_S = 0.5
RETRY_S = 1.0
log = logging.getLogger("tabserve.server")


class ConnectionBalancer:
    """Replaces the listeners in `servers` of a uvicorn server."""

    def __init__(
        self,
        server: uvicorn.Server,
        protocol: Callable[[], HttpToolsProtocol],
        counts: ConnectionCounts,
        tls: TlsContext | None = None,
    ) -> None:
        """server: a started server. Raises OSError if file descriptors run out; then uvicorn's listeners remain."""
        if server.config.is_ssl and tls is None:
            raise RuntimeError("a server with TLS would accept connections without it")
        self._connections = server.server_state.connections
        self._protocol = protocol
        self._counts = counts
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        listeners = [listener for each in server.servers for listener in each.sockets]
        self.sockets = [socket.socket(fileno=os.dup(listener.fileno())) for listener in listeners]
        for each in server.servers:
            each.close()
        for listener in self.sockets:
            listener.setblocking(False)
            self._loop.add_reader(listener, self._on_readable, listener)
        server.servers = [cast(Any, self)]

    def check(self, server: uvicorn.Server) -> None:
        """Raises LibraryHookMissing if the server's connections are not accepted here."""
        if cast(Any, server.servers) != [self]:
            require(uvicorn_hooks.LISTENERS, f"Server.servers holds {server.servers!r}")
        for listener in self.sockets:
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                require(uvicorn_hooks.LISTENERS, "a socket no longer listens when uvicorn's listener is closed")

    def close(self) -> None:
        for listener in self.sockets:
            self._loop.remove_reader(listener)
            listener.close()
        self.sockets = []
        self._counts.close()

    async def wait_closed(self) -> None:
        """uvicorn awaits this for each listener; it returns immediately."""

    async def exchange_counts(self) -> None:
        """Publish the count of this worker and read the counts of the other workers, until closed."""
        while self.sockets:
            try:
                self._counts.refresh()
            except Exception as error:  # usually out of file descriptors: the last known counts are used meanwhile
                log.warning(
                    "cannot read the connection counts of other workers",
                    extra={"reason": str(error), "retry_s": REFRESH_INTERVAL_S},
                )
            for _ in range(round(REFRESH_INTERVAL_S / PUBLISH_INTERVAL_S)):
                await asyncio.sleep(PUBLISH_INTERVAL_S)
                self._counts.publish(self._count())

    def _count(self) -> int:
        return len(self._connections) + len(self._handshakes)

    def _on_readable(self, listener: socket.socket) -> None:
        capacity = self._counts.capacity(self._count())
        if capacity > 0:
            self._accept(listener, capacity)
        else:
            self._pause(listener, YIELD_S)

    def _pause(self, listener: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(listener)
        self._loop.call_later(seconds, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        """Accept at least one connection, because a hanging worker may appear to have few connections forever."""
        if listener in self.sockets:
            self._loop.add_reader(listener, self._on_readable, listener)
            count = self._count()
            self._accept(listener, max(1, count // CONNECTIONS_PER_LEAD, self._counts.capacity(count)))

    async def finish_handshakes(self) -> None:
        """Wait until the connections that were accepted are ready for a request."""
        if self._handshakes:
            await asyncio.wait(self._handshakes, timeout=HANDSHAKE_S)

    def accept_all(self) -> None:
        """Accept all connections in the backlog."""
        for listener in self.sockets:
            while self._accept(listener, MAX_ACCEPTS):
                pass

    def _accept(self, listener: socket.socket, limit: int) -> bool:
        """Accept up to `limit` connections. Returns whether more connections may wait."""
        more = True
        for _ in range(min(limit, MAX_ACCEPTS)):
            try:
                accepted, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                more = False
                break
            except OSError as error:  # usually out of file descriptors, some of which may be free later
                log.warning("cannot accept connections", extra={"reason": str(error), "retry_s": RETRY_S})
                self._pause(listener, RETRY_S)
                more = False
                break
            accepted.setblocking(False)
            task = self._loop.create_task(self._serve(accepted))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)
        self._counts.publish(self._count())
        return more

    async def _serve(self, accepted: socket.socket) -> None:
        try:
            options = self._tls.options if self._tls else {}
            _, protocol = await self._loop.connect_accepted_socket(self._protocol, accepted, **options)
        except OSError:  # the client has disconnected, or its TLS handshake has failed
            accepted.close()
            return
        if not self.sockets:  # uvicorn may already have shut down all other connections
            protocol.shutdown()
