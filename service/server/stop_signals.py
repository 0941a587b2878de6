"""The signals that stop a server, in its supervisor. The first signal lets the workers finish, a second kills them."""

import contextlib
import logging
import os
import signal
import sys
import time
from typing import Any

from models.library_hook import require
from service.server.library_hooks import bentoml_hooks
from service.server.listeners import refuse_new_connections

SAME_S = 1.0  # a repeated SIGTERM within this time is ignored: an init system signals both the launcher and the server
QUIT_INTERVAL_S = 0.1  # interval between two attempts to stop circus
SIGNALS = (signal.SIGTERM, signal.SIGINT)
log = logging.getLogger("tabserve.server")


class StopSignals:
    """Handles SIGTERM and SIGINT of a circus arbiter."""

    def __init__(self, arbiter: Any, grace_s: float) -> None:
        """grace_s: how long the workers accept connections after SIGTERM. After SIGINT they accept none."""
        self._arbiter = arbiter
        self._grace_s = grace_s
        self._stopping_since: float | None = None

    def install(self) -> None:
        """Handle the signals from now on. Raises LibraryHookMissing if circus does not handle them now."""
        if not hasattr(self._arbiter, "_stopping"):
            require(bentoml_hooks.STOP_SIGNALS, "an arbiter has no attribute _stopping")
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if getattr(handler, "__self__", None) is not self._arbiter.ctrl.sys_hdl:
                require(bentoml_hooks.STOP_SIGNALS, f"{number.name} is handled by {handler!r}")
        for number in SIGNALS:
            signal.signal(number, self.on_signal)

    def on_signal(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self._stopping_since is not None:
            if number == signal.SIGTERM and now - self._stopping_since < SAME_S:
                return
            log.warning("stopping at once: a second signal", extra={"signal": signal.Signals(number).name})
            self._kill_workers()
            sys.exit(1)
        self._stopping_since = now
        interrupted = number == signal.SIGINT
        if interrupted:
            for watcher in self._arbiter.iter_watchers():
                watcher.stop_signal = signal.SIGINT
        self._arbiter.loop.add_callback_from_signal(self._refuse_later, 0.0 if interrupted else self._grace_s)
        self._arbiter.ctrl.sys_hdl.signal(number, frame)
        self._arbiter.loop.add_callback_from_signal(self._quit_until_stopped)

    def _quit_until_stopped(self) -> None:
        """Stop circus repeatedly, because it ignores a signal that arrives while it replaces a worker."""
        if not self._arbiter._stopping:
            self._arbiter.ctrl.sys_hdl.quit()
            self._arbiter.loop.call_later(QUIT_INTERVAL_S, self._quit_until_stopped)

    def _refuse_later(self, seconds: float) -> None:
        self._arbiter.loop.call_later(seconds, self._refuse)

    def _refuse(self) -> None:
        for listener in self._arbiter.sockets.values():
            refuse_new_connections(listener)

    def _kill_workers(self) -> None:
        for watcher in self._arbiter.iter_watchers():
            for pid in list(watcher.processes):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
