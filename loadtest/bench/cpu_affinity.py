"""Separate CPU cores for the client and for the servers, if the operating system supports it."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def pinned_to(cores: set[int]) -> Iterator[None]:
    """Run this thread and the processes that it starts on these cores; an empty set changes nothing."""
    if sys.platform != "linux" or not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def client_and_server_cores() -> tuple[set[int], set[int]]:
    """One core for the client, the others for the servers. Both sets are empty if there is only one core."""
    if sys.platform != "linux":
        return set(), set()
    first, *others = sorted(os.sched_getaffinity(0))
    return ({first}, {*others}) if others else (set(), set())
