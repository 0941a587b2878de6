"""Adapts the batch plans of a worker to the engine costs of all workers, and measures doubtful engines again."""

import asyncio
import logging
import time

from service.batcher import is_doubtful
from service.data_plane import DataPlane
from service.engine_cost import EngineCost
from service.periodic_work import repeat
from service.served_model import ServedModel

POLL_S = 1.0  # interval between two reads of the costs that other workers have measured
MEASURE_AGAIN_S = (2.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # seconds after the start, if the cost is still doubtful
log = logging.getLogger("tabserve.plans")


async def update_plans(plane: DataPlane) -> None:
    """Update the plans until cancelled."""
    started = time.monotonic()
    times = list(MEASURE_AGAIN_S)

    async def update() -> None:
        adopt_changes(plane)
        if times and time.monotonic() - started > times[0]:
            times.pop(0)
            await measure_doubtful(plane)

    await repeat(update, POLL_S, "batch plans cannot be updated")


def adopt_changes(plane: DataPlane) -> None:
    changes = plane.costs.changes()
    for served in plane.snapshot.served if changes else ():
        if (cost := changes.get(served.model.tag)) is not None:
            adopt(served, cost)


async def measure_doubtful(plane: DataPlane) -> None:
    """Measure again the engines whose plan could be different on an idle machine."""
    for served in plane.snapshot.served:
        if is_doubtful(served.batcher.cost):
            cost = await asyncio.to_thread(plane.costs.measure_again, served.model)
            if cost is not None:
                adopt(served, cost)


def adopt(served: ServedModel, cost: EngineCost) -> None:
    if cost == served.batcher.cost:
        return
    before = served.batcher.plan
    served.adopt(cost)
    if served.batcher.plan != before:
        log.info("batch plan updated", extra={"model": served.model.tag, **served.batcher.plan._asdict()})
