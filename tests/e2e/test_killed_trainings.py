"""Killed trainings leave no part of a version and block no name; `make kills` does it 20 times."""

import random
from pathlib import Path

from models.store_repair import repair_store
from tests.e2e.killed_trainings import AT_ONCE, NAME, KilledTrainings


def test_killed_training_beside_others_of_its_name(tmp_path: Path) -> None:
    trainings = KilledTrainings(tmp_path, random.Random(1))
    trainings.round(at_once=AT_ONCE, while_saving=True)
    repair_store(trainings.models)
    assert [path.name for path in trainings.models.iterdir()] == [NAME]
