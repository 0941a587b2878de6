"""Decides whether the network reads the day of a date as a number, in addition to its trend and cycles.

A network that reads a date as a trend and as cycles cannot learn that a certain week was different. Its errors on the
validation rows show such weeks: a small tree can predict these errors from the date, for rows that the tree was not
fitted on. If the tree succeeds, a second network is trained with the same settings that also reads the day as a
quantile-encoded number with periodic features. The second network is used if the mean loss of the validation rows falls
by more than its standard error.
"""

import numpy as np
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeRegressor

from training.column_options import list_names
from training.network_fit import NetworkFit
from training.paired_comparison import Gain, Vector, mean_gain, residuals
from training.second_network import Addition, FitSecond, fit_second
from training.training_run import Report

NAME, OTHER = "with single days", "without single days"  # keys in the losses of the trials
MIN_ROWS = 100  # validation rows
MIN_LEAF, MAX_LEAVES = 5, 256  # of the tree
FOLDS = 5


def fit_with_days(trained: NetworkFit, fit_days: FitSecond, report: Report) -> NetworkFit:
    """Return the network, or a better network that also reads days as numbers. fit_days: trains such a network."""
    dates = [feature.name for feature in trained.dataset.schema.features if feature.kind == "date"]
    if trained.split.by_time or not dates or not gain_by_days(trained).is_clear:
        return trained
    names = list_names(dates)
    report(f"the errors depend on single days ({names}): training a network that also reads days as numbers")
    addition = Addition(f"single days of {names} are", "them", "reads days as numbers", NAME, OTHER)
    return fit_second(trained, fit_days, addition, report)


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
