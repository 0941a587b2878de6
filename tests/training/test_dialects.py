"""Random tables in random dialects are read correctly, or refused with the name of a flag; `make dialects` tries
2,000.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training import dialects


def test_tables_in_random_dialects_are_read_correctly_or_refused() -> None:
    results = dialects.main(60)
    assert results["read"] > results["refused"]


def test_check_of_dialects_finds_a_difference(tmp_path: Path) -> None:
    table = dialects.random_table(np.random.default_rng(0))
    name = next(name for name, kind in table.kinds.items() if kind in ("number", "large", "unit"))
    shifted = [None if value is None else value * 1000 for value in table.values[name]]
    with pytest.raises(AssertionError):
        dialects.check(replace(table, values=table.values | {name: shifted}), tmp_path)
