"""Writes the model card: a Markdown page that describes a version for people."""

import math
from collections.abc import Sequence
from typing import Any

from models.feature import TrainingRange
from models.schema import FeatureSchema
from models.text import counted, render
from models.text_tables import markdown
from training.bundled import BUNDLED
from training.evaluation import METRIC_LABELS, EvaluationMetrics
from training.importance import ColumnImportance, unused_columns
from training.plots import COVERAGE_PICTURE, IMPORTANCE_PICTURE
from training.recipe import Recipe
from training.splitting import Split

MAX_LISTED_COLUMNS = 30  # in the table of importance


ALL_ROWS = (
    " After these figures were measured, the served network was trained once more on all rows. Its intervals and label "
    "sets use the errors that were measured before."
)


def metrics_table(network: EvaluationMetrics, baselines: dict[str, EvaluationMetrics]) -> list[list[str]]:
    """The metrics as rows of text: a header, the network and each baseline."""
    keys = [key for key in METRIC_LABELS if key in network]
    table = [["", *[METRIC_LABELS[key] for key in keys]]]
    for name, metrics in {"this model": network, **baselines}.items():
        table.append([name, *[f"{metrics[key]:.4g}" if key in metrics else "" for key in keys]])
    return table


def write_card(
    schema: FeatureSchema,
    recipe: Recipe,
    split: Split,
    record: dict[str, Any],
    network: EvaluationMetrics,
    baselines: dict[str, EvaluationMetrics],
    notices: list[str],
    coverage: dict[str, Any] | None = None,
    importance: Sequence[ColumnImportance] = (),
) -> str:
    """card.md: the model, its metrics, its data and training, its columns and the notices. record: see
    `training.provenance`."""
    bundled = BUNDLED.get(record.get("bundled") or "")
    sections = [
        f"# {schema.name}",
        f"Predicts `{schema.target}` ({schema.task}) from {counted(len(schema.features), 'column')}.",
        "## Quality",
        f"On {counted(len(split.test), 'held-out row', spec=',')} that training did not use ({split.how}); "
        f"{counted(len(split.train), 'training row', spec=',')}, "
        f"{counted(len(split.validation), 'validation row', spec=',')}"
        f"{'; the final fit uses both' if recipe.refit else ''}."
        f"{ALL_ROWS if recipe.all_rows else ''}",
        markdown(metrics_table(network, baselines)),
        "![learning curve](learning.png)",
        "![predictions on held-out rows](answers.png)",
        *uncertainty_section(coverage or {}),
        *importance_section(importance),
        "## Data and training",
        f"Data: {record['data']}, {record['rows_used']:,} of {record['rows_read']:,} rows, "
        f"SHA-256 `{record['fingerprint'][:16]}…`.",
    ]
    if bundled:
        sections.append(f"{bundled.title}. {bundled.source}. Licence: {bundled.licence}. {bundled.notes}")
    sections += [_describe_network(recipe, record), *column_sections(schema), *notice_section(notices)]
    return "\n\n".join(sections) + "\n"


def markdown_metrics(metrics: EvaluationMetrics) -> str:
    """The metrics of a model without baselines."""
    return markdown(metrics_table(metrics, {}))


def column_sections(schema: FeatureSchema) -> list[str]:
    """Describe the columns that a model uses and the columns that it ignores."""
    columns = [["column", "kind", "may be missing", "seen in training"]]
    for feature in schema.features:
        columns.append([feature.name, feature.kind, "yes" if feature.nullable else "no", _describe_seen(feature.seen)])
    sections = ["## Columns", markdown(columns)]
    if schema.ignored:
        sections += ["Not used: " + "; ".join(f"`{column.name}` ({column.reason})" for column in schema.ignored) + "."]
    return sections


def notice_section(notices: Sequence[str]) -> list[str]:
    return ["## Notices", "\n".join(f"- {notice}" for notice in notices)] if notices else []


