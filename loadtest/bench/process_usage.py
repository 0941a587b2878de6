"""CPU time of a process with nanosecond precision and its peak memory, if the system reports them."""

import re
import sys
import time
from pathlib import Path

import psutil

CPUCLOCK_SCHED = 2  # from linux/posix-timers.h: CPU time of all threads of a process


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of all threads of a process. /proc counts in ticks of 10 ms, which is too coarse for short measurements.

    Raises psutil.NoSuchProcess.
    """
    if sys.platform == "linux":
        try:
            return time.clock_gettime(~process.pid << 3 | CPUCLOCK_SCHED)  # clock_getcpuclockid(3)
        except OSError:  # the process has ended, or the system has no such clocks
            pass
    times = process.cpu_times()
    return float(times.user + times.system)


def peak_mb(process: psutil.Process) -> float:
    """The peak memory of a process, or its current memory if the system does not report the peak.

    Raises psutil.NoSuchProcess.
    """
    if sys.platform == "linux":
        try:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        except OSError:
            found = None
        if found:
            return int(found[1]) * 1024 / 1e6
    return float(process.memory_info().rss) / 1e6
