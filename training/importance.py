"""Measures on held-out rows which columns a model uses, in two ways.

The mean absolute contribution says how much a column moves predictions (Shapley values against one typical row). The
increase in loss says how much worse the predictions get when the column's values are shuffled among the rows
(permutation importance, Breiman 2001). Columns that carry the same information can each have a small increase.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.explanation.background import Background
from models.explanation.explainer import Explainer
from models.frame import Frame
from models.tabular_model import TabularModel

MAX_EXPLAINED_ROWS = 500
MAX_EVALUATIONS = 200_000  # evaluations of the model for all explained rows
MAX_SHUFFLED_ROWS = 2000
MAX_SHUFFLED_CELLS = 400_000  # rows times columns that are predicted with one column shuffled
SHUFFLES = 3
UNUSED_FRACTION = (
    0.001  # fraction of the largest contribution; columns below it that do not change the loss are reported
)
MIN_ROWS = 20


@dataclass(frozen=True)
class ColumnImportance:
    """The importance of a column. contribution: its mean absolute value, in the unit of the prediction. loss_increase:
    relative to the loss of the unchanged rows."""

    name: str
    contribution: float
    loss_increase: float


def column_importance(
    model: TabularModel, background: Background, frame: Frame, target: npt.NDArray[np.float64], rng: np.random.Generator
) -> list[ColumnImportance]:
    """The importance of each column, the largest contribution first; empty if there are too few rows.

    frame, target: the rows of the test set; the target as values or class numbers.
    """
    if len(target) < MIN_ROWS:
        return []
    contributions = mean_contributions(model, background, frame, rng)
    increases = loss_increases(model, frame, target, rng)
    found = [
        ColumnImportance(feature.name, float(contribution), float(increase))
        for feature, contribution, increase in zip(model.schema.features, contributions, increases, strict=True)
    ]
    return sorted(found, key=lambda column: -column.contribution)


def mean_contributions(
    model: TabularModel, background: Background, frame: Frame, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(columns,): the mean absolute contribution over random rows, as many as MAX_EVALUATIONS allows."""
    explainer = Explainer(model, background, typical=True)
    order = rng.permutation(len(frame.numbers))[:MAX_EXPLAINED_ROWS]
    per_row = max(1, explainer.count_evaluations(frame.take(order[:16])) // min(16, len(order)))
    rows = frame.take(order[: max(8, MAX_EVALUATIONS // per_row)])
    contributions = np.array([explanation.contributions for explanation in explainer.explain(rows)])
    mean: npt.NDArray[np.float64] = np.abs(contributions).mean(axis=0)
    return mean


def loss_increases(
    model: TabularModel, frame: Frame, target: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(columns,): the relative increase of the loss when a column is shuffled, averaged over several shuffles."""
    columns = model.schema.in_frame_order
    limit = min(MAX_SHUFFLED_ROWS, max(MIN_ROWS, MAX_SHUFFLED_CELLS // len(columns)))
    order = rng.permutation(len(target))[:limit]
    rows, truth = frame.take(order), target[order]
    before = max(loss(model, rows, truth), 1e-12)
    place = {feature.name: position for position, feature in enumerate(model.schema.features)}
    increases = np.zeros(len(columns))
    for number, feature in enumerate(columns):
        after = [loss(model, with_shuffled_column(rows, number, rng), truth) for _ in range(SHUFFLES)]
        increases[place[feature.name]] = float(np.mean(after)) / before - 1
    return increases


def loss(model: TabularModel, frame: Frame, target: npt.NDArray[np.float64]) -> float:
    """The RMSE in standard deviations of the target, or the log loss."""
    primary = model.predict(frame).primary
    if model.schema.task == "regression":
        errors = (primary[:, 0] - target) / model.encoder.target.scale
        return float(np.sqrt(np.mean(errors**2)))
    probability = primary[np.arange(len(target)), target.astype(np.int64)].astype(np.float64)
    return float(-np.log(np.maximum(probability, 1e-7)).mean())


def with_shuffled_column(frame: Frame, column: int, rng: np.random.Generator) -> Frame:
    """The same rows with the values of one column in random order. column: numbers first, then codes."""
    numbers, codes = frame.numbers.copy(), frame.codes.copy()
    matrix, place = (numbers, column) if column < numbers.shape[1] else (codes, column - numbers.shape[1])
    matrix[:, place] = rng.permutation(matrix[:, place])
    return Frame(numbers, codes)


def unused_columns(importance: list[ColumnImportance]) -> list[str]:
    """Columns that change neither the predictions nor the loss."""
    if not importance:
        return []
    smallest = UNUSED_FRACTION * importance[0].contribution
    return [column.name for column in importance if column.contribution <= smallest and column.loss_increase <= 0.001]
