"""Kills training processes at random times, and checks the store after each.

`python -m tests.e2e.killed_training_runs 20` kills 20 processes.

Each round starts one or three concurrent training runs of one model and kills one of them: at a random time, or shortly
after its folder in the store appears. After each round, all versions in the store must load, and BentoML must list
them. At the end another training run must succeed and leave no unfinished folder.
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
from tests.child_processes import kill_at_exit

ROOT = Path(__file__).resolve().parents[2]
NAME = "victim"
QUICK = ["--no-baselines", "--framework", "numpy", "--network", "plain", "--epochs", "3"]
CONCURRENT_RUNS = 3
TIMEOUT_S = 600.0
POLL_S = 0.002
WRITING_S = 0.1  # the approximate time for writing a version


class InconsistentStore(Exception):  # noqa: N818 - the name describes the error
    """The store is inconsistent after a killed training run."""


class KilledTrainingRuns:
    """Runs training with a store in `home` and kills some of the runs at random times."""

    def __init__(self, home: Path, rng: random.Random) -> None:
        self.models = home / "models"
        self._home = home
        self._rng = rng
        self._table = home / "table.csv"
        self._seconds = 10.0  # duration of a training run, updated by each complete run
        home.mkdir(parents=True, exist_ok=True)
        lines = [f"{a},{'xyz'[a % 3]},{a * 3 % 17}" for a in range(200)]
        self._table.write_text("a,b,y\n" + "\n".join(lines) + "\n")

    def run_to_end(self) -> str:
        """Complete one training run. Returns its output."""
        started = time.monotonic()
        with kill_at_exit(self._start()) as process:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        self._seconds = time.monotonic() - started
        self._require(process.returncode == 0, f"a training run failed: {output}")
        self.check()
        left = [folder.name for folder in self.models.glob(f"{PREFIX}*")]
        self._require(not left, f"not removed: {left}")
        return output

    def run_and_kill(self, *, at_once: int, while_writing: bool) -> str:
        """Start training runs, kill the first one, and wait for the others. Returns a description."""
        before, leftovers = self._versions(), set(self._folders_being_written())
        with ExitStack() as stack:
            processes = [stack.enter_context(kill_at_exit(self._start())) for _ in range(at_once)]
            moment = (
                self._wait_until_writing(processes[0], leftovers)
                if while_writing
                else self._wait_randomly(self._seconds)
            )
            processes[0].kill()
            outputs = [process.communicate(timeout=TIMEOUT_S)[0] for process in processes]
        for process, output in zip(processes[1:], outputs[1:], strict=True):
            self._require(process.returncode == 0, f"a run concurrent with a killed run failed: {output}")
        self.check()
        new = self._versions() - before
        self._require(at_once - 1 <= len(new) <= at_once, f"{at_once} concurrent runs stored {sorted(new)}")
        left = len(list(self.models.glob(f"{PREFIX}*")))
        return f"{at_once} concurrent, killed {moment}: {len(new)} stored, {left} unfinished"

    def check(self) -> None:
        """Raises InconsistentStore if a version does not load, or if BentoML does not list all versions."""
        for versions in store.versions(self._home)[0].values():
            for stored in versions:
                store.load(stored)
        listed = {str(model.tag) for model in ModelStore(str(self.models)).list()} if self.models.is_dir() else set()
        self._require(listed == self._versions(), f"BentoML lists {sorted(listed)}")

    def _versions(self) -> set[str]:
        ours, others = store.versions(self._home)
        self._require(not others, f"folders without a version: {others}")
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

    def _wait_randomly(self, seconds: float) -> str:
        time.sleep(waited := self._rng.uniform(0, seconds))
        return f"after {waited:.2f} s"

    def _folders_being_written(self) -> list[Path]:
        """The folders in which versions are being written."""
        return list(self.models.glob(f"{PREFIX}*/features.json"))

    def _wait_until_writing(self, process: "subprocess.Popen[str]", leftovers: set[Path]) -> str:
        while process.poll() is None and leftovers.issuperset(self._folders_being_written()):
            time.sleep(POLL_S)
        return f"{self._wait_randomly(WRITING_S)} of writing"

    def _require(self, condition: bool, message: str) -> None:
        if not condition:
            raise InconsistentStore(message)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.e2e.killed_training_runs", description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=20)
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        runs = KilledTrainingRuns(Path(folder), random.Random(parsed.seed))
        runs.run_to_end()
        for kill in range(parsed.kills):
            outcome = runs.run_and_kill(at_once=CONCURRENT_RUNS if kill % 5 == 4 else 1, while_writing=kill % 2 == 0)
            print(f"{kill + 1:3}  {outcome}", flush=True)
        output = runs.run_to_end()
        print("\n".join(line for line in output.splitlines() if "unfinished" in line or "latest" in line))
        print(f"{parsed.kills} training runs killed: every version loads, and no unfinished folder is left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
