"""Helpers that stop the processes of a test and wait for them, even if the test fails.

If a test leaves a process running, the garbage collector reports the process later, and another test fails.
"""

import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import AnyStr

STOP_S = 120.0


@contextmanager
def kill_at_exit(process: "subprocess.Popen[AnyStr]") -> Iterator["subprocess.Popen[AnyStr]"]:
    """Kills a process that still runs at the end of the block, waits for it and closes its streams."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def stop_all(processes: Iterable["subprocess.Popen[AnyStr]"], number: int = signal.SIGINT) -> None:
    """Send a signal to all running processes, and wait for them. Processes that do not end in time are killed."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(number)
    for process in running:
        wait_or_kill(process)


def wait_or_kill(process: "subprocess.Popen[AnyStr]", seconds: float = STOP_S) -> int:
    """Wait for a process and return its exit code; -SIGKILL if it did not end in time and was killed."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
