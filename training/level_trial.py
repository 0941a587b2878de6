"""Decides whether the network reads the level means of categories with many levels.

A network learns little about a level with few rows: levels with fewer than ten rows share an embedding. Its errors on
the validation rows show whether levels still differ: the smoothed means of the errors by level reduce the squared
errors of rows to which they were not fitted. If they do, a second network is trained with the same settings that also
reads the level means of these categories. It is used if the mean loss of the validation rows falls by more than its
standard error.

A large table whose encoded rows are on disk has no trial: each trial needs its own means of its train rows, which would
be a second copy of all rows on disk.
"""

from collections.abc import Callable

import numpy as np

from models.encoding.column_encodings import Codes
from models.frame import Frame
from training.column_options import list_names
from training.level_columns import MAX_CLASSES, out_of_fold_means
from training.network_fit import NetworkFit
from training.out_of_fold import assign_folds
from training.paired_comparison import Gain, Vector, mean_gain, residuals
from training.recipe import Recipe
from training.second_network import FurtherInputs, fit_second
from training.training_run import Report

NAME, OTHER = "with level means", "without level means"  # keys in the losses of the trials
MIN_ROWS = 100  # validation rows
# Minimum number of levels with training rows. With fewer levels, each has enough rows for its embedding unless the
# table is tiny.
MIN_LEVELS = 20
FitMeans = Callable[[Recipe, tuple[str, ...]], NetworkFit]


def fit_with_level_means(trained: NetworkFit, fit_means: FitMeans, report: Report) -> NetworkFit:
    """Return the network, or a better network that also reads level means. fit_means: trains such a network for some
    categories."""
    found = categories_with_gain(trained)
    if not found:
        return trained
    names = list_names(found)
    report(f"the errors depend on the levels of {names}: training a network that also reads their level means")
    inputs = FurtherInputs(f"level means of {names}", "level means", NAME, OTHER)
    return fit_second(trained, lambda recipe: fit_means(recipe, tuple(found)), inputs, report)


def categories_with_gain(trained: NetworkFit) -> list[str]:
    """The names of the categories with many levels whose level means of the validation errors reduce the squared
    errors by more than their standard error."""
    validated, frame, schema = trained.fit.member_outputs, trained.frame, trained.dataset.schema
    if validated is None or len(validated.rows) < MIN_ROWS or not isinstance(frame, Frame):
        return []
    if len(schema.classes or ()) > MAX_CLASSES:
        return []
    pooled = np.concatenate([trained.split.train, trained.split.validation])
    many = [place for place in range(len(schema.categorical)) if _has_many_levels(frame.codes[pooled, place])]
    if not many:
        return []
    errors = residuals(trained)
    codes = frame.codes[pooled[validated.rows]]
    gains = [gain_by_level_means(codes[:, place], errors, schema.categorical[place].levels) for place in many]
    return [schema.categorical[place].name for place, gain in zip(many, gains, strict=True) if gain.is_clear]


def _has_many_levels(codes: Codes) -> bool:
    return len(np.unique(codes[codes >= 0])) >= MIN_LEVELS


def gain_by_level_means(codes: Codes, errors: Vector, count: int) -> Gain:
    """Measure by how much level means reduce the squared errors of rows to which they were not fitted. codes: (rows,).
    errors: (rows, outputs). count: the number of levels."""
    fold_of = assign_folds(len(codes), np.random.default_rng(0))
    predicted = out_of_fold_means(codes, errors, count, fold_of)
    return mean_gain((errors**2 - (errors - predicted) ** 2).sum(axis=1))
