"""Work of a thread in short turns, between which the event loop can have Python's lock.

The interpreter takes the lock from a thread only after 5 ms, so each request that arrives while another thread runs
Python code would wait that long. Here the thread gives the lock up by itself. The thread of the event loop keeps its
long turns: with shorter turns of all threads, its requests would be interrupted, too.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

TURN_S = 0.0005  # a single call of a function in C may take longer
PAUSE_S = 0.0001  # with a shorter one this thread would take the lock again before another one has woken up


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """Give the lock up again and again, in this thread. Does nothing while a profiler is measuring it."""
    if sys.getprofile() is not None:
        yield
        return
    sys.setprofile(pauses())
    try:
        yield
    finally:
        sys.setprofile(None)


def pauses() -> Callable[[FrameType, str, Any], None]:
    """A function that Python calls at each call and return of the thread. It waits after each turn."""
    clock, turn_s, end = time.perf_counter, TURN_S, time.perf_counter() + TURN_S

    def pause_after_turn(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal end
        if clock() > end:
            time.sleep(PAUSE_S)
            end = clock() + turn_s

    return pause_after_turn
