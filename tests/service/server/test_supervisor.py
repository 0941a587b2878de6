"""The supervisor replaces dead workers, passes the shared folder to workers, and reports workers that it cannot
prepare.
"""

import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bentoml.exceptions import BentoMLException

from models.library_hook import LibraryHookMissing
from service.server import stop_signals, supervisor, worker
from service.server.library_hooks import bentoml_hooks
from service.server.listeners import refuses_new_connections
from service.server.stop_signals import SIGNALS, StopSignals
from service.server.worker_watch import CHECK_INTERVAL_S
from service.worker_records import WorkerRecords
from tests.child_processes import kill_at_exit


@dataclass
class Watcher:
    """A substitute for a circus watcher, with the attributes that the supervisor uses."""

    args: list[str] = field(default_factory=lambda: ["-m", bentoml_hooks.WORKER_MODULE, ".", "--fd", "3"])
    env: dict[str, str] = field(default_factory=dict)
    respawn: bool = False
    stop_signal: int = signal.SIGTERM
    processes: dict[int, object] = field(default_factory=dict)
    hooks: dict[str, object] = field(default_factory=dict)
    spawn_process: Callable[..., object] = dict


class SignalHandler:
    """A substitute for circus' signal handler. ignored: the number of stop attempts that have no effect."""

    def __init__(self, arbiter: "Arbiter") -> None:
        self.arbiter = arbiter
        self.received: list[int] = []
        self.ignored = self.attempts = 0
        for number in SIGNALS:
            signal.signal(number, self.signal)

    def signal(self, number: int, frame: Any = None) -> None:
        self.received.append(number)
        self.quit()

    def quit(self) -> None:
        self.attempts += 1
        self.arbiter._stopping = self.attempts > self.ignored


class Loop:
    """A substitute for a tornado loop that calls every function immediately, except the checks of workers.

    It records the delays.
    """

    time: Callable[[], float] = time.time

    def __init__(self) -> None:
        self.delays: list[float] = []

    def add_callback_from_signal(self, call: Callable[..., None], *arguments: Any) -> None:
        call(*arguments)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.delays.append(seconds)
        if seconds != CHECK_INTERVAL_S:
            call()


class Arbiter:
    def __init__(self, watchers: list[Watcher], **options: Any) -> None:
        self.options = options
        self.started = False
        self.watchers = watchers
        self._stopping = False
        self.ctrl = SimpleNamespace(sys_hdl=SignalHandler(self))
        self.loop = Loop()
        self.sockets: dict[str, socket.socket] = {}

    def iter_watchers(self) -> list[Watcher]:
        return self.watchers

    def start(self, callback: Any = None) -> None:
        self.started = True


def watcher_in(folder: Path) -> Watcher:
    return Watcher(env={worker.SHARED_FOLDER_VARIABLE: str(folder)})


def test_workers_are_checked_every_second_and_also_replaced_in_containers(tmp_path: Path) -> None:
    watcher = watcher_in(tmp_path)
    arbiter = supervisor.supervised(Arbiter, 0.0, 60.0)(watchers=[watcher], sockets=[])
    assert arbiter.options == {"check_delay": 1, "sockets": []}
    assert watcher.respawn
    assert watcher.env[worker.SUPERVISOR_VARIABLE] == str(os.getpid())
    assert arbiter.loop.time is time.monotonic
    assert "after_reap" in watcher.hooks
    assert arbiter.loop.delays == [CHECK_INTERVAL_S]
    arbiter.start()
    assert arbiter.started


