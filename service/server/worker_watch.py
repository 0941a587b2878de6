"""Watches the workers of a server: ends workers that take too long, and replaces workers that circus does not
replace."""

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from service.server import worker
from service.worker_records import WorkerRecords, WorkerState

CHECK_INTERVAL_S = 1.0
STOP_S = 90.0  # time after the grace period for requests in flight and the last writes
STUCK_S = 30.0  # circus replaces a dead worker within two seconds; after this time, the watch replaces it
UNKNOWN_S = 10.0  # time for circus to register a worker that it has started
SPAWN_TRIES = 10  # attempts if no worker runs, because circus stops a server without workers
SPAWN_RETRY_S = 1.0
log = logging.getLogger("tabserve.server")


class StateSince(NamedTuple):
    state: WorkerState | None
    since: float


class WorkerWatch:
    """The watch, which runs in the supervisor independently of the checks of circus."""

    def __init__(
        self,
        arbiter: Any,
        watcher: Any,
        records: WorkerRecords,
        start_s: float,
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """start_s: the maximum time for the start of a worker. grace_s: how long it accepts connections after
        SIGTERM."""
        self._arbiter, self._watcher, self._records = arbiter, watcher, records
        self._start_s, self._stop_s = start_s, grace_s + STOP_S
        self._clock = clock
        self._spawn_process = watcher.spawn_process
        self._states: dict[int, StateSince] = {}
        self._unknown: dict[int, float] = {}  # the time at which each unknown process id was first seen
        self._complete = clock()  # the time at which all workers were last seen running

    def install(self) -> None:
        """Watch from now on, until the server has stopped."""
        self._watcher.hooks["after_reap"] = self.on_end
        self._watcher.spawn_process = self.spawn
        self._arbiter.loop.call_later(CHECK_INTERVAL_S, self._check_again)

    def _check_again(self) -> None:
        try:
            self.check()
        except Exception:
            log.exception("workers cannot be checked")
        self._arbiter.loop.call_later(CHECK_INTERVAL_S, self._check_again)

    def check(self) -> None:
        """End workers that take too long, and replace missing workers."""
        now = self._clock()
        running = {pid for pid in self._watcher.processes if is_running_child(pid)}
        self._end_slow_workers(running, now)
        if self._stopping():
            self._complete = now
        else:
            self._end_unknown_workers(now)
            self._replace_missing(running, now)

    def _end_slow_workers(self, running: set[int], now: float) -> None:
        before, self._states = self._states, {}
        for pid in running:
            state = self._state_of(pid)
            known = before.get(pid)
            self._states[pid] = known if known and known.state == state else StateSince(state, now)
            limit_s = self._limit_s(state)
            if limit_s is not None and now - self._states[pid].since > limit_s:
                self._end(pid, state, limit_s)

    def _state_of(self, pid: int) -> WorkerState | None:
        """The state of a worker; None if the state is unknown because the file of the records was deleted."""
        state = self._records.state_of(pid)
        return WorkerState.STARTING if state is None and self._records.shared else state

    def _limit_s(self, state: WorkerState | None) -> float | None:
        """The maximum time of a worker in a state; None for no limit."""
        if state is None or state is WorkerState.READY:
            return None
        if state is WorkerState.STARTING:
            return self._start_s + worker.start_delay(self._records)
        return self._stop_s

    def _end(self, pid: int, state: WorkerState | None, limit_s: float) -> None:
        kill(pid)
        if state is not WorkerState.STARTING:
            log.error("worker does not end, killing it", extra={"pid": pid, "limit_s": limit_s})
            return
        times = self._records.start_failed(pid)
        log.error("worker is not ready in time, killing it", extra={"pid": pid, "limit_s": limit_s, "times": times})
        worker.give_up_if_no_worker_runs(self._records, f"not ready within {limit_s:g} s", os.getpid())

    def _end_unknown_workers(self, now: float) -> None:
        """End workers that circus does not know, because it failed just after it started them."""
        unknown = {pid for pid in self._records.pids - set(self._watcher.processes) if is_running_child(pid)}
        self._unknown = {pid: self._unknown.get(pid, now) for pid in unknown}
        for pid, since in self._unknown.items():
            if now - since > UNKNOWN_S:
                log.error("worker is not supervised, killing it", extra={"pid": pid})
                kill(pid)

    def _replace_missing(self, running: set[int], now: float) -> None:
        missing = self._watcher.numprocesses - len(running)
        if missing <= 0:
            self._complete = now
        elif now - self._complete > STUCK_S:
            log.error("workers were not replaced, replacing them now", extra={"missing": missing})
            for pid in set(self._watcher.processes) - running:
                self._watcher.reap_process(pid)
            for _ in range(missing):
                self._watcher.spawn_process()
            self._complete = now

    def on_end(self, process_pid: int, exit_code: int | None, **event: Any) -> None:
        """Called by circus when a worker has ended. Counts a start that failed without a reason."""
        if self._stopping():
            return
        state = self._state_of(process_pid)
        extra = {"pid": process_pid, "exit_code": exit_code}
        if state is WorkerState.STARTING:
            times = self._records.start_failed(process_pid)
            log.error("worker ended while it started, replacing it", extra={**extra, "times": times})
        elif state is not WorkerState.FAILED:
            log.warning("worker ended, replacing it", extra=extra)

    def spawn(self, recovery_wid: int | None = None) -> Any:
        """Start a worker as circus does. Returns False, which makes circus stop all workers, only for the first
        workers.

        Later failures return True, and the next check tries again.
        """
        started = self._spawn_process(recovery_wid)
        if started is not False or not self._watcher.is_active():
            return started
        log.error("worker cannot be started, trying again")
        for _ in range(SPAWN_TRIES):
            if self._watcher.processes or started is not False:
                break
            time.sleep(SPAWN_RETRY_S)
            started = self._spawn_process(recovery_wid)
        return True if started is False else started

    def _stopping(self) -> bool:
        return bool(self._arbiter._stopping or self._watcher.is_stopping() or self._watcher.is_stopped())


def is_running_child(pid: int) -> bool:
    """Whether a process runs and is a child of this process. A zombie does not count as running. True if the state is
    unknown."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc").is_dir()
    except OSError:  # usually out of file descriptors
        return True
    return state not in ("Z", "X") and int(parent) == os.getpid()


def kill(pid: int) -> None:
    """Kill a child of this process immediately, even if it is stopped."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("a worker has ended meanwhile", extra={"pid": pid})
