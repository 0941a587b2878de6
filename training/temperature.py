"""Temperature scaling: an ensemble's logits are divided by one number, fitted on the validation set.

Smoothed labels and dropout make a network less confident than it is accurate; long training makes it more confident
(Guo et al. 2017, arXiv 1706.04599). The weights of the members' last layers are divided by the number, so that scaling
costs nothing at prediction time.
"""

import math
from typing import NamedTuple

from scipy.optimize import minimize_scalar

from models.architecture import Link
from models.network import losses
from models.network.activations import Array
from models.network.ensemble_layers import member_mean
from models.network.losses import Loss, Targets
from training.training_run import TrainingRun

MAX_TEMPERATURE = 4.0
# The standard deviation of the logarithm's prior: a few rows, all predicted correctly, are weak evidence.
PRIOR_DEVIATION = 0.5


def calibrate(run: TrainingRun, logits: Array, y: Targets) -> float:
    """Fit the temperature to the members' logits (rows, members, outputs) for rows that the members were not trained
    on.

    Returns 1 for a regression. y: (rows,) class numbers.
    """
    if run.task == "regression":
        return 1.0
    loss = losses.BinaryCrossEntropy if run.task == "binary" else losses.CategoricalCrossEntropy
    return fit_temperature(logits, y, run.architecture.link, loss(0.0, run.class_weights)).temperature


class Calibration(NamedTuple):
    """A temperature, and the mean loss of the rows to which it was fitted, with the penalty of the prior."""

    temperature: float
    loss: float


def fit_temperature(logits: Array, y: Targets, link: Link, loss: Loss, tolerance: float = 1e-3) -> Calibration:
    """Return the temperature with the smallest loss of the members' mean. logits: (rows, members, outputs). y: (rows,).

    tolerance: the accuracy of the temperature's logarithm.
    """

    def penalized_loss(log_t: float) -> float:
        mean = member_mean(logits / math.exp(log_t), link, axis=1)
        return float(loss(mean, y)[0]) + (log_t / PRIOR_DEVIATION) ** 2 / 2 / len(y)

    bound = math.log(MAX_TEMPERATURE)
    found = minimize_scalar(penalized_loss, bounds=(-bound, bound), method="bounded", options={"xatol": tolerance})
    return Calibration(math.exp(found.x), float(found.fun))
