"""The options of a request for more outputs: intervals, label sets, explanations; and a model with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from models.optional_columns import (
    BASELINE,
    CONTRIBUTIONS,
    DETAILS,
    ExplanationColumn,
    interval_column,
    rounded,
    set_column,
)
from models.output_columns import OutputColumn
from models.outputs import Outputs
from models.tabular_model import TabularModel

if TYPE_CHECKING:  # imported when a request asks for an explanation: a worker starts faster and is smaller
    from models.explanation.explainer import Explainer, Explanation, RowsToExplain

Explain = Literal["none", "full", "fast"]


class OptionError(ValueError):
    """An option that the model cannot satisfy; the message names it and the reason."""


@dataclass(frozen=True)
class OutputOptions:
    """intervals: levels of a regression's intervals. sets: levels of a classification's label sets.

    explain: "full" compares with all background rows, "fast" with one typical row.
    """

    intervals: tuple[float, ...] = ()
    sets: tuple[float, ...] = ()
    explain: Explain = "none"

    def __bool__(self) -> bool:
        return bool(self.intervals or self.sets or self.explain != "none")


def with_options(model: TabularModel, options: OutputOptions) -> "ExtendedModel":
    """A model whose outputs have the columns of the options. Raises OptionError."""
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
    """A model for some options: `model` predicts all but explanations, which `explain` adds."""

    def __init__(self, model: TabularModel, options: OutputOptions) -> None:
        self.options = options
        needs_scale = options.intervals or options.sets
        spec = model.output_spec.with_columns(*columns(model, options))
        self.model = (model.with_scale if needs_scale else model).with_spec(spec)
        self.explainer: "Explainer | None" = None  # noqa: UP037 - imported below
        if options.explain != "none":
            assert model.background is not None
            from models.explanation.explainer import Explainer

            self.explainer = Explainer(model, model.background, typical=options.explain == "fast")

    def explain(self, rows: "RowsToExplain", block: slice, outputs: Outputs) -> Outputs:
        """The same outputs with the explanation of each row. block: which of the rows have these outputs."""
        assert self.explainer is not None
        return with_explanations(outputs, self.explainer.explain_rows(rows, block), self.model.tolerance())


def with_explanations(outputs: Outputs, explanations: "Sequence[Explanation]", scale: float) -> Outputs:
    """scale: of the predictions, by which the contributions are rounded."""
    contributions = rounded(np.array([explanation.contributions for explanation in explanations]), scale)
    details = [
        (-1 if one.output is None else one.output, float(one.exact), float(one.evaluations), float(f"{one.error:.3g}"))
        for one in explanations
    ]
    own = {
        BASELINE: rounded(np.array([explanation.baseline for explanation in explanations]), scale),
        CONTRIBUTIONS: contributions,
        DETAILS: np.array(details, dtype=np.float64),
    }
    return Outputs(outputs.primary, {**outputs.extras, **own})


def columns(model: TabularModel, options: OutputOptions) -> list[OutputColumn]:
    """The columns that the options add."""
    found: list[OutputColumn] = []
    if options.intervals:
        found.append(interval_column(model, options.intervals))
    if options.sets:
        found.append(set_column(model, options.sets))
    if options.explain != "none":
        found.append(ExplanationColumn.of(model.schema))
    return found


def available_options(model: TabularModel, levels: int = 1) -> OutputOptions:
    """All options that this model can satisfy, for documents. levels: how many."""
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
    """The columns that requests for this model may ask for, each key once, for documents."""
    one, two = (columns(model, available_options(model, levels)) for levels in (1, 2))
    return [*one[:1], *two] if model.uncertainty is not None else one
