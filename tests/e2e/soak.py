"""Checks all responses of a server while its workers are killed: `python -m tests.e2e.soak --seconds 1200`.

A kill may lose the requests in progress of the killed worker, one per connection. Any other lost request, error or
wrong prediction sets the exit code to 1. With --hang, some of the new workers hang while they start, and must also be
replaced.
"""

import argparse
import contextlib
import math
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.conftest import Server, start_server, train_version
from tests.e2e.prepared_requests import PreparedClient, prepare_requests
from tests.e2e.server_processes import wait_until, workers
from tests.e2e.test_chaos import ClientGroup, client_connections, load_small_model
from tests.ports import free_port

REPLACED_S = 600.0  # a worker starts slowly on a busy machine
START_S = 60.0


class Soak:
    """Runs clients that check responses, and kills workers at random times."""

    def __init__(self, server: Server, home: Path, clients: int, seed: int, hang: float = 0.0) -> None:
        """hang: the fraction of kills after which the next worker hangs."""
        model = load_small_model(home)
        requests = prepare_requests(model)
        self.group = ClientGroup([PreparedClient(server.port, model, number, requests) for number in range(clients)])
        self.allowed = self.kills = self.hangs = 0
        self._hang = hang
        self._server = server
        self._random = random.Random(seed)

    def run(self, seconds: float, between_s: float, responses: float = math.inf) -> None:
        """Kill a worker about every `between_s` seconds, until the time is up or this number of responses has been
        checked.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self.group.correct < responses:
            time.sleep(min(left, between_s * self._random.uniform(0.5, 1.5)))
            self.kill()
            print(self.summary(), file=sys.stderr, flush=True)
        wait_until(lambda: len(workers(self._server)) == 2, REPLACED_S)
        self.group.stop()

    def kill(self) -> None:
        wait_until(lambda: len(workers(self._server)) == 2, REPLACED_S)
        before = workers(self._server)
        victim = self._random.choice(before)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGSTOP)
            self.allowed += client_connections(victim)
            victim.send_signal(signal.SIGKILL)
            self.kills += 1
        if self._random.random() < self._hang:
            self._suspend_new_worker({worker.pid for worker in before})

    def _suspend_new_worker(self, before: set[int]) -> None:
        """Suspend the worker that is starting, and wait until the server has ended it."""

        def started() -> list[psutil.Process]:
            return [worker for worker in workers(self._server) if worker.pid not in before]

        wait_until(lambda: bool(started()), REPLACED_S)
        hanging = started()[0]
        hanging.suspend()
        wait_until(lambda: hanging.pid not in {worker.pid for worker in workers(self._server)}, REPLACED_S)
        self.hangs += 1

    @property
    def lost_elsewhere(self) -> int:
        """The number of lost requests beyond those in progress in killed workers."""
        return max(self.group.lost - self.allowed, 0)

    def failed(self) -> bool:
        return bool(self.group.problems or self.lost_elsewhere or not self.group.correct)

    def summary(self) -> str:
        group: Any = self.group
        return (
            f"{group.correct} responses checked: {len(group.problems)} wrong; {self.kills} kills, {self.hangs} hangs, "
            f"{group.lost} requests lost (at most {self.allowed} in killed workers), {self.lost_elsewhere} beyond that"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--answers", type=float, default=math.inf, help="stop after checking this number of responses")
    parser.add_argument("--between", type=float, default=15.0, help="average seconds between two kills")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--hang", type=float, default=0.0, help="fraction of kills after which the next worker hangs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        train_version(home, "small")
        server = start_server(home, free_port(), home / "log", TABSERVE_WORKERS="2", TABSERVE_START_S=str(START_S))
        try:
            server.wait_ready()
            soak = Soak(server, home, options.clients, seed=0, hang=options.hang)
            soak.run(options.seconds, options.between, options.answers)
            memory = sum(worker.memory_info().rss for worker in workers(server)) / 1024**2
        except AssertionError:
            print("the end of the server's log:", server.log.read_text()[-4000:], sep="\n", file=sys.stderr)
            raise
        finally:
            server.stop()
    print(f"{soak.summary()}; the workers use {memory:.0f} MiB", *soak.group.problems[:5], sep="\n")
    return int(soak.failed())


if __name__ == "__main__":
    sys.exit(main())
