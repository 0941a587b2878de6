"""CatBoost as a baseline, if the extra `baselines` is installed.

It is better than the trees of scikit-learn, but it is a large package. Learning rate, depth and sampling are the tuned
defaults of Holzmüller et al. 2024, arXiv 2407.04491.
"""

import importlib.util
import time
from typing import Any

from training.evaluation import Array

ROUNDS, PATIENCE = 1000, 300


def is_installed() -> bool:
    return importlib.util.find_spec("catboost") is not None


def fit(
    x: Array, y: Array, validation: tuple[Array, Array], categorical: list[int], classes: int, seconds: float
) -> tuple[Any, bool]:
    """Fit CatBoost. Returns the model of the round with the smallest validation loss, and whether the time limit was
    reached.

    x (rows, columns): numbers with NaN; categorical: the indices of code columns. classes: 0 for a regression.
    """
    import catboost

    common: dict[str, Any] = {"iterations": ROUNDS, "l2_leaf_reg": 1e-5, "random_seed": 0, "allow_writing_files": False}
    if classes:
        common |= {"learning_rate": 0.08, "depth": 7, "bootstrap_type": "Bernoulli", "subsample": 0.9}
        model = catboost.CatBoostClassifier(one_hot_max_size=15, **common)
    else:
        common |= {"learning_rate": 0.09, "depth": 9, "leaf_estimation_iterations": 20}
        model = catboost.CatBoostRegressor(one_hot_max_size=20, **common)
    limit = TimeLimit(seconds)
    model.fit(
        catboost.Pool(as_objects(x, categorical), y, cat_features=categorical),
        eval_set=catboost.Pool(as_objects(validation[0], categorical), validation[1], cat_features=categorical),
        early_stopping_rounds=PATIENCE,
        use_best_model=True,
        callbacks=[limit],
        verbose=False,
    )
    return model, limit.reached


def as_objects(x: Array, categorical: list[int]) -> Any:
    """Convert x (rows, columns) to objects, with categories as text and "nan" for a missing category."""
    if not categorical:
        return x
    objects = x.astype(object)
    objects[:, categorical] = x[:, categorical].astype(str)
    return objects


class TimeLimit:
    """A callback of CatBoost that stops training after a number of seconds."""

    def __init__(self, seconds: float) -> None:
        self.end, self.reached = time.perf_counter() + seconds, False

    def after_iteration(self, info: Any) -> bool:
        """Whether to continue."""
        self.reached = time.perf_counter() > self.end
        return not self.reached
