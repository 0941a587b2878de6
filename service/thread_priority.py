"""The priority of threads that work beside the answers to requests."""

import contextlib
import os
import threading

PRIORITY = 10  # as by nice(1)


def lower_priority() -> None:
    """Lower the priority of this thread, where the system has priorities of threads."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)