def test_a_server_whose_workers_cannot_start_ends_with_an_error(tmp_path: Path) -> None:
    WorkerRecords(tmp_path).give_up()
    arbiter = supervisor.supervised(Arbiter, 0.0, 60.0)(watchers=[watcher_in(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        arbiter.start()


@pytest.mark.parametrize("argument", ["--fd", bentoml_hooks.WORKER_MODULE])
def test_an_unexpected_worker_command_stops_the_start(tmp_path: Path, argument: str) -> None:
    watcher = watcher_in(tmp_path)
    watcher.args.remove(argument)
    with pytest.raises(BentoMLException, match="a worker is started by"):
        supervisor.supervised(Arbiter, 0.0, 60.0)(watchers=[watcher])


def test_a_watcher_without_respawn_stops_the_start(tmp_path: Path) -> None:
    watcher = watcher_in(tmp_path)
    del watcher.respawn, Watcher.respawn
    try:
        with pytest.raises(BentoMLException, match="a watcher has no such attribute"):
            supervisor.supervised(Arbiter, 0.0, 60.0)(watchers=[watcher])
    finally:
        Watcher.respawn = False


def test_the_shared_folder_of_a_killed_server_is_removed_by_the_next_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    dead, young, foreign = (
        tmp_path / f"{worker.SHARED_FOLDER_PREFIX}dead",
        tmp_path / f"{worker.SHARED_FOLDER_PREFIX}new",
        tmp_path / "x",
    )
    for folder in (dead, young, foreign):
        folder.mkdir()
        (folder / "counter_1.db").write_bytes(b"1")
    running = Path(supervisor.new_shared_folder())
    for folder in (dead, foreign, running):
        os.utime(folder, (0, 0))
    mine = Path(supervisor.new_shared_folder())
    assert not dead.exists()
    assert all(folder.is_dir() for folder in (young, foreign, running, mine))


def test_circus_handles_the_first_signal_and_connections_are_refused_after_the_grace_period() -> None:
    for number, delay in ((signal.SIGTERM, 7.0), (signal.SIGINT, 0.0)):
        watcher = Watcher()
        arbiter = Arbiter([watcher])
        with socket.create_server(("127.0.0.1", 0)) as listener:
            arbiter.sockets["http"] = listener
            StopSignals(arbiter, grace_s=7.0).install()
            assert not refuses_new_connections(listener)
            signal.raise_signal(number)
            assert refuses_new_connections(listener)
        assert arbiter.ctrl.sys_hdl.received == [number]
        assert arbiter.loop.delays == [delay]
        assert watcher.stop_signal == number


def test_an_attempt_to_stop_is_repeated_until_circus_stops() -> None:
    arbiter = Arbiter([Watcher()])
    arbiter.ctrl.sys_hdl.ignored = 3
    StopSignals(arbiter, grace_s=7.0).install()
    signal.raise_signal(signal.SIGTERM)
    assert arbiter._stopping
    assert arbiter.ctrl.sys_hdl.received == [signal.SIGTERM]
    assert arbiter.ctrl.sys_hdl.attempts == 4
    assert arbiter.loop.delays == [7.0, *[stop_signals.QUIT_INTERVAL_S] * 3]


@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_a_second_signal_kills_the_workers(first: int, second: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with kill_at_exit(subprocess.Popen(["sleep", "600"])) as process:
        StopSignals(Arbiter([Watcher(processes={process.pid: process})]), grace_s=600.0).install()
        signal.raise_signal(first)
        monkeypatch.setattr(stop_signals, "SAME_S", 0.0)
        with pytest.raises(SystemExit, match="1"):
            signal.raise_signal(second)
        assert process.wait(60) == -signal.SIGKILL


def test_a_signal_repeated_within_a_short_time_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signals, "SAME_S", 600.0)
    arbiter = Arbiter([Watcher()])
    StopSignals(arbiter, grace_s=600.0).install()
    for _ in range(3):
        signal.raise_signal(signal.SIGTERM)
    assert arbiter.ctrl.sys_hdl.received == [signal.SIGTERM]
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGINT)


def test_signals_that_circus_does_not_handle_are_reported() -> None:
    arbiter = Arbiter([])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(LibraryHookMissing, match="SIGINT is handled by"):
        StopSignals(arbiter, grace_s=0.0).install()


def test_a_server_does_not_start_in_a_full_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(supervisor, "LEAST_FREE_BYTES", 2**62)
    with pytest.raises(BentoMLException, match=r" KB free, a server needs \d+ KB there; set TMPDIR"):
        supervisor.new_shared_folder()

    def no_space(descriptor: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("service.worker_records.reserve_space", no_space)
    with pytest.raises(BentoMLException, match="cannot be used: No space left on device; set TMPDIR"):
        supervisor.new_shared_folder()


def test_an_invalid_temporary_folder_in_the_environment_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for named in ("/does/not/exist", "relative", ""):
        monkeypatch.setenv("TMPDIR", named)
        assert supervisor.temporary_folder() == tmp_path
    monkeypatch.delenv("TMPDIR")
    assert supervisor.temporary_folder() == tmp_path
