"""Tables for the small models of tests/recorded."""

from pathlib import Path

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / "tests" / "recorded" / "store"


def numbers_table(rows: int, seed: int = 0) -> pa.Table:
    """A table for the model `numbers`, with an `id`; one row in 50 is invalid."""
    rng = np.random.default_rng(seed)
    columns = {name: np.round(rng.uniform(0, 10 * (place + 1), rows), 2) for place, name in enumerate("abcdef")}
    missing = np.arange(rows) % 50 == 7
    table = {name: pa.array(values, mask=missing if name == "c" else None) for name, values in columns.items()}
    return pa.table({"id": pa.array([f"r{number}" for number in range(rows)], pa.string()), **table})
