"""Ends a process when its parent process ends for any reason, such as a worker with its supervisor."""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
LAUNCHER_VARIABLE = "STARTED_BY_TABSERVE"  # the process id of `python -m service`, set for the supervisor


def end_with_parent(parent: int, number: int) -> None:
    """Let the kernel send signal `number` to this process when process `parent` ends. Only on Linux.

    Exits if the parent has already ended.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
