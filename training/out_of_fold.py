"""Folds for values that are fitted to the target, so that no training row has a value that was fitted to itself."""

from typing import Any

import numpy as np
import numpy.typing as npt

FOLDS = 5


def assign_folds(rows: int, rng: np.random.Generator, groups: npt.NDArray[Any] | None = None) -> npt.NDArray[np.intp]:
    """(rows,): the fold of each row. groups: (rows,) all rows of a group are in one fold."""
    if groups is None:
        return rng.permutation(np.arange(rows) % FOLDS)
    distinct, member = np.unique(groups, return_inverse=True)
    return rng.permutation(np.arange(len(distinct)) % FOLDS)[member]
