"""Small models with intervals, label sets and explanations, created without training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from models import uncertainty
from models.explanation.background import Background
from models.tabular_model import TabularModel

Row = dict[str, Any]


class ScaleEngine:
    """An engine with a second output: the sum of the first encoded columns is the log scale."""

    name, reason = "numpy", "a test"

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def outputs(self, x: Any) -> Any:
        return np.concatenate([self._engine.outputs(x), 0.1 * x[:, :1]], axis=1)


def with_uncertainty(model: TabularModel, rows: list[Row]) -> TabularModel:
    """A copy of the model with a background and with scores of 200 rows. The copy has no folder, because it differs
    from the stored files.
    """
    rng = np.random.default_rng(4)
    frame = model.schema.frames.from_rows(rows)
    background = Background.fit(model.schema, frame, rng)
    if model.schema.task == "regression":
        scores = uncertainty.fit(rng.exponential(size=200))
        return replace(
            model, background=background, uncertainty=scores, scaled_engine=ScaleEngine(model.engine), folder=None
        )
    return replace(model, background=background, uncertainty=uncertainty.fit(rng.random(200) * 0.7), folder=None)


def trusted_models(
    tabular_models: list[TabularModel], random_rows: Callable[..., list[Row]]
) -> dict[str, TabularModel]:
    """The models `homes`, `income` and `house_class`, and `old`, which was stored without these options."""
    made = [
        with_uncertainty(model, random_rows(model.schema, 300, np.random.default_rng(5)))
        for model in tabular_models
        if model.name in ("homes", "income", "house_class")
    ]
    old = replace(made[0], schema=made[0].schema.model_copy(update={"name": "old"}), background=None, uncertainty=None)
    return {model.name: model for model in [*made, old]}
