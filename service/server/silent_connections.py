"""Closes connections that send no request head."""

import asyncio

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 5.0  # time for a connection to send a request head
CHECK_INTERVAL_S = 1.0


async def close_silent_connections(server: uvicorn.Server) -> None:
    """Close connections that have not sent a request head for HEAD_S. Runs until cancelled."""
    since: dict[tuple[int, int], float] = {}
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(CHECK_INTERVAL_S)
        silent: dict[tuple[int, int], float] = {}
        for connection in list(server.server_state.connections):
            if not isinstance(connection, HttpToolsProtocol) or connection.timeout_keep_alive_task is not None:
                continue
            cycle = connection.cycle
            if cycle is None or cycle.response_complete:
                key = (id(connection), id(cycle))
                silent[key] = since.get(key, loop.time())
                if loop.time() - silent[key] > HEAD_S:
                    connection.timeout_keep_alive_handler()
        since = silent
