"""How sure an ensemble may be: its logits are divided by one number, found on the validation part.

Smoothed labels and dropout make a network more timid than it is right, long training makes it surer (Guo et al. 2017,
arXiv 1706.04599). The number goes into the weights of the members' last layers: answering costs nothing more.
"""

import math

from scipy.optimize import minimize_scalar

from models.architecture import Link
from models.network.activations import Array
from models.network.ensemble_layers import member_mean
from models.network.losses import Loss, Targets

LARGEST = 4.0
SPREAD = 0.5  # of the temperature's logarithm before any row was seen: a few rows, all answered right, prove little


def fit(logits: Array, y: Targets, link: Link, loss: Loss) -> float:
    """The temperature of the smallest loss of y (rows,) by the members' mean; logits (rows, members, outputs)."""

    def worth(log_t: float) -> float:
        together = member_mean(logits / math.exp(log_t), link, axis=1)
        return float(loss(together, y)[0]) * len(y) + (log_t / SPREAD) ** 2 / 2

    bound = math.log(LARGEST)
    return math.exp(minimize_scalar(worth, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-3}).x)
