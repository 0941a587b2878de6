"""Work that a worker repeats in addition to its requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("tabserve.periodic_work")


async def repeat(work: Callable[[], Awaitable[None]], pause_s: float, failure: str) -> None:
    """Call `work` until cancelled, with a pause after each call. An error ends one call and is logged as `failure`."""
    while True:
        try:
            await work()
        except Exception:
            log.exception(failure)
        await asyncio.sleep(pause_s)
