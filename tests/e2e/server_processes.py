"""Finds the processes of a server, measures their memory, and waits for conditions."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from service.server.library_hooks.bentoml_hooks import WORKER_MODULE

WAIT_S = 300


def wait_until(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def workers(server: Any) -> list[psutil.Process]:
    return processes_running(server, WORKER_MODULE)


def processes_running(server: Any, module: str) -> list[psutil.Process]:
    """The processes of a server that run a module."""
    found = []
    for child in descendants(server.process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):  # also raised for zombie processes
            if module in child.cmdline():
                found.append(child)
    return found


def proportional_mib(pid: int) -> float:
    """The memory of a process, including its proportional part of shared memory; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def peak_mib(pid: int) -> float:
    """The peak memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
