"""Temperature scaling."""

import numpy as np

from models.network.losses import BinaryCrossEntropy
from training import temperature


def test_few_correct_rows_lower_the_temperature_only_slightly() -> None:
    logits = np.tile([[2.0]], (5, 3, 1))
    few = temperature.fit_temperature(logits, np.ones(5, int), "sigmoid", BinaryCrossEntropy()).temperature
    many = temperature.fit_temperature(
        np.repeat(logits, 200, axis=0), np.ones(1000, int), "sigmoid", BinaryCrossEntropy()
    ).temperature
    assert many < 0.5 * few < few < 1
