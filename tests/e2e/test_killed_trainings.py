"""A killed training leaves no incomplete version and does not block later trainings; `make kills` repeats this 20
times.
"""

import random
from pathlib import Path

from models.store_repair import repair_store
from tests.e2e.killed_trainings import CONCURRENT_TRAININGS, NAME, KilledTrainings


def test_concurrent_trainings_succeed_when_one_of_them_is_killed(tmp_path: Path) -> None:
    trainings = KilledTrainings(tmp_path, random.Random(1))
    trainings.run_and_kill(at_once=CONCURRENT_TRAININGS, while_writing=True)
    repair_store(trainings.models)
    assert [path.name for path in trainings.models.iterdir()] == [NAME]
