"""The model card a person reads, and its pictures."""

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from models.architecture import Epoch
from models.feature import Seen
from models.schema import FeatureSchema
from models.text import render, truncate
from training.config import Recipe
from training.data import BUNDLED, Split
from training.evaluate import Metrics

Array = npt.NDArray[Any]
MAX_NAMED_CLASSES = 30
NAMES = {
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "auc": "AUC",
    "macro_f1": "macro F1",
    "calibration_error": "calibration error",
}


def metrics_table(network: Metrics, baselines: dict[str, Metrics]) -> list[list[str]]:
    """Rows of text: a header, the network, and each baseline."""
    keys = [key for key in NAMES if key in network]
    table = [["", *[NAMES[key] for key in keys]]]
    for name, found in {"this network": network, **baselines}.items():
        table.append([name, *[f"{found[key]:.4g}" if key in found else "" for key in keys]])
    return table


def aligned(table: list[list[str]]) -> str:
    """A table as text, the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def markdown(table: list[list[str]]) -> str:
    """A table as Markdown."""
    head, *body = [
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |" for row in table
    ]
    return "\n".join([head, "|" + "---|" * len(table[0]), *body])


def write(
    schema: FeatureSchema,
    recipe: Recipe,
    split: Split,
    facts: dict[str, Any],
    network: Metrics,
    baselines: dict[str, Metrics],
    notices: list[str],
) -> str:
    """card.md: what the model is, how good it is, what it was made from, and what to mind."""
    bundled = BUNDLED.get(facts.get("bundled") or "")
    features = [["column", "kind", "may be missing", "seen in training"]]
    for feature in schema.features:
        features.append([feature.name, feature.kind, "yes" if feature.nullable else "no", _seen(feature.seen)])
    parts = [
        f"# {schema.name}",
        f"Predicts `{schema.target}` ({schema.task}) from {len(schema.features)} columns.",
        "## How good it is",
        f"On {len(split.test):,} held-out rows that training never saw ({split.how}); "
        f"{len(split.train):,} rows to learn from, {len(split.validation):,} to choose by.",
        markdown(metrics_table(network, baselines)),
        "![learning curve](learning.png)",
        "![answers on held-out rows](answers.png)",
        "## What it was made from",
        f"Data: {facts['data']}, {facts['rows_used']:,} of {facts['rows_read']:,} rows, "
        f"SHA-256 `{facts['fingerprint'][:16]}…`.",
    ]
    if bundled:
        parts.append(f"{bundled.title}. {bundled.source}. Licence: {bundled.licence}. {bundled.notes}")
    parts += [
        f"Network: {' → '.join(map(str, [*recipe.hidden, facts['outputs']]))} units, {recipe.activation}, "
        f"{facts['parameters']:,} parameters; {recipe.optimizer}, learning rate {recipe.learning_rate:g} "
        f"({recipe.schedule}), batches of {recipe.batch_size}, {facts['epochs']} of {recipe.epochs} epochs, "
        f"{facts['seconds']:.1f} s, by {recipe.framework}.",
        "## The columns",
        markdown(features),
    ]
    if schema.ignored:
        parts += ["Left out: " + "; ".join(f"`{column.name}` ({column.reason})" for column in schema.ignored) + "."]
    if notices:
        parts += ["## To mind", "\n".join(f"- {notice}" for notice in notices)]
    return "\n\n".join(parts) + "\n"


def _seen(seen: Seen) -> str:
    if seen.hashed:
        return f"{seen.count or 'many'} levels, hashed"
    if seen.levels is not None:
        listed = ", ".join(render(level, bare=True) for level in seen.levels[:8])
        return listed + (f", … ({len(seen.levels):,} levels)" if len(seen.levels) > 8 else "")
    ends = [end if isinstance(end, str) else f"{end:g}" for end in (seen.min, seen.max) if end is not None]
    return " to ".join(ends)


# Pictures


def pictures(schema: FeatureSchema, history: list[Epoch], y: Array, answers: Array) -> dict[str, bytes]:
    """PNG files by name: how the loss fell, and how the answers on held-out rows look."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a letter that the font lacks, a loss of 0 on a logarithmic axis: no matter
        draw = _residuals if schema.task == "regression" else _classes
        figures = {"learning.png": _learning(history), "answers.png": draw(schema, y, answers)}
        return {name: _png(figure) for name, figure in figures.items()}


def _learning(history: list[Epoch]) -> Figure:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    numbers = [epoch.number for epoch in history]
    mark = "o" if len(history) < 20 else ""
    axes.plot(numbers, [epoch.loss for epoch in history], marker=mark, label="training (as it learns)")
    axes.plot(numbers, [epoch.validation_loss or np.nan for epoch in history], marker=mark, label="validation")
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return figure


def _residuals(schema: FeatureSchema, y: Array, answers: Array) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    some = slice(None, None, max(1, len(y) // 4000))
    left.scatter(y[some], answers[some, 0], s=4, alpha=0.3, linewidths=0)
    ends = [float(min(y.min(), answers.min())), float(max(y.max(), answers.max()))]
    left.plot(ends, ends, color="black", linewidth=0.8)
    left.set(ylabel="predicted", title="held-out rows")
    left.set_xlabel(truncate(schema.target), parse_math=False)  # $ is a letter here
    right.hist(answers[:, 0] - y, bins=60)
    right.set(xlabel="predicted - true", ylabel="rows", title="errors")
    return figure


def _classes(schema: FeatureSchema, y: Array, answers: Array) -> Figure:
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    classes = schema.classes or []
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (y, answers.argmax(axis=1)), 1)
    image = left.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=left, shrink=0.8, label="share of the true class")
    left.set(xlabel="predicted", ylabel="true", title="confusion")
    if len(classes) <= MAX_NAMED_CLASSES:
        names = [render(label, bare=True)[:12] for label in classes]
        left.set_xticks(range(len(classes)), names, rotation=90, fontsize=7, parse_math=False)
        left.set_yticks(range(len(classes)), names, fontsize=7, parse_math=False)
    confidence, hit = answers.max(axis=1), answers.argmax(axis=1) == y
    where = np.minimum((confidence * 10).astype(int), 9)
    groups = [b for b in range(10) if (where == b).any()]
    right.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    right.plot([confidence[where == b].mean() for b in groups], [hit[where == b].mean() for b in groups], marker="o")
    right.set(xlabel="probability of the predicted class", ylabel="how often it is right", title="calibration")
    right.grid(alpha=0.3)
    return figure


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
