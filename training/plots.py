"""Draws the plots of a model card: the learning curve, and the predictions for the test rows."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib.figure import Figure

from models.architecture import Epoch
from models.html_page import light_colours
from models.schema import FeatureSchema
from models.text import render, truncate
from training.importance import ColumnImportance

Array = npt.NDArray[Any]
MAX_NAMED_CLASSES = 30
MAX_POINTS = 4000
MAX_DRAWN_COLUMNS = 20
COVERAGE_PICTURE = "coverage.png"
IMPORTANCE_PICTURE = "importance.png"


def draw_plots(
    schema: FeatureSchema,
    history: list[Epoch],
    y: Array,
    outputs: Array,
    coverage: dict[str, Any],
    importance: Sequence[ColumnImportance] = (),
) -> dict[str, bytes]:
    """PNG files by name: the learning curve, the outputs (rows, outputs) for the test rows, and their coverage.

    history: empty for an imported model, which has no learning curve. coverage: what `training.coverage_report.report`
    returns, {} if there were too few rows.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"), matplotlib.rc_context(plot_style()):
        warnings.simplefilter("ignore")  # about letters that the font lacks, or a loss of 0 on a log axis
        draw = _draw_residuals if schema.task == "regression" else _draw_classes
        figures = {"learning.png": _draw_learning_curve(history)} if history else {}
        figures["answers.png"] = draw(schema, y, outputs)
        if coverage:
            figures[COVERAGE_PICTURE] = _draw_coverage(coverage)
        if importance:
            figures[IMPORTANCE_PICTURE] = _draw_importance(importance[:MAX_DRAWN_COLUMNS])
        return {name: _to_png(figure) for name, figure in figures.items()}


def plot_style() -> Any:
    """Settings of Matplotlib, with the colours used on all pages."""
    colours = light_colours()
    text = dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), colours["text"])
    lines = dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), colours["quiet"])
    cycle = cycler(color=[colours[name] for name in ("accent", "up", "good", "bar")])
    return {**text, **lines, "axes.prop_cycle": cycle, "grid.color": colours["bar"]}


def _draw_learning_curve(history: list[Epoch]) -> Figure:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    numbers = [epoch.number for epoch in history]
    mark = "o" if len(history) < 20 else ""
    axes.plot(numbers, [epoch.loss for epoch in history], marker=mark, label="training (mean of the epoch)")
    axes.plot(numbers, [epoch.validation_loss or np.nan for epoch in history], marker=mark, label="validation")
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return figure


def _draw_residuals(schema: FeatureSchema, y: Array, outputs: Array) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    sample = slice(None, None, max(1, len(y) // MAX_POINTS))
    left.scatter(y[sample], outputs[sample, 0], s=4, alpha=0.3, linewidths=0)
    ends = [float(min(y.min(), outputs.min())), float(max(y.max(), outputs.max()))]
    left.plot(ends, ends, color=matplotlib.rcParams["axes.edgecolor"], linewidth=0.8)
    left.set(ylabel="predicted", title="held-out rows")
    left.set_xlabel(truncate(schema.target), parse_math=False)  # a dollar sign does not start a formula here
    errors = outputs[:, 0] - y
    right.hist(errors, bins=60, range=_range_of_bins(errors))
    right.set(xlabel="predicted - true", ylabel="rows", title="errors")
    return figure


def _range_of_bins(errors: Array) -> tuple[float, float]:
    """A range that is wide enough for 60 different bins, even if all errors are the same."""
    low, high = float(errors.min()), float(errors.max())
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * largest or not largest:
        return low - 0.5 * (largest or 1.0), high + 0.5 * (largest or 1.0)
    return low, high


def _draw_classes(schema: FeatureSchema, y: Array, outputs: Array) -> Figure:
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    classes = schema.classes or []
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (y, outputs.argmax(axis=1)), 1)
    image = left.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=left, shrink=0.8, label="fraction of the true class")
    left.set(xlabel="predicted", ylabel="true", title="confusion")
    if len(classes) <= MAX_NAMED_CLASSES:
        names = [render(label, bare=True)[:12] for label in classes]
        left.set_xticks(range(len(classes)), names, rotation=90, fontsize=7, parse_math=False)
        left.set_yticks(range(len(classes)), names, fontsize=7, parse_math=False)
    confidence, correct = outputs.max(axis=1), outputs.argmax(axis=1) == y
    where = np.minimum((confidence * 10).astype(int), 9)
    groups = [b for b in range(10) if (where == b).any()]
    right.plot([0, 1], [0, 1], color=matplotlib.rcParams["axes.edgecolor"], linewidth=0.8)
    right.plot(
        [confidence[where == b].mean() for b in groups], [correct[where == b].mean() for b in groups], marker="o"
    )
    right.set(
        xlabel="probability of the predicted class", ylabel="fraction of correct predictions", title="calibration"
    )
    right.grid(alpha=0.3)
    return figure


def _draw_coverage(coverage: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    levels, shares = zip(*coverage["coverage_at"], strict=True)
    left.plot([0, 1], [0, 1], color=matplotlib.rcParams["axes.edgecolor"], linewidth=0.8)
    left.plot(levels, shares, marker="o")
    left.set(xlabel="level", ylabel="fraction of held-out rows covered", title="reliability")
    left.grid(alpha=0.3)
    by = coverage.get("coverage_by_fifth") or [*coverage["coverage_by_class"].values()]
    right.bar(range(1, len(by) + 1), by)
    right.axhline(coverage["level"], color=matplotlib.rcParams["axes.edgecolor"], linewidth=0.8)
    what = "fifth of the prediction" if "coverage_by_fifth" in coverage else "class, in order"
    right.set(xlabel=what, ylabel="fraction covered", title=f"level {coverage['level']:g}")
    return figure


def _draw_importance(importance: Sequence[ColumnImportance]) -> Figure:
    figure = Figure(figsize=(9, 1.2 + 0.25 * len(importance)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(importance), 0, -1)
    left.barh(places, [column.contribution for column in importance])
    left.set_yticks(places, [truncate(column.name) for column in importance], fontsize=8, parse_math=False)
    left.set(xlabel="mean absolute contribution")
    right.barh(places, [100 * column.loss_increase for column in importance])
    right.set(xlabel="increase of the loss when shuffled, %")
    return figure


def _to_png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