def _describe_network(recipe: Recipe, record: dict[str, Any]) -> str:
    if recipe.network in ("linear", "constant"):
        what = f"a linear model, penalty {recipe.penalty:g}" if recipe.penalty is not None else "a constant"
        return (
            f"Model: {what}, {counted(record['parameters'], 'parameter', spec=',')}, {record['seconds']:.1f} s. "
            f"The network's validation loss was not smaller.{_log_target(recipe)}"
        )
    return (
        f"Network: {' → '.join(map(str, [*recipe.hidden, record['outputs']]))} units, {recipe.activation}, "
        f"{counted(record['parameters'], 'parameter', spec=',')}; {recipe.optimizer}, "
        f"learning rate {recipe.learning_rate:g} ({recipe.schedule}), batches of {recipe.batch_size}, "
        f"{record['epochs']} of {counted(recipe.epochs, 'epoch')}, weights of epoch {record['kept_epoch']}, "
        f"{record['seconds']:.1f} s, by {recipe.framework}."
        f"{_linear_part(recipe)}{_log_target(recipe)}"
    )


def _log_target(recipe: Recipe) -> str:
    if not recipe.log_target:
        return ""
    return (
        " It predicts the logarithm of the target, which is converted back; the learning curve shows the loss of the "
        "logarithm."
    )


def _linear_part(recipe: Recipe) -> str:
    if recipe.linear_part is None:
        return ""
    network, linear = recipe.linear_part
    return f" Its outputs are {network:.2f} times those of the network plus {linear:.2f} times those of a linear model."


def importance_section(importance: Sequence[ColumnImportance]) -> list[str]:
    if not importance:
        return []
    table = [["column", "mean absolute contribution", "loss when shuffled"]]
    for column in importance[:MAX_LISTED_COLUMNS]:
        table.append([column.name, f"{column.contribution:.3g}", f"{column.loss_increase:+.1%}"])
    text = (
        "Contributions are in the unit of the prediction, relative to one typical row. The last column is the "
        "change of the loss on held-out rows when the values of the column are shuffled among the rows."
    )
    sections = ["## Importance of the columns", text, markdown(table), f"![importance]({IMPORTANCE_PICTURE})"]
    unused = unused_columns([*importance])
    if unused:
        sections.append(
            "These columns do not improve the predictions: " + ", ".join(f"`{name}`" for name in unused) + "."
        )
    return sections


def uncertainty_section(coverage: dict[str, Any]) -> list[str]:
    """The section about uncertainty. coverage: from `training.coverage_report.report`, {} if there were too few
    rows."""
    if not coverage:
        return []
    level, rows = coverage["level"], coverage["rows"]
    deviation = 2 * math.sqrt(level * (1 - level) * 2 / rows)
    covered = f"{coverage['coverage']:.3f} ± {deviation:.3f} of the held-out rows"
    if "interval_score" in coverage:
        better = 1 - coverage["interval_score"] / coverage["constant_interval_score"]
        fifths = ", ".join(f"{share:.2f}" for share in coverage["coverage_by_fifth"])
        text = (
            f"Intervals at level {level:g} contain the true value for {covered}. Mean width "
            f"{coverage['mean_width']:.4g}, with constant width {coverage['constant_width']:.4g}. "
            f"Interval score {coverage['interval_score']:.4g}, {better:.0%} better than with constant width. Coverage "
            f"by fifth of the predictions, from the smallest: {fifths}."
        )
        levels = {f"`{name}`": shares for name, shares in coverage["coverage_by_level"].items()}
    else:
        text = (
            f"Label sets at level {level:g} contain the true label for {covered}. "
            f"Mean size {coverage['mean_size']:.3g}; {coverage['single_labels']:.1%} of the sets have one label."
        )
        levels = {"the classes": coverage["coverage_by_class"]}
    groups = [
        f"Coverage by {name}: " + ", ".join(f"{level} {share:.2f}" for level, share in shares.items()) + "."
        for name, shares in levels.items()
    ]
    return ["## Intervals and label sets", " ".join([text, *groups]), f"![coverage]({COVERAGE_PICTURE})"]


def _describe_seen(seen: TrainingRange) -> str:
    if seen.hashed:
        return f"{counted(seen.count, 'level') if seen.count else 'many levels'}, hashed"
    if seen.levels is not None:
        listed = ", ".join(render(level, bare=True) for level in seen.levels[:8])
        return listed + (f", … ({len(seen.levels):,} levels)" if len(seen.levels) > 8 else "")
    ends = [end if isinstance(end, str) else f"{end:g}" for end in (seen.min, seen.max) if end is not None]
    return " to ".join(ends)
