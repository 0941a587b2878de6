"""Kills real trainings at random moments and checks the store after each: `python -m tests.e2e.killed_trainings 20`.

Each round starts trainings of one model, one or three at once, and kills one of them: at a random moment of its time,
or shortly after its folder in the store appeared. After every round each version in the store loads, BentoML lists
them, and at the end one more training succeeds and nothing unfinished is left.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bentoml._internal.models import ModelStore

from models import store
from models.unfinished_folder import PREFIX
from tests.child_processes import ended

ROOT = Path(__file__).resolve().parents[2]
NAME = "victim"
QUICK = ["--no-baselines", "--framework", "numpy", "--network", "plain", "--epochs", "3"]
AT_ONCE = 3
TIMEOUT_S = 600.0
POLL_S = 0.002
SAVING_S = 0.1  # about how long a version is written


class StoreInDisorder(Exception):  # noqa: N818 - the name describes the error
    """An inconsistent store after a killed training."""


class KilledTrainings:
    """Trainings into a store in `home`, killed at moments that `rng` chooses."""

    def __init__(self, home: Path, rng: random.Random) -> None:
        self.models = home / "models"
        self._home = home
        self._rng = rng
        self._table = home / "table.csv"
        self._seconds = 10.0  # of one training, known after the first
        home.mkdir(parents=True, exist_ok=True)
        lines = [f"{a},{'xyz'[a % 3]},{a * 3 % 17}" for a in range(200)]
        self._table.write_text("a,b,y\n" + "\n".join(lines) + "\n")

    def complete(self) -> str:
        """A training that is not killed; its output."""
        started = time.monotonic()
        with ended(self._start()) as process:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        self._seconds = time.monotonic() - started
        self._require(process.returncode == 0, f"a training failed: {output}")
        self.check()
        left = [folder.name for folder in self.models.glob(f"{PREFIX}*")]
        self._require(not left, f"not removed: {left}")
        return output

    def round(self, *, at_once: int, while_saving: bool) -> str:
        """Start trainings, kill the first, wait for the others. Returns a description."""
        before, leftovers = self._versions(), set(self._saving())
        with ExitStack() as stack:
            processes = [stack.enter_context(ended(self._start())) for _ in range(at_once)]
            moment = self._wait_until_saving(processes[0], leftovers) if while_saving else self._wait(self._seconds)
            processes[0].kill()
            outputs = [process.communicate(timeout=TIMEOUT_S)[0] for process in processes]
        for process, output in zip(processes[1:], outputs[1:], strict=True):
            self._require(process.returncode == 0, f"a training next to a killed one failed: {output}")
        self.check()
        new = self._versions() - before
        self._require(at_once - 1 <= len(new) <= at_once, f"{at_once} trainings at once stored {sorted(new)}")
        left = len(list(self.models.glob(f"{PREFIX}*")))
        return f"{at_once} at once, killed {moment}: {len(new)} stored, {left} unfinished"

    def check(self) -> None:
        """Raises StoreInDisorder if a version does not load, or BentoML does not read the store."""
        for versions in store.versions(self._home)[0].values():
            for stored in versions:
                store.load(stored)
        listed = {str(model.tag) for model in ModelStore(str(self.models)).list()} if self.models.is_dir() else set()
        self._require(listed == self._versions(), f"BentoML lists {sorted(listed)}")

    def _versions(self) -> set[str]:
        ours, others = store.versions(self._home)
        self._require(not others, f"folders that are not versions: {others}")
        return {stored.tag for versions in ours.values() for stored in versions}

    def _start(self) -> "subprocess.Popen[str]":
        command = [
            sys.executable,
            "-m",
            "training",
            "--data",
            str(self._table),
            "--target",
            "y",
            "--name",
            NAME,
            *QUICK,
        ]
        environment = os.environ | {"BENTOML_HOME": str(self._home), "BENTOML_DO_NOT_TRACK": "True"}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def _wait(self, seconds: float) -> str:
        time.sleep(waited := self._rng.uniform(0, seconds))
        return f"after {waited:.2f} s"

    def _saving(self) -> list[Path]:
        """Folders in which versions are written."""
        return list(self.models.glob(f"{PREFIX}*/features.json"))

    def _wait_until_saving(self, process: "subprocess.Popen[str]", leftovers: set[Path]) -> str:
        while process.poll() is None and leftovers.issuperset(self._saving()):
            time.sleep(POLL_S)
        return f"{self._wait(SAVING_S)} of saving"

    def _require(self, fulfilled: bool, otherwise: str) -> None:
        if not fulfilled:
            raise StoreInDisorder(otherwise)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.e2e.killed_trainings", description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=20)
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        trainings = KilledTrainings(Path(folder), random.Random(parsed.seed))
        trainings.complete()
        for kill in range(parsed.kills):
            described = trainings.round(at_once=AT_ONCE if kill % 5 == 4 else 1, while_saving=kill % 2 == 0)
            print(f"{kill + 1:3}  {described}", flush=True)
        output = trainings.complete()
        print("\n".join(line for line in output.splitlines() if "unfinished" in line or "latest" in line))
        print(f"{parsed.kills} trainings killed: every version loads, no name is blocked, nothing is left over")
    return 0


if __name__ == "__main__":
    sys.exit(main())
