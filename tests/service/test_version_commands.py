"""The commands `promote`, `rollback` and related commands, tested on a store without a server."""

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from models import server_registration, store
from models.server_registration import WorkerGeneration, registration
from models.serving_file import ServingFile
from models.serving_state import ModelState
from models.version_files import StoredVersion
from service.commands import changing, followers
from tests.service.command_runs import Command, command_runner
from tests.service.killed_commands import kill_commands


@pytest.fixture
def root(store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with homes:1 to homes:3, to which TABSERVE_STORE refers."""
    for version in ("1", "2", "3"):
        shutil.copytree(store_folder / "homes/1", tmp_path / "homes" / version)
    monkeypatch.setenv("TABSERVE_STORE", str(tmp_path))
    return tmp_path


@pytest.fixture
def command(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """command("promote", "homes:2") runs a command and returns exit code, output and errors. The version is checked in
    this process.
    """

    def load(stored: StoredVersion, timeout_s: float, trusted_keys: Sequence[Path]) -> None:
        store.load(stored, trusted_keys=trusted_keys)

    monkeypatch.setattr(changing, "check_in_child", load)

    return command_runner(capsys)


def serving_state(root: Path) -> ModelState:
    return ServingFile(root).read().model("homes")


def test_promote_and_rollback_change_the_champion(root: Path, command: Command) -> None:
    code, out, _ = command("promote", "homes:2", "--reason", "fewer errors")
    assert (code, out.splitlines()) == (
        0,
        ["homes: champion none -> 2; generation 1", "no server has registered in this store"],
    )
    assert command("promote", "homes:2")[1].startswith("homes: champion 2; nothing to change, generation 1")
    assert command("rollback", "homes")[1].startswith("homes: champion 2 -> 3; generation 2")
    assert command("rollback", "homes")[1].startswith("homes: champion 3; nothing to change, generation 2")
    lines = command("audit")[1].splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("promote  homes  champion none -> 2  fewer errors")
    assert command("audit", "--verify") == (0, f"{root / 'audit.jsonl'}: 2 lines, none was altered or removed\n", "")


def test_status_describes_models_and_servers(root: Path, command: Command) -> None:
    assert command("status")[1].splitlines()[1] == "homes: champion 3 (the newest); stored versions: 3, 2, 1"
    for words in (["promote", "homes:2"], ["canary", "homes:3", "--percent", "5"]):
        assert command(*words)[0] == 0
    assert command("shadow", "homes:3", "--share", "0.1")[0] == 0
    workers = {"7": WorkerGeneration(2, "homes:3 cannot be read"), "8": WorkerGeneration(3)}
    feedback = ["homes:2 (champion): mae 0.3 (0.2 to 0.4) on 900 rows: ok"]
    server_registration.write(root, registration("web1-3000", os.getpid(), 3, workers, feedback))
    host = server_registration.read(root)[0].host
    assert command("status", "homes")[1].splitlines() == [
        f"{root / 'serving.json'}: generation 3",
        "homes: champion 2 (before it 3); aliases challenger = 3; traffic 95 % champion, 5 % challenger (automatic "
        "rollback after 500 rows); shadow 10 % of the rows to challenger; stored versions: 3, 2, 1",
        f"server web1-3000 (pid {os.getpid()} on {host}, 2 workers): generation 2, wants 3",
        "  worker 7: homes:3 cannot be read",
        f"  {feedback[0]}",
    ]
    assert "did you mean 'homes'" in command("status", "home")[2]
    assert "after 500 rows, not by feedback" in command("canary", "homes:3", "--percent", "5", "--ignore-feedback")[1]


def test_aliases_are_set_listed_and_deleted(root: Path, command: Command) -> None:
    assert command("alias", "homes:1", "beta")[0] == 0
    assert command("alias", "homes:2", "champion")[0] == 0
    assert (serving_state(root).champion, serving_state(root).aliases) == (2, {"beta": 1})
    assert command("alias", "homes:2", "beta", "--delete")[2] == "error: the alias 'beta' names version 1, not 2\n"
    assert command("alias", "homes:1", "beta", "--delete")[0] == 0
    assert serving_state(root).aliases == {}


def test_a_share_of_zero_ends_a_canary_or_shadow(root: Path, command: Command) -> None:
    command("canary", "homes:2", "--percent", "0.5", "--no-rollback")
    traffic = serving_state(root).traffic
    assert traffic is not None
    assert (traffic.shares, traffic.rollback) == ({"champion": 99.5, "challenger": 0.5}, None)
    assert serving_state(root).champion == 3, "a canary also records the champion"
    command("shadow", "homes:2", "--share", "0.5")
    command("shadow", "homes:2", "--share", "0")
    command("canary", "homes:2", "--percent", "0", "--no-rollback")
    traffic = serving_state(root).traffic
    assert traffic is not None
    assert (traffic.shares["challenger"], serving_state(root).shadow) == (0, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["promote", "homes:9"], "there is no homes:9"),
        (["promote", "homs:1"], "did you mean 'homes'"),
        (["canary", "homes:3", "--percent", "5"], "version 3 is the champion"),
        (["promote", "homes:2", "--if-generation", "4"], "the generation is 0, not 4"),
        (["alias", "homes:1", "Beta"], "aliases"),
    ],
)
def test_a_refused_change_prints_one_line_and_writes_nothing(
    root: Path, command: Command, words: list[str], message: str
) -> None:
    code, out, error = command(*words)
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert error.startswith("error: ")
    assert message in error
    assert not (root / "serving.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["promote", "homes"],
        ["promote", "homes:0"],
        ["canary", "homes:2"],
        ["canary", "homes:2", "--percent", "101"],
        ["canary", "homes:2", "--percent", "nan"],
        ["shadow", "homes:2", "--share", "2"],
        ["promote", "homes:2", "--if-generation", "x"],
    ],
)
def test_wrong_usage_exits_with_code_2(root: Path, command: Command, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(*words)
    assert ended.value.code == 2


def test_an_altered_audit_exits_with_code_1(root: Path, command: Command) -> None:
    command("promote", "homes:2")
    command("promote", "homes:1")
    audit = root / "audit.jsonl"
    audit.write_text(audit.read_text().replace('"actor": "', '"actor": "not ', 1))
    code, out, error = command("audit", "--verify")
    assert (code, out) == (1, "")
    assert error.startswith("error: line 2 does not continue the line before")


@pytest.mark.parametrize("damage", ["flipped", "cut", "golden"])
def test_a_damaged_version_is_not_promoted(root: Path, command: Command, damage: str) -> None:
    weights = root / "homes/2/weights.npz"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0xFF
    if damage == "golden":
        golden = json.loads((root / "homes/2/golden.json").read_text())
        golden["answers"][0][0] *= 2
        (root / "homes/2/golden.json").write_text(json.dumps(golden))
        (root / "homes/2/manifest.json").unlink()
    else:
        weights.write_bytes(content if damage == "flipped" else content[:-5])
    code, _, error = command("promote", "homes:2")
    assert code == 1
    assert ("must not be served" if damage == "golden" else "weights.npz was altered") in error
    assert not (root / "serving.json").exists()


def test_a_command_waits_until_the_servers_follow(root: Path, command: Command) -> None:
    def server(generation: int) -> None:
        server_registration.write(
            root, registration("web1", os.getpid(), generation, {"7": WorkerGeneration(generation)})
        )

    def follow() -> None:
        while ServingFile(root).read().generation < 1:
            time.sleep(0.01)
        server(1)

    server(0)
    code, out, _ = command("promote", "homes:2", "--wait", "0")
    assert code == 1
    assert "generation 0" in out
    assert "note: not all servers serve generation 1 after 0 s" in out
    follower = threading.Thread(target=follow)
    follower.start()
    code, out, _ = command("promote", "homes:2", "--wait", "60")
    follower.join(60)
    assert code == 0
    assert out.endswith("1 worker): generation 1\n")


def test_an_interrupted_wait_prints_one_line(root: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(followers, "wait_for_servers", interrupted)
    code, out, error = command("promote", "homes:2")
    assert (code, out) == (1, "homes: champion none -> 2; generation 1\n")
    assert error == "\ninterrupted; `python -m service status` shows whether the change was written\n"


def test_a_killed_command_leaves_the_old_or_the_new_state(root: Path) -> None:
    """Kill a few commands; `make kills` runs the same check with 50 kills."""
    found = kill_commands(root, 4, random.Random(0))
    assert found["old"] + found["new"] == 4
