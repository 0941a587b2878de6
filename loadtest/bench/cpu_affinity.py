"""Separate cores for the client and for the servers it measures, where the system lets a process choose."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """Run this thread on these cores meanwhile, and the processes that it starts; an empty set changes nothing."""
    if sys.platform != "linux" or not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def shared_out() -> tuple[set[int], set[int]]:
    """A core for the client, and the others for the servers. Both are empty where there is one core only."""
    if sys.platform != "linux":
        return set(), set()
    first, *others = sorted(os.sched_getaffinity(0))
    return ({first}, {*others}) if others else (set(), set())
