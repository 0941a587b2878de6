"""A killed and restarted job writes the output of an undisturbed job; `tests.scoring.killed_jobs` kills more jobs."""

import random
from pathlib import Path

from tests.scoring.killed_jobs import KilledJobs


def test_killed_jobs_write_the_output_of_an_undisturbed_job(tmp_path: Path) -> None:
    jobs = KilledJobs(tmp_path, random.Random(1))
    jobs.kill(1)
    assert jobs.outcomes.total() == 1
