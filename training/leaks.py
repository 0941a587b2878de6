"""Notices about target leakage: features that predict the target almost perfectly by themselves."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from models.encoding.column_encodings import stable_moments
from training.cell_values import Vector
from training.dataset import Dataset

MIN_LEAK_SCORE = 0.98
SAMPLE_ROWS = 4000
WIDE_TABLE = 500  # maximum columns; for a wider table only a tenth of the rows is used, to limit the time

Indices = npt.NDArray[np.intp]


def leak_notices(dataset: Dataset, rng: np.random.Generator) -> list[str]:
    """A notice for each feature that predicts the target almost perfectly by itself, evaluated on a sample."""
    sample = SAMPLE_ROWS if len(dataset.columns) <= WIDE_TABLE else SAMPLE_ROWS // 10
    rows = rng.permutation(dataset.rows_used)[:sample]
    train, test = np.arange(len(rows) // 2), np.arange(len(rows) // 2, len(rows))
    classes = dataset.schema.classes is not None
    target = dataset.target[rows] if classes else _standardize(dataset.target[rows])
    notices = []
    for feature in dataset.schema.features:
        if feature.kind == "text":
            continue
        column = dataset.columns[feature.name][rows]
        if feature.kind == "category":
            column = _encode_levels(column, target, train, classes=classes)
        column = _standardize(column)
        score = _class_score(column, target, train, test) if classes else _value_score(column, target, train, test)
        if score >= MIN_LEAK_SCORE:
            metric = "balanced accuracy" if classes else "R²"
            notices.append(
                f"column {feature.name!r} alone predicts the target almost perfectly ({metric} {score:.3f}): "
                f"is it known before the target is? (--drop {feature.name})"
            )
    return notices


def _encode_levels(column: npt.NDArray[Any], target: npt.NDArray[Any], train: Indices, *, classes: bool) -> Vector:
    """(n,): a category as numbers: the target's mean or most frequent class for each level, NaN if not in `train`."""
    codes, levels = pd.factorize(pd.Series(column, dtype=object), use_na_sentinel=False)
    counts = np.bincount(codes[train], minlength=len(levels))
    if classes:
        width = int(target.max()) + 1
        table = np.bincount(codes[train] * width + target[train], minlength=len(levels) * width)
        by_level = table.reshape(len(levels), width).argmax(axis=1).astype(np.float64)
    else:
        by_level = np.bincount(codes[train], target[train], minlength=len(levels)) / np.maximum(counts, 1)
    return np.where(counts > 0, by_level, np.nan)[codes]


def _standardize(column: Vector) -> Vector:
    """(n,): the column with mean 0 and deviation 1, because scikit-learn accepts no number above 1e38."""
    mean, deviation = stable_moments(column[~np.isnan(column)])
    return column / deviation - mean / deviation


def _value_score(column: Vector, target: Vector, train: Indices, test: Indices) -> float:
    """R² on the test rows of a small tree on one column, or of a straight line, which a tree approximates poorly."""
    if np.isnan(column[train]).all():
        return 0.0
    x = column.reshape(-1, 1)
    tree = DecisionTreeRegressor(max_depth=10, random_state=0)
    score = r2_score(target[test], tree.fit(x[train], target[train]).predict(x[test]))
    return max(float(score), _linear_score(column[test], target[test]))


def _linear_score(column: Vector, target: Vector) -> float:
    """R² of a straight line, fitted to the rows in which the column is not missing, times the fraction of these
    rows."""
    present = ~np.isnan(column)
    if not present.any() or np.ptp(column[present]) == 0 or np.ptp(target[present]) == 0:
        return 0.0
    return float(np.corrcoef(column[present], target[present])[0, 1] ** 2 * present.mean())


def _class_score(column: Vector, target: npt.NDArray[Any], train: Indices, test: Indices) -> float:
    """Balanced accuracy on the test rows of a small tree on one column; 0 if there are too few rows per class."""
    if np.isnan(column[train]).all():
        return 0.0
    known = test[np.isin(target[test], target[train])]
    classes_in_test = len(np.unique(target[known]))
    too_few_in_train = 2 * len(np.unique(target[train])) > len(train)
    if classes_in_test < 2 or too_few_in_train or 2 * classes_in_test > len(known):
        return 0.0
    x = column.reshape(-1, 1)
    tree = DecisionTreeClassifier(max_depth=12, min_samples_leaf=3, class_weight="balanced", random_state=0)
    predicted = tree.fit(x[train], target[train]).predict(x[known])
    # Only predicted classes that occur in the test rows count: scikit-learn warns about the others.
    counted = np.isin(predicted, target[known])
    if not counted.any():
        return 0.0
    return float(balanced_accuracy_score(target[known][counted], predicted[counted])) * float(counted.mean())
