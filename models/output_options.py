"""The options of a request for intervals, label sets and explanations, and a model with these additional outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from models.explanation.evaluation_counts import evaluations_if_all_differ, max_evaluations
from models.frame import Frame
from models.optional_columns import (
    BASELINE,
    CONTRIBUTIONS,
    DETAILS,
    EVALUATIONS,
    ExplanationColumn,
    interval_column,
    rounded,
    set_column,
)
from models.output_columns import OutputColumn
from models.outputs import Array, Outputs
from models.tabular_model import TabularModel

if TYPE_CHECKING:  # imported by the first request for an explanation, so that workers start faster and are smaller
    from models.explanation.explainer import Explainer, Explanation

Explain = Literal["none", "full", "fast"]


class OptionError(ValueError):
    """The model cannot satisfy an option. The message names the option and the reason."""


@dataclass(frozen=True)
class OutputOptions:
    """The options of a request. intervals: the levels of a regression's intervals. sets: the levels of a
    classification's label sets.

    explain: "full" compares with all background rows, "fast" with the typical row.
    """

    intervals: tuple[float, ...] = ()
    sets: tuple[float, ...] = ()
    explain: Explain = "none"

    def __bool__(self) -> bool:
        return bool(self.intervals or self.sets or self.explain != "none")


def with_options(model: TabularModel, options: OutputOptions) -> "ExtendedModel":
    """A model whose outputs include the columns of the options. Raises OptionError."""
    if options.intervals and model.schema.task != "regression":
        raise OptionError("intervals are for regressions; this model classifies: use set=0.9")
    if options.sets and model.schema.task == "regression":
        raise OptionError("label sets are for classifications; this model is a regression: use interval=0.9")
    levels = options.intervals or options.sets
    if levels and model.uncertainty is None:
        raise OptionError(f"{model.tag} was stored without uncertainty: train it again to get intervals and label sets")
    if options.explain != "none" and model.background is None:
        raise OptionError(f"{model.tag} was stored without a background: train it again to get explanations")
    if levels and model.uncertainty is not None and max(levels) > model.uncertainty.largest_level:
        from models.uncertainty import LevelError

        raise OptionError(str(LevelError(max(levels), model.uncertainty.largest_level)))
    return ExtendedModel(model, options)


class ExtendedModel:
    """A model for certain options. `model` predicts all columns except explanations, which `explainer` computes."""

    def __init__(self, model: TabularModel, options: OutputOptions) -> None:
        self.options = options
        needs_scale = options.intervals or options.sets
        spec = model.output_spec.with_columns(*columns(model, options))
        self.model = (model.with_scale if needs_scale else model).with_spec(spec)
        self._plain = model

    @property
    def explains(self) -> bool:
        return self.options.explain != "none"

    @cached_property
    def explainer(self) -> "Explainer":
        """The explainer, created at the first explanation in this process."""
        background = self._plain.background
        assert background is not None
        from models.explanation.explainer import Explainer

        return Explainer(self._plain, background, typical=self.options.explain == "fast")

    def common_evaluations(self, limit: int) -> int | None:
        """The number of rows that the engine usually predicts to explain one row; None if it may exceed the limit."""
        background = self._plain.background
        assert background is not None
        size = len(self._plain.schema.features), 1 if self.options.explain == "fast" else len(background.numbers)
        return evaluations_if_all_differ(*size) if max_evaluations(*size) <= limit else None

    def count_evaluations(self, frame: Frame) -> int:
        """The number of rows that the engine will predict to explain these rows."""
        return self.explainer.count_evaluations(frame)

    def explain(self, frame: Frame) -> "ExplanationArrays":
        return ExplanationArrays.from_explanations(self.explainer.explain(frame), self._plain.tolerance())


class ExplanationArrays(NamedTuple):
    """The explanations of several rows, as arrays (rows,), (rows, columns) and (rows, 4).

    details: the position of the explained class or -1, whether the explanation is exact, evaluations, error.
    """

    baselines: Array
    contributions: Array
    details: Array

    @classmethod
    def from_explanations(cls, explanations: "Sequence[Explanation]", scale: float) -> "ExplanationArrays":
        """The arrays of explanations. scale: the scale of the predictions, to which contributions are rounded."""
        details = [
            (
                -1 if one.output is None else one.output,
                float(one.exact),
                float(one.evaluations),
                round_significant(one.error),
            )
            for one in explanations
        ]
        return cls(
            rounded(np.array([explanation.baseline for explanation in explanations]), scale),
            rounded(np.array([explanation.contributions for explanation in explanations]), scale),
            np.array(details, dtype=np.float64),
        )

    def add_to(self, outputs: Outputs) -> Outputs:
        """The outputs of the same rows with their explanations."""
        own = {BASELINE: self.baselines, CONTRIBUTIONS: self.contributions, DETAILS: self.details}
        return Outputs(outputs.primary, {**outputs.extras, **own})

    @property
    def evaluations(self) -> int:
        return int(self.details[:, EVALUATIONS].sum())


def round_significant(number: float) -> float:
    """Round a number to three significant digits."""
    return float(f"{number:.3g}")


def columns(model: TabularModel, options: OutputOptions) -> list[OutputColumn]:
    """The additional output columns for these options."""
    found: list[OutputColumn] = []
    if options.intervals:
        found.append(interval_column(model, options.intervals))
    if options.sets:
        found.append(set_column(model, options.sets))
    if options.explain != "none":
        found.append(ExplanationColumn.from_schema(model.schema))
    return found


def available_options(model: TabularModel, levels: int = 1) -> OutputOptions:
    """All options that this model can satisfy, for the documentation. levels: the number of levels."""
    found: tuple[float, ...] = ()
    if model.uncertainty is not None:
        largest = min(0.5, model.uncertainty.largest_level)
        found = tuple(largest / number for number in range(1, levels + 1))
    regression = model.schema.task == "regression"
    return OutputOptions(
        intervals=found if regression else (),
        sets=() if regression else found,
        explain="none" if model.background is None else "full",
    )


def optional_columns(model: TabularModel) -> list[OutputColumn]:
    """The columns that requests for this model may select, one for each key, for the documentation."""
    one, two = (columns(model, available_options(model, levels)) for levels in (1, 2))
    return [*one[:1], *two] if model.uncertainty is not None else one
