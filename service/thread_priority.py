"""The priority of threads and processes that do not answer requests."""

import contextlib
import os
import threading

PRIORITY = 10  # increment of nice(1)
LOWEST_PRIORITY = 19


def lower_priority() -> None:
    """Lower the priority of this thread if the system supports that."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)


def be_idle() -> None:
    """Let this process run only when a core is otherwise idle, as far as the system allows it.

    A process with the lowest nice value alone would keep its core for some milliseconds when a request arrives.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
