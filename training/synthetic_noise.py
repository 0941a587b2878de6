"""Writes tables with known noise, on which coverage is measured: equal, growing, skewed, and many equal targets."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
ROWS = 15_000  # 3,000 of them are test rows


def equal_noise(x: Vector, rng: np.random.Generator) -> Vector:
    return 0.5 * rng.normal(size=len(x))


def growing_noise(x: Vector, rng: np.random.Generator) -> Vector:
    """Noise whose deviation grows from 0.05 to 1."""
    return (0.05 + 0.95 * x) * rng.normal(size=len(x))


def skewed_noise(x: Vector, rng: np.random.Generator) -> Vector:
    return rng.exponential(0.5, size=len(x))


NOISE: Mapping[str, Callable[[Vector, np.random.Generator], Vector]] = {
    "equal": equal_noise,
    "growing": growing_noise,
    "skewed": skewed_noise,
    "ties": equal_noise,
}


def write_table(name: str, folder: Path) -> Path:
    """Write a CSV of the columns a, b, c and the target y. Returns its path."""
    rng = np.random.default_rng(list(NOISE).index(name))
    x = rng.random((ROWS, 3))
    if name == "ties":
        x = np.round(x, 1)
    y = 3 * x[:, 0] + np.sin(6 * x[:, 1]) + NOISE[name](x[:, 0], rng)
    if name == "ties":
        y = np.round(2 * y) / 2
    path = folder / f"{name}.csv"
    lines = ["a,b,c,y", *(",".join(f"{value:.6g}" for value in row) for row in np.column_stack([x, y]).tolist())]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path
