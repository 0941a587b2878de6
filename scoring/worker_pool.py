"""The worker processes of a job. Each scores at most one unit at a time; a worker that dies is replaced."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from scoring.errors import ScoringError
from scoring.input_file import InputFile
from scoring.scoring_unit import ScoringUnit
from scoring.worker_environment import worker_environment

MAX_ATTEMPTS = 3  # maximum attempts for a unit whose worker dies
STOP_SECONDS = 10.0
Message = dict[str, Any]
OnMessage = Callable[[ScoringUnit, Message], None]


@dataclass(eq=False)
class WorkerProcess:
    """A worker process, the unit that it scores, and the start of its next line."""

    process: "subprocess.Popen[bytes]"
    unit: ScoringUnit | None = None
    ready: bool = False
    unended: bytes = field(default=b"", repr=False)

    @property
    def output(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def send(self, message: Message) -> None:
        """Send a line. A worker that has died is detected at the end of its output."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def read(self) -> list[Message] | None:
        """The received messages; None if the process has ended."""
        content = os.read(self.output, 1 << 16)
        if not content:
            return None
        *lines, self.unended = (self.unended + content).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        """Let an idle process end by itself, and terminate a busy process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        if self.unit is not None or not self.ready:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class WorkerPool:
    """Runs units in worker processes. setup: the first message to each worker."""

    def __init__(self, count: int, setup: Message, inputs: list[InputFile]) -> None:
        self._count = count
        self._setup = setup
        self._inputs = inputs
        self._workers: list[WorkerProcess] = []
        self._again: deque[ScoringUnit] = deque()
        self._attempts: dict[str, int] = {}
        self._selector = selectors.DefaultSelector()

    def run(self, units: Iterator[ScoringUnit], on_message: OnMessage, on_idle: Callable[[], None]) -> None:
        """Score all units. on_message: called with each message about a unit. on_idle: called at least once a second.

        Raises ScoringError if workers cannot be started; `on_message` may raise to end the job.
        """
        try:
            while True:
                self._assign(units)
                if not self._workers:
                    return
                for key, _ in self._selector.select(1.0):
                    self._receive(key.data, on_message)
                on_idle()
        finally:
            for worker in self._workers:
                worker.end()
            self._selector.close()

    def _assign(self, units: Iterator[ScoringUnit]) -> None:
        """Send a unit to each idle worker, or end the worker if there is none. Start workers while there are units for
        them."""
        for worker in [worker for worker in self._workers if worker.unit is None]:
            unit = self._next(units)
            if unit is None:
                self._remove(worker)
                worker.end()
            else:
                self._send_unit(worker, unit)
        while len(self._workers) < self._count and (unit := self._next(units)) is not None:
            worker = self._start()
            self._send_unit(worker, unit)

    def _next(self, units: Iterator[ScoringUnit]) -> ScoringUnit | None:
        return self._again.popleft() if self._again else next(units, None)

    def _start(self) -> WorkerProcess:
        process = subprocess.Popen(
            [sys.executable, "-m", "scoring.unit_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | worker_environment(),
        )
        worker = WorkerProcess(process)
        worker.send(self._setup)
        self._workers.append(worker)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)
        return worker

    def _send_unit(self, worker: WorkerProcess, unit: ScoringUnit) -> None:
        worker.unit = unit
        self._attempts[unit.name] = self._attempts.get(unit.name, 0) + 1
        worker.send({"unit": unit.to_json(), "input": self._inputs[unit.number].to_json()})

    def _remove(self, worker: WorkerProcess) -> None:
        self._selector.unregister(worker.output)
        self._workers.remove(worker)

    def _receive(self, worker: WorkerProcess, on_message: OnMessage) -> None:
        messages = worker.read()
        if messages is None:
            self._replace(worker, on_message)
            return
        for message in messages:
            if "ready" in message:
                worker.ready = True
                continue
            assert worker.unit is not None
            unit = worker.unit
            if "done" in message or "failed" in message:
                worker.unit = None
                self._attempts.pop(unit.name, None)
            on_message(unit, message)

    def _replace(self, worker: WorkerProcess, on_message: OnMessage) -> None:
        """Replace a dead worker. Another worker scores its unit again."""
        unit, worker.unit = worker.unit, None
        self._remove(worker)
        worker.end()
        if unit is None:
            return
        if not worker.ready and self._attempts[unit.name] >= MAX_ATTEMPTS:
            raise ScoringError(f"a worker process cannot start ({describe_exit(worker.process.returncode)})")
        if self._attempts[unit.name] < MAX_ATTEMPTS:
            self._again.append(unit)
            return
        ended = describe_exit(worker.process.returncode)
        reason = f"its worker process died {MAX_ATTEMPTS} times ({ended}): does it need more memory?"
        on_message(unit, {"failed": f"{self._inputs[unit.number].url}: {reason}", "ends_job": False})


def describe_exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
