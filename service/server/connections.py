"""Watches over the connections of a worker: our protocol class, and connections that send nothing are closed."""

import asyncio
import logging

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.server.connection_balancer import accept_connections
from service.server.draining import STOP_S
from service.server.http_protocol import GuardedHttpProtocol
from service.server.worker import shared_folder

HEAD_S = 5.0  # for a connection to send the head of a request


def guard(server: uvicorn.Server) -> "list[asyncio.Task[None]]":
    """Watch over the connections. Keep the tasks; they end when cancelled."""
    server.config.http_protocol_class = GuardedHttpProtocol
    server.config.ws_protocol_class = None
    server.config.timeout_graceful_shutdown = int(STOP_S)
    logging.getLogger("uvicorn.access").propagate = False  # uvicorn writes a line where anyone would read it

    def protocol() -> GuardedHttpProtocol:
        return GuardedHttpProtocol(
            config=server.config, server_state=server.server_state, app_state=server.lifespan.state
        )

    watches = (close_silent_connections(server), accept_connections(server, protocol, shared_folder()))
    return [asyncio.create_task(watch) for watch in watches]


async def close_silent_connections(server: uvicorn.Server) -> None:
    """Close connections that for HEAD_S have not sent the head of a request."""
    since: dict[tuple[int, int], float] = {}
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(1)
        still: dict[tuple[int, int], float] = {}
        for connection in list(server.server_state.connections):
            if not isinstance(connection, HttpToolsProtocol) or connection.timeout_keep_alive_task is not None:
                continue
            cycle = connection.cycle
            if cycle is None or cycle.response_complete:
                key = (id(connection), id(cycle))
                still[key] = since.get(key, loop.time())
                if loop.time() - still[key] > HEAD_S:
                    connection.timeout_keep_alive_handler()
        since = still
