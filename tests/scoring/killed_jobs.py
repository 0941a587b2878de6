"""Kills jobs at random moments and restarts them until they finish: the output must be that of an undisturbed job.

`python -m tests.scoring.killed_jobs 50` kills jobs 50 times; a test uses fewer kills. SIGKILL is sent to the job, to
one of its workers, or to all processes at once. If only the job is killed, its workers may still write when it is
started again.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tests.child_processes import kill_at_exit, wait_or_kill
from tests.scoring.conftest import WAIT_S, tree
from tests.scoring.tables import ROOT, STORE, numbers_table

ROWS = 40_000
VICTIMS = ("job", "worker", "all")
WITH_SMALL_UNITS = """
import sys
from scoring import scoring_unit, text_ranges
scoring_unit.UNIT_ROWS, scoring_unit.UNIT_BYTES, text_ranges.READ_BYTES = 4000, 100_000, 20_000
from scoring.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


class OutputDiffers(Exception):  # noqa: N818 - the name describes the error
    """The output of killed jobs differs from that of an undisturbed job."""


class KilledJobs:
    """Jobs in a folder that are killed at random moments."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._rng = rng
        self._inputs, self._out, self._log = folder / "in", folder / "out", folder / "log"
        self._inputs.mkdir(parents=True)
        pq.write_table(numbers_table(ROWS), self._inputs / "a.parquet", row_group_size=2000)
        pa.csv.write_csv(numbers_table(ROWS // 4, seed=1), self._inputs / "b.csv")
        started = time.monotonic()
        self._complete()
        self._seconds = time.monotonic() - started
        self._expected = tree(self._out)
        self._parts = len([*self._out.glob("part-*")])
        self.outcomes: Counter[str] = Counter()
        """The number of kills after which the output had none, some or all of its units."""

    def kill(self, count: int) -> None:
        """Kill jobs this many times in total. Raises OutputDiffers."""
        while count:
            shutil.rmtree(self._out)
            for _ in range(min(count, self._rng.choice([1, 2, 3]))):
                self._kill_once()
                count -= 1
            self._complete()
            self._compare()

    def _kill_once(self) -> None:
        victim = self._rng.choice(VICTIMS)
        with kill_at_exit(self._start()) as process:
            self._wait_for_random_moment(process)
            with contextlib.suppress(ProcessLookupError):
                if victim == "all":
                    os.killpg(process.pid, signal.SIGKILL)
                elif victim == "job":
                    process.kill()
                elif children := children_of(process.pid):
                    os.kill(self._rng.choice(children), signal.SIGKILL)
            code = process.wait(WAIT_S)
        if victim == "worker" and code != 0:
            raise OutputDiffers(f"the job ended when a worker was killed: {self._log.read_text()}")
        outputs = len([*self._out.glob("part-*")])
        self.outcomes["none" if not outputs else "some" if outputs < self._parts else "all"] += 1

    def _wait_for_random_moment(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait for a random time or, because a job spends most of its time starting, until a random number of outputs
        exists.
        """
        if self._rng.random() < 0.3:
            time.sleep(self._seconds * self._rng.random())
            return
        outputs = self._rng.randrange(self._parts)
        while process.poll() is None and len([*self._out.glob("part-*")]) < outputs:
            time.sleep(0.001)
        time.sleep(self._rng.uniform(0.0, 0.2))

    def _complete(self) -> None:
        if wait_or_kill(self._start(), WAIT_S) != 0:
            raise OutputDiffers(f"a job that was not killed failed: {self._log.read_text()}")

    def _compare(self) -> None:
        found = tree(self._out)
        for name in sorted({*found, *self._expected}):
            if found.get(name) != self._expected.get(name):
                raise OutputDiffers(f"{name} differs")

    def _start(self) -> "subprocess.Popen[bytes]":
        words = ["numbers", str(self._inputs), "--out", str(self._out), "--keep", "id", "--workers", "2"]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", WITH_SMALL_UNITS, *words, "--max-bad", "2%"],
                cwd=ROOT,
                env=os.environ | {"TABSERVE_STORE": str(STORE)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def main(count: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        jobs = KilledJobs(Path(folder), random.Random(0))
        jobs.kill(count)
        print(f"{count} kills, outputs afterwards: {dict(jobs.outcomes)}; all equal to those of an undisturbed job")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
