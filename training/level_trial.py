"""Decides whether the network reads the level means of categories with many levels.

A network learns little about a level with few rows: levels with fewer than ten rows share an embedding. Its errors on
the validation rows show whether levels still differ: the means of the errors by level, or the level means of the target
multiplied by a factor, reduce the squared errors of rows to which they were not fitted. If they do, a second network is
trained with the same settings that also reads the level means of these categories. It is used if the mean loss of the
validation rows falls by more than its standard error.

A large table whose encoded rows are on disk has no trial: each trial needs its own means of its train rows, which would
be a second copy of all rows on disk.
"""

from collections.abc import Callable

import numpy as np

from models.encoding.column_encodings import Codes
from models.encoding.level_means import LevelMeans
from models.frame import Frame
from training.column_options import list_names
from training.level_columns import MAX_CLASSES, Rows, out_of_fold_means, standardised_target
from training.network_fit import NetworkFit
from training.out_of_fold import FOLDS, assign_folds
from training.paired_comparison import Gain, Vector, mean_gain, residuals
from training.recipe import Recipe
from training.second_network import Addition, fit_second
from training.training_run import Report

NAME, OTHER = "with level means", "without level means"  # keys in the losses of the trials
MIN_ROWS = 100  # validation rows
# Minimum number of levels with training rows. With fewer levels, each has enough rows for its embedding unless the
# table is tiny.
MIN_LEVELS = 20
SMALLEST = 1e-12  # minimum of the sum of squares by which a factor is divided
FitMeans = Callable[[Recipe, tuple[str, ...]], NetworkFit]


def fit_with_level_means(trained: NetworkFit, fit_means: FitMeans, report: Report) -> NetworkFit:
    """Return the network, or a better network that also reads level means. fit_means: trains such a network for some
    categories."""
    found = categories_with_gain(trained)
    if not found:
        return trained
    names = list_names(found)
    report(f"the errors depend on the levels of {names}: training a network that also reads their level means")
    addition = Addition(f"level means of {names} are", "them", "reads level means", NAME, OTHER)
    return fit_second(trained, lambda recipe: fit_means(recipe, tuple(found)), addition, report)


def categories_with_gain(trained: NetworkFit) -> list[str]:
    """The names of the categories with many levels on which the validation errors depend: their squares fall by more
    than their standard error if level means are subtracted."""
    validated, frame, schema = trained.fit.member_outputs, trained.frame, trained.dataset.schema
    if validated is None or len(validated.rows) < MIN_ROWS or not isinstance(frame, Frame):
        return []
    classes = len(schema.classes or ())
    if classes > MAX_CLASSES:
        return []
    pooled = np.concatenate([trained.split.train, trained.split.validation])
    many = [place for place in range(len(schema.categorical)) if _has_many_levels(frame.codes[pooled, place])]
    if not many:
        return []
    errors, rows = residuals(trained), validated.rows
    target = standardised_target(schema.task, trained.y, classes, pooled)[pooled]
    found = []
    for feature, codes in ((schema.categorical[place], frame.codes[pooled, place]) for place in many):
        by_errors = gain_by_error_means(codes[rows], errors, feature.levels)
        by_target = gain_by_target_means(codes, target, rows, errors, feature.levels)
        if by_errors.is_clear or by_target.is_clear:
            found.append(feature.name)
    return found


def _has_many_levels(codes: Codes) -> bool:
    return len(np.unique(codes[codes >= 0])) >= MIN_LEVELS


def gain_by_error_means(codes: Codes, errors: Vector, count: int) -> Gain:
    """Measure by how much the means of the errors by level reduce the squared errors of rows to which they were not
    fitted. codes: (rows,). errors: (rows, outputs). count: the number of levels."""
    predicted = out_of_fold_means(codes, errors, count, _folds_of(codes))
    return mean_gain((errors**2 - (errors - predicted) ** 2).sum(axis=1))


def gain_by_target_means(codes: Codes, target: Vector, rows: Rows, errors: Vector, count: int) -> Gain:
    """Measure by how much factor · the level means of the target reduce the squared errors. The factor, at least 0, is
    fitted to other rows. There may be too few validation rows for means of their errors.

    codes, target: (pooled rows,), (pooled rows, outputs). rows: the pooled rows that have the errors.
    """
    others = np.setdiff1d(np.arange(len(codes)), rows)
    if len(others):  # one validation set
        means = LevelMeans.fit(codes[others], target[others], count).table[codes[rows]]
    else:
        means = out_of_fold_means(codes, target, count, _folds_of(codes))[rows]
    fold_of, predicted = _folds_of(rows), np.zeros_like(errors)
    for fold in range(FOLDS):
        own = fold_of == fold
        x, y = means[~own].astype(np.float64), errors[~own]
        factors = (x * y).sum(axis=0) / np.maximum((x**2).sum(axis=0), SMALLEST)
        predicted[own] = means[own] * np.maximum(factors, 0.0)
    return mean_gain((errors**2 - (errors - predicted) ** 2).sum(axis=1))


def _folds_of(rows: Rows | Codes) -> Rows:
    return assign_folds(len(rows), np.random.default_rng(0))
