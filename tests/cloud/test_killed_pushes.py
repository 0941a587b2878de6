"""A killed push or promotion leaves either the old or the new state, and never an incomplete version."""

import random
import subprocess
import sys
import time
from pathlib import Path

from models import store as local_store
from models.version_lifecycle import VersionStore
from tests.child_processes import kill_at_exit
from tests.cloud.conftest import Command
from tests.e2e.conftest import ROOT, environment

KILLS = 6
IMPORT_FRACTION = 0.5
"""The fraction of a command's run time in which it imports modules. A kill during the imports would test nothing."""


def start(home: Path, settings: dict[str, str], *words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "service", *words],
        cwd=ROOT,
        env=environment(home, **settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_at_random(process: "subprocess.Popen[bytes]", seconds: float, chance: random.Random) -> None:
    with kill_at_exit(process):
        time.sleep(seconds * chance.uniform(IMPORT_FRACTION, 1.05))


def test_a_killed_push_or_promotion_leaves_the_old_or_the_new_state(
    command: Command, home: Path, remote: VersionStore, settings: dict[str, str]
) -> None:
    chance = random.Random(11)
    began = time.monotonic()
    assert command("push", "small:1").returncode == 0
    pushing = time.monotonic() - began
    for _ in range(KILLS // 2):
        kill_at_random(start(home, settings, "push", "small:2"), pushing, chance)
        for stored in remote.versions("small"):
            assert local_store.load(remote.find("small", stored.version)).version == str(stored.version)
    done = command("push", "small:2")
    assert done.returncode == 0, done.stderr
    assert len(remote.versions("small")) == 2, "each content must be stored as exactly one version"
    first, second = sorted(stored.version for stored in remote.versions("small"))

    began = time.monotonic()
    assert command("promote", f"small:{first}").returncode == 0
    promoting = time.monotonic() - began
    for _ in range(KILLS // 2):
        before = remote.serving.read()
        version = first if before.model("small").champion == second else second
        kill_at_random(start(home, settings, "promote", f"small:{version}"), promoting, chance)
        after = remote.serving.read()
        assert after == before or (after.generation, after.model("small").champion) == (before.generation + 1, version)
        assert remote.serving.verify().problems == []
    assert command("promote", f"small:{first}").returncode == 0
    assert remote.serving.verify().problems == []
