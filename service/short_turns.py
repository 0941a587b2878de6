"""Work of a thread in short turns, between which the event loop can acquire Python's lock.

The interpreter takes the lock from a thread only after 5 ms, so each request that arrives while another thread runs
Python code would wait that long. Here, the thread releases the lock itself. The thread of the event loop keeps its long
turns: with shorter turns of all threads, its requests would be interrupted, too.

The background process pauses in the same way, so that its worker can use the processor. `run_module` starts such a
process, so that its imports pause, too: `python -m service.short_turns MODULE …`.
"""

import contextlib
import runpy
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

TURN_S = 0.0005  # a single call of a function in C may take longer
PAUSE_S = 0.0001  # after a shorter pause, this thread would acquire the lock again before another thread has woken up
# Without pauses, the system could let a background process run for several milliseconds while the worker is waiting for
# the processor: Linux may do so in spite of the priorities if a thread of the worker has just run.
PROCESS_TURN_S = 0.0003
PROCESS_PAUSE_S = 0.00001  # the timers of Linux extend it to 0.05 to 0.1 ms


@contextlib.contextmanager
def short_turns(turn_s: float = TURN_S, pause_s: float = PAUSE_S) -> Iterator[None]:
    """Pause for `pause_s` after each `turn_s` of work of this thread, in seconds. A pause releases the lock.

    Does nothing while a profiler is measuring the thread.
    """
    if sys.getprofile() is not None:
        yield
        return
    sys.setprofile(turn_tracer(turn_s, pause_s))
    try:
        yield
    finally:
        sys.setprofile(None)


def turn_tracer(turn_s: float, pause_s: float) -> Callable[[FrameType, str, Any], None]:
    """A function that Python calls at each call and return in the thread. It pauses after each turn."""
    clock, end = time.perf_counter, time.perf_counter() + turn_s

    def pause_after_turn(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal end
        if clock() > end:
            time.sleep(pause_s)
            end = clock() + turn_s

    return pause_after_turn


def run_module(module: str, words: Sequence[str]) -> None:
    """Run a module as a program in the short turns of a background process, from its first import on."""
    sys.argv = [module, *words]
    sys.setprofile(turn_tracer(PROCESS_TURN_S, PROCESS_PAUSE_S))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_module(sys.argv[1], sys.argv[2:])
