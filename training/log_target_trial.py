"""Decides whether the network of a regression learns the logarithm of the target.

The errors for a skewed target such as a price or a count often grow with its value, and a few large values determine
the squared error. A second network with the same settings learns the logarithm. Its predictions are multiplied by a
factor that gives them the mean of the target on the validation rows (Duan 1983,
https://doi.org/10.1080/01621459.1983.10478017). It is used if the mean squared error of the validation rows, in the
target's unit, falls by more than its standard error.
"""

from dataclasses import replace

import numpy as np
from scipy.stats import skew

from training.network_fit import NetworkFit, compare_linear, with_logarithm
from training.paired_comparison import Vector, mean_gain
from training.recipe import Recipe
from training.second_network import Addition, FitSecond, Losses, fit_second
from training.training_run import HeldOutOutputs, Report

NAME, OTHER = "with the logarithm of the target", "without the logarithm of the target"  # keys in the trials' losses
MIN_SKEWNESS = 0.75  # of the target, see docs/decisions/0061-logarithm-of-the-target.md
MAX_ROWS = 250_000  # train and validation rows; for more rows, a second network takes minutes
ADDITION = Addition("the logarithm of the target is", "it", "learns the logarithm", NAME, OTHER)


def fit_with_logarithm(trained: NetworkFit, fit_logarithm: FitSecond, report: Report) -> NetworkFit:
    """Return the model, or a better one that learns the logarithm of the target. fit_logarithm: trains its network."""
    if not is_skewed(trained):
        return trained
    report("the target is skewed: training a network that learns its logarithm")
    messages: list[str] = []

    def fit(recipe: Recipe) -> NetworkFit:
        return with_mean_of_target(compare_linear(fit_logarithm(recipe), messages.append))

    chosen = fit_second(trained, fit, ADDITION, report, _losses)
    if chosen.choices.log_target:
        for text in messages:
            report(text)
    return chosen


def _losses(first: NetworkFit, second: NetworkFit) -> Losses:
    before, after = squared_errors(first), squared_errors(second)
    return Losses(float(before.mean()), float(after.mean()), mean_gain(before - after))


def is_skewed(trained: NetworkFit) -> bool:
    """Whether the logarithm of the target is tried.

    This requires predictions that are clipped to the range of the target, because an exponential grows without limit.
    """
    if trained.encoder.target.low is None or trained.fit.held_out is None:
        return False
    learned = np.concatenate([trained.split.train, trained.split.validation])
    values = trained.dataset.target[learned]
    return bool(len(values) <= MAX_ROWS and values.min() >= 0 and skew(values) >= MIN_SKEWNESS)


def with_mean_of_target(trained: NetworkFit) -> NetworkFit:
    """The same model with the factor that gives its predictions for the validation rows the mean of the target."""
    logarithm = trained.encoder.target.logarithm
    assert logarithm is not None
    rows, outputs = held_out(trained)
    predicted = outputs.outputs.astype(np.float64)
    logarithm.exponentiate(predicted)
    factor = float((trained.dataset.target[rows] + logarithm.offset).sum() / predicted.sum())
    changed = with_logarithm(trained.encoder, logarithm.model_copy(update={"factor": factor}))
    return replace(trained, encoder=changed)


def squared_errors(trained: NetworkFit) -> Vector:
    """(rows,): squared errors of the validation rows, divided by the variance of the target."""
    rows, outputs = held_out(trained)
    target = trained.encoder.target
    predicted = target.unscale(outputs.outputs)[:, 0]
    squares = ((trained.dataset.target[rows] - predicted) / target.scale) ** 2
    return np.asarray(squares[np.argsort(rows)])


def held_out(trained: NetworkFit) -> tuple[Vector, HeldOutOutputs]:
    """The numbers of the validation rows in the table, and the outputs for them."""
    outputs = trained.fit.held_out
    assert outputs is not None
    pooled = np.concatenate([trained.split.train, trained.split.validation])
    return pooled[outputs.rows], outputs
