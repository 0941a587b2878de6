"""Writes a random table of 11 columns with a regression target; the same seed writes the same table."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

BLOCK_ROWS = 100_000
TARGET = "price"
CITIES = [f"city {number}" for number in range(40)]
COLOURS = ["red", "green", "blue", "black"]
Rng = np.random.Generator


def blocks(rows: int, seed: int = 7) -> Iterator[Any]:
    """Generate the table as Arrow tables of at most BLOCK_ROWS rows."""
    rng = np.random.default_rng(seed)
    effects = np.random.default_rng(1).normal(size=len(CITIES))
    for start in range(0, rows, BLOCK_ROWS):
        yield _block(rng, effects, start, min(BLOCK_ROWS, rows - start))


def _block(rng: Rng, effects: Any, start: int, rows: int) -> Any:
    x = rng.normal(size=(rows, 6))
    age, city, colour = rng.integers(18, 90, rows), rng.integers(0, len(CITIES), rows), rng.integers(0, 4, rows)
    moments = 1_500_000_000 + (start + np.arange(rows)) * 7 % 100_000_000
    signal = (
        np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * np.abs(x[:, 3]) + effects[city] + 0.3 * (colour == 1) * x[:, 4]
    )
    price = 100 + 20 * (signal + 0.02 * (age - 50) + rng.normal(scale=0.5, size=rows))
    missing = rng.random(rows) < 0.02
    columns = {f"x{index}": pa.array(x[:, index]) for index in range(5)}
    return pa.table(
        columns
        | {
            "x5": pa.array(x[:, 5], mask=missing),
            "age": pa.array(age),
            "city": pa.array(np.array(CITIES, object)[city]),
            "colour": pa.array(np.array(COLOURS, object)[colour]),
            "sold": pa.array(moments.astype("datetime64[s]")),
            TARGET: pa.array(price),
        }
    )


def write_table(path: Path, rows: int, seed: int = 7) -> None:
    """Write the table as CSV or Parquet, depending on the suffix of the path."""
    parts = blocks(rows, seed)
    first = next(parts)
    parquet = path.suffix == ".parquet"
    writer: Any = (arrow_parquet.ParquetWriter if parquet else arrow_csv.CSVWriter)(str(path), first.schema)
    with writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


if __name__ == "__main__":
    write_table(Path(sys.argv[1]), int(sys.argv[2]))
