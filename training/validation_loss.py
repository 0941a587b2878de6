"""The validation loss of an ensemble, which selects the best epoch of a trial, and the best trial.

For classes it is the log loss after temperature scaling, because calibrated probabilities are served: a network that
becomes too confident while its ranking of the rows still improves is not past its best epoch (Berta et al. 2025, arXiv
2501.19195).
"""

from collections.abc import Callable

import numpy as np

from models.network.activations import Array
from models.network.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Huber, Loss, SquaredError
from training import temperature
from training.encoded_rows import Targets
from training.recipe import Recipe
from training.training_run import TrainingRun

ValidationLoss = Callable[[Array], float]
"""The loss of the members' outputs (rows, members, outputs) for the validation rows."""


def validation_loss(run: TrainingRun, y: Targets) -> ValidationLoss:
    """Return the validation loss of a run as a function, for rows with targets y and for both frameworks."""
    link = run.architecture.link
    if run.task == "regression":
        return lambda outputs: _regression_loss(run.recipe, outputs.mean(axis=1)[:, 0], y)
    loss: Loss = (BinaryCrossEntropy if run.task == "binary" else CategoricalCrossEntropy)(0.0, run.class_weights)
    return lambda outputs: temperature.fit_temperature(outputs, y, link, loss, tolerance=0.05).loss


def _regression_loss(recipe: Recipe, values: Array, targets: Targets) -> float:
    y = targets.astype(values.dtype)
    if recipe.loss == "mae":
        return float(np.abs(values - y).mean())
    loss: Loss = Huber() if recipe.loss == "huber" else SquaredError()
    return loss(values[:, np.newaxis], y)[0]
