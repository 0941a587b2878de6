"""Lowers the priority of threads and processes that do not answer requests."""

import contextlib
import os
import threading

PRIORITY = 10  # increment of nice(1)
LOWEST_PRIORITY = 19


def lower_priority(process: int | None = None) -> None:
    """Lower the priority of this thread, or of a process, if the system supports that."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id() if process is None else process, PRIORITY)


def set_idle_priority() -> None:
    """Let this process run only when a core is otherwise idle, if the system supports that.

    A process with the lowest nice value alone would keep its core for some milliseconds when a request arrives.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
