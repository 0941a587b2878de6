"""`--time`: runs further trials after those of the recipe, until the time is up.

Every second further trial has random settings; the others vary the settings of the best trial so far. The trials of the
recipe are always run, so the smallest validation loss is never larger than without `--time`.
"""

import math
import time
from typing import Any

import numpy as np

from training.recipe import Recipe

MAX_DROPOUT = 0.4
LOGARITHMIC = {  # ranges of settings that are drawn on a logarithmic scale; epochs: relative to the recipe's
    "learning_rate": (0.002, 0.03),
    "weight_decay": (0.003, 0.3),
    "frequency_scale": (0.3, 4.0),
    "epochs": (0.1, 1.5),
}
NEIGHBOURHOOD = 0.2  # standard deviation of a varied setting, as a fraction of its range


class TimeBudget:
    """The seconds for all trials and the final fit; the duration of the next trial is estimated from the previous
    trials."""

    def __init__(self, recipe: Recipe) -> None:
        self.trial_started = time.monotonic()
        self.end = self.trial_started + (recipe.seconds or 0.0)
        self.longest = 0.0
        # The duration of the final fit, relative to the duration of a trial.
        self.final_fit = 1.25 / recipe.folds if recipe.refit else 0.0

    def end_trial(self) -> None:
        now = time.monotonic()
        self.longest, self.trial_started = max(self.longest, now - self.trial_started), now

    def allows_trial(self) -> bool:
        return time.monotonic() + (1 + self.final_fit) * self.longest < self.end


def draw_settings(recipe: Recipe, best: Recipe, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """The settings of further trial `number`. best: the recipe of the best trial so far."""
    near = best if number % 2 else None
    drawn: dict[str, Any] = {"dropout": _draw(rng, 0.0, MAX_DROPOUT, near.dropout if near else None)}
    for name, (low, high) in LOGARITHMIC.items():
        unit = recipe.epochs if name == "epochs" else 1
        center = math.log(max(getattr(near, name) / unit, low)) if near else None
        drawn[name] = unit * math.exp(_draw(rng, math.log(low), math.log(high), center))
    drawn = {name: float(f"{value:.3g}") for name, value in drawn.items()}
    drawn["epochs"] = max(1, round(drawn["epochs"]))
    # A number of frequencies that no trial of the recipe has would require another compiled program.
    compiled = {trial.get("frequencies", recipe.frequencies) for trial in recipe.trials or ({},)}
    drawn["frequencies"] = int(rng.choice(sorted(compiled)))
    return {name: drawn[name] for name in recipe.searched}


def _draw(rng: np.random.Generator, low: float, high: float, center: float | None) -> float:
    """Draw a number: uniform, or normal around `center` and clipped to the range."""
    if center is None:
        return float(rng.uniform(low, high))
    return float(np.clip(rng.normal(center, NEIGHBOURHOOD * (high - low)), low, high))


def describe_settings(settings: dict[str, Any]) -> str:
    """The settings as text, such as "dropout 0.12, learning rate 0.005"."""
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in settings.items())
