"""Tables for the browser tests: samples of the bundled tables, and generated tables with many columns, many levels or
unusual names.
"""

import csv
import gzip
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from training.bundled import BUNDLED, DATASETS

WIDE_COLUMNS = 200
LEVELS = 10_000
LONG_NAME = "average number of rooms for each household in the block group, without kitchens & <bathrooms>"
HEBREW, ARABIC = "גובה", "مدينة"


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def sampled_table(name: str, rows: int, folder: Path, seed: int = 0) -> Path:
    """A random sample of a bundled table, small enough to train a model in seconds."""
    with gzip.open(DATASETS / BUNDLED[name].file, "rt", encoding="utf-8", newline="") as file:
        header, *found = csv.reader(file)
    return write_csv(folder / f"{name}{seed}.csv", header, random.Random(seed).sample(found, min(rows, len(found))))


def wide_table(folder: Path) -> Path:
    """A regression with 200 columns."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(600, WIDE_COLUMNS)).round(3)
    target = (values[:, 0] - 2 * values[:, 1] + rng.normal(0, 0.1, 600)).round(4)
    names = [f"{'sensor' if number % 2 else 'valve'} {number:03}" for number in range(WIDE_COLUMNS)]
    return write_csv(folder / "wide.csv", [*names, "output"], np.column_stack([values, target]).tolist())


def many_levels_table(folder: Path) -> Path:
    """Two classes; a column of 10,000 levels, dates and missing values."""
    rng = np.random.default_rng(2)
    rows = []
    for number in range(2 * LEVELS):
        level = number % LEVELS
        day = np.datetime64("2020-01-01") + int(rng.integers(1000))
        size = "" if rng.random() < 0.1 else int(rng.integers(1, 9))
        rows.append([f"town {level:05}", day, size, "yes" if (level % 2) ^ (rng.random() < 0.1) else "no"])
    return write_csv(folder / "towns.csv", ["town", "since", "size", "sold"], rows)


def unusual_names_table(folder: Path) -> Path:
    """Three classes; long names, right-to-left names and levels, whole numbers, a boolean."""
    rng = np.random.default_rng(3)
    cities = ["القاهرة", "الرباط", "ירושלים", '"><b>x</b>', "a very long name of a city " * 4]
    rows = []
    for _ in range(1000):
        height, city = int(rng.integers(-5, 40)), cities[rng.integers(5)]
        rooms = round(float(rng.gamma(4, 1.5)), 2)
        kind = "גדול" if height > 25 else "صغير" if height < 10 else "other & <same>"
        rows.append([height, city, rooms, bool(rng.random() < 0.5), kind])
    return write_csv(folder / "names.csv", [HEBREW, ARABIC, LONG_NAME, "is new?", "kind"], rows)
