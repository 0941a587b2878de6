"""An orderly stop: unready first, then the requests in flight are finished."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from service.server_state import ServerState

STOP_S = 25.0  # for requests in flight, once the grace is over
log = logging.getLogger("tabserve.process")


def drain_on_signals(
    server: uvicorn.Server, state: ServerState, grace: float, tell: Callable[[], Awaitable[None]] | None = None
) -> None:
    """On SIGTERM turn unready, answer on for the grace, then refuse, finish what is in flight and let uvicorn stop.

    SIGINT (a person who waits) has no grace. A second SIGINT stops at once. tell: who else is to know of it first.
    """
    loop = asyncio.get_running_loop()
    theirs: Callable[..., Any] = server.handle_exit

    def on_signal(number: int, frame: Any) -> None:
        if state.draining:
            if number == signal.SIGINT:
                theirs(number, frame)
            return
        state.begin_draining()
        wait = grace if number == signal.SIGTERM else 0.0
        loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(stop(number, frame, wait))))

    async def stop(number: int, frame: Any, wait: float) -> None:
        log.info("draining", extra={"grace_s": wait, "inflight": state.inflight})
        if tell:
            await tell()
        await asyncio.sleep(wait)
        state.close()
        until = loop.time() + STOP_S
        while state.inflight and loop.time() < until:
            await asyncio.sleep(0.05)
        theirs(number, frame)

    tasks: list[asyncio.Task[None]] = []
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
