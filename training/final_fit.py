"""`--final all`: trains the served network once more on all rows, after its quality was measured on the test rows.

It keeps the settings that were selected before. Rows with isolated cells are excluded, as in training. The scores of
intervals and label sets come from the test rows, predicted by the previous network, which was not trained on them.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from models.text import counted
from training.isolated_cells import isolated_rows
from training.network_fit import NetworkFit, compare_linear, with_logarithm
from training.recipe import Recipe
from training.streaming.spilled_frame import Indices
from training.training_run import Report

FitFinal = Callable[[Recipe, Indices], NetworkFit]


def fit_all_rows(trained: NetworkFit, fit: FitFinal, report: Report) -> NetworkFit:
    """A network with the same settings that is also trained on the test rows. fit: trains with further rows for the
    final fit."""
    test = trained.split.test
    further = test[~isolated_rows(trained.dataset)[test]]
    report(f"final fit on all rows, including {counted(len(further), 'test row', spec=',')}")
    final = fit(trained.settings, further)
    logarithm = trained.encoder.target.logarithm
    if logarithm is not None:  # its factor comes from validation rows
        final = replace(final, encoder=with_logarithm(final.encoder, logarithm))
    compared = trained.settings.compare_linear and trained.search is None
    return compare_linear(final, report) if compared else final


def training_rows_of(trained: NetworkFit, recipe: Recipe) -> Indices:
    """The rows that the network of a recipe was trained on."""
    parts = [trained.split.train]
    if recipe.refit:
        parts.append(trained.split.validation)
    if trained.further is not None:
        parts.append(trained.further)
    return np.concatenate(parts)
