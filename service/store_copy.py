"""Keeps the local copy of a store at a URL up to date while a server runs."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from models.mirror_plan import MirrorSelection
from models.mirror_sync import MirrorSync
from models.store_mirror import mirror_of
from service.periodic_work import repeat
from service.settings import Settings
from service.wanted_versions import Selection

POLL_S = 1.0  # interval between two reads of `serving.json` in the store; each read is one request


def fill(settings: Settings, selection: Selection) -> None:
    """Copy the served versions before the server starts, if its store is at a URL. Raises ServingStateError."""
    if (sync := sync_of(settings, selection)) is not None:
        sync.fill()


def follow(settings: Settings, selection: Selection) -> Coroutine[Any, Any, None] | None:
    """A coroutine that copies changes until cancelled; None if the store is a folder."""
    sync = sync_of(settings, selection)
    return None if sync is None else follow_store(sync)


async def follow_store(sync: MirrorSync) -> None:
    async def poll() -> None:
        await asyncio.to_thread(sync.poll)

    try:
        await repeat(poll, POLL_S, "the store cannot be copied")
    finally:
        sync.close()


def sync_of(settings: Settings, selection: Selection) -> MirrorSync | None:
    mirror = mirror_of(settings.store)
    return None if mirror is None else MirrorSync(mirror, MirrorSelection(selection.names, selection.pins))
