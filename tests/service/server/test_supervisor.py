"""The supervisor replaces dead workers, gives them a folder, and reports workers that it cannot prepare."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bentoml.exceptions import BentoMLException

from service.server import supervisor, worker
from service.server.library_hooks import bentoml_hooks


@dataclass
class Watcher:
    """The attributes that the supervisor uses of a circus watcher."""

    args: list[str] = field(default_factory=lambda: ["-m", bentoml_hooks.WORKER_MODULE, ".", "--fd", "3"])
    env: dict[str, str] = field(default_factory=dict)
    respawn: bool = False


class Arbiter:
    def __init__(self, watchers: list[Watcher], **options: Any) -> None:
        self.options = options
        self.started = False

    def start(self, callback: Any = None) -> None:
        self.started = True


def watcher_in(folder: Path) -> Watcher:
    return Watcher(env={worker.SHARED_FOLDER_VARIABLE: str(folder)})


def test_workers_are_looked_after_every_second_and_replaced_in_containers_too(tmp_path: Path) -> None:
    watcher = watcher_in(tmp_path)
    arbiter = supervisor.supervised(Arbiter)(watchers=[watcher], sockets=[])
    assert arbiter.options == {"check_delay": 1, "sockets": []}
    assert watcher.respawn
    assert watcher.env[worker.SUPERVISOR_VARIABLE] == str(os.getpid())
    arbiter.start()
    assert arbiter.started


def test_a_server_whose_workers_could_not_start_ends_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "failed_starts").write_text("." * worker.MAX_FAILED_STARTS)
    arbiter = supervisor.supervised(Arbiter)(watchers=[watcher_in(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        arbiter.start()


@pytest.mark.parametrize("argument", ["--fd", bentoml_hooks.WORKER_MODULE])
def test_a_worker_that_is_started_by_another_command_ends_the_start(tmp_path: Path, argument: str) -> None:
    watcher = watcher_in(tmp_path)
    watcher.args.remove(argument)
    with pytest.raises(BentoMLException, match="a worker is started by"):
        supervisor.supervised(Arbiter)(watchers=[watcher])


def test_a_watcher_without_respawn_ends_the_start(tmp_path: Path) -> None:
    watcher = watcher_in(tmp_path)
    del watcher.respawn, Watcher.respawn
    try:
        with pytest.raises(BentoMLException, match="a watcher has no such attribute"):
            supervisor.supervised(Arbiter)(watchers=[watcher])
    finally:
        Watcher.respawn = False


def test_the_folder_of_a_server_that_could_not_remove_it_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
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
