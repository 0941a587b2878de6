"""A server replaces workers even if new workers cannot be started for some time, or end while they start."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.server_processes import wait_until, workers
from tests.e2e.test_failures import predict


@contextlib.contextmanager
def one_free_descriptor(pid: int) -> Iterator[None]:
    """Limit a process to one more open file: enough to inspect its children, too few to start another one."""
    process = psutil.Process(pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    used = {int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir()}
    free = next(number for number in range(len(used) + 1) if number not in used)
    process.rlimit(psutil.RLIMIT_NOFILE, (free + 1, before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, before)


def test_workers_are_replaced_after_failed_starts(serve: Callable[..., Any], home: Path) -> None:
    server = serve(home, TABSERVE_WORKERS="2")

    def log_count(text: str) -> int:
        return int(server.log.read_text().count(text))

    wait_until(lambda: log_count("model ready") == 2)
    healthy, victim = workers(server)
    with one_free_descriptor(server.process.pid):
        victim.kill()
        wait_until(lambda: log_count("worker cannot be started, trying again") >= 2)
        predict(server)
    wait_until(lambda: len(workers(server)) == 2)
    while log_count("worker ended while it started, replacing it") < 2:
        for worker in workers(server):
            if worker.pid != healthy.pid:
                worker.kill()
    predict(server)
    wait_until(lambda: log_count("model ready") >= 3)
    assert healthy.is_running()
    assert len(workers(server)) == 2
