"""A killed training run leaves no incomplete version and blocks no later run; `make kills` repeats this 20 times."""

import random
from pathlib import Path

from models.store_repair import repair_store
from tests.e2e.killed_training_runs import CONCURRENT_RUNS, NAME, KilledTrainingRuns


def test_concurrent_training_runs_succeed_when_one_is_killed(tmp_path: Path) -> None:
    runs = KilledTrainingRuns(tmp_path, random.Random(1))
    runs.run_and_kill(at_once=CONCURRENT_RUNS, while_writing=True)
    repair_store(runs.models)
    assert [path.name for path in runs.models.iterdir()] == [NAME]
