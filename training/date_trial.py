"""Decides whether the network reads the day of a date as a number, in addition to its trend and cycles.

A network that reads a date as a trend and as cycles cannot learn that a certain week was different. Its errors on the
validation rows show such weeks: a small tree can predict these errors from the date, for rows that the tree was not
fitted on. If the tree succeeds, a second network is trained with the same settings that also reads the day as a
quantile-encoded number with periodic features. The second network is used if the mean loss of the validation rows falls
by more than its standard error.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeRegressor

from models.network.network import DivergenceError
from training.column_options import list_names
from training.network_fit import NetworkFit
from training.paired_comparison import Gain, Vector, gain_of, mean_gain, mean_outputs
from training.recipe import Recipe
from training.training_run import Report

NAME, OTHER = "with single days", "without single days"  # keys in the losses of the trials
MIN_ROWS = 100  # validation rows
MIN_LEAF, MAX_LEAVES = 5, 256  # of the tree
FOLDS = 5
FitDays = Callable[[Recipe], NetworkFit]


def fit_with_days(trained: NetworkFit, fit_days: FitDays, report: Report) -> NetworkFit:
    """Return the network, or a better network that also reads days as numbers. fit_days: trains such a network."""
    dates = [feature.name for feature in trained.dataset.schema.features if feature.kind == "date"]
    if trained.split.by_time or not dates or not gain_by_days(trained).is_clear:
        return trained
    names = list_names(dates)
    report(f"the errors depend on single days ({names}): training a network that also reads days as numbers")
    settings = replace(trained.fit.recipe, trials=(), searched=(), seconds=None)
    try:
        with_days = fit_days(settings)
    except DivergenceError as error:
        report(f"the network that reads days as numbers diverged in epoch {error.epoch}")
        return trained
    seconds = trained.fit.seconds + with_days.fit.seconds
    losses = trained.validation_loss, with_days.validation_loss
    used = gain_of(trained, with_days).is_clear
    notice = "single days of {} are {}: validation loss {:.4f} with them, {:.4f} without".format(
        names, "used" if used else "not used", losses[1], losses[0]
    )
    report(notice)
    chosen = with_days if used else trained
    tried = {**trained.fit.trial_losses, **({OTHER: losses[0]} if used else {NAME: losses[1]})}
    notices = [*chosen.dataset.notices, notice]
    fitted = replace(chosen.fit, trial_losses=tried, seconds=seconds)
    return replace(chosen, dataset=replace(chosen.dataset, notices=notices), fit=fitted)


def gain_by_days(trained: NetworkFit) -> Gain:
    """Measure by how much a tree on one date column reduces the squared validation errors; the clearest gain counts."""
    found = trained.fit.member_outputs
    none = Gain(0.0, 0.0)
    if found is None or len(found.rows) < MIN_ROWS:
        return none
    errors = residuals(trained)
    rows = np.concatenate([trained.split.train, trained.split.validation])[found.rows]
    gains = [none]
    for feature in trained.dataset.schema.features:
        if feature.kind == "date":
            gains.append(_gain_of_tree(trained.dataset.columns[feature.name][rows], errors))
    return max(gains, key=lambda gain: gain.mean - gain.error)


def residuals(trained: NetworkFit) -> Vector:
    """(rows, outputs): true value minus prediction for the validation rows; for classes, with their probabilities."""
    task, y = trained.dataset.schema.task, trained.validated_y
    outputs = mean_outputs(task, trained.fit)
    if task == "regression":
        return np.asarray(y[:, np.newaxis] - outputs)
    if task == "binary":
        return np.asarray(y[:, np.newaxis] - 1 / (1 + np.exp(-outputs)))
    return np.asarray(np.eye(outputs.shape[1])[y] - np.exp(outputs))


def _gain_of_tree(seconds: Vector, errors: Vector) -> Gain:
    """The gain of a tree, by cross-validation. seconds: (rows,), the date as a number."""
    known = np.flatnonzero(~np.isnan(seconds))
    if len(known) < MIN_ROWS:
        return Gain(0.0, 0.0)
    x, y = seconds[known, np.newaxis], errors[known]
    x = (x - x.min()) / max(float(np.ptp(x)), 1.0)  # the trees of scikit-learn compare 32-bit numbers
    predicted = np.empty_like(y)
    for learned, other in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        tree = DecisionTreeRegressor(min_samples_leaf=MIN_LEAF, max_leaf_nodes=MAX_LEAVES, random_state=0)
        predicted[other] = tree.fit(x[learned], y[learned]).predict(x[other]).reshape(len(other), -1)
    return mean_gain((y**2 - (y - predicted) ** 2).sum(axis=1))
