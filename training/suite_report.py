"""The tables of `training.quality --suite`: errors by table, and a summary by learner."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean, median

import numpy as np

from training.evaluation import MAIN_METRIC, metric_error
from training.quality_results import Job, Result

ANCHORS = ("catboost", "trees")  # the first of these learners that was measured is the reference
BOOTSTRAPS = 2000
Errors = dict[str, dict[str, list[float]]]  # by table and learner, an error for each split


def report(results: Mapping[Job, Result], learners: Sequence[str]) -> list[list[list[str]]]:
    """The two tables as rows of text."""
    errors = collect(results, "error")
    anchor = next((name for name in ANCHORS if name in learners), learners[0])
    by_table = [["table", "task", "splits", *learners, f"network ÷ {anchor}"]]
    tasks = {job.table: result["task"] for job, result in results.items()}
    for table, of_table in errors.items():
        shown = [f"{mean(of_table[name]):.4g}" if name in of_table else "" for name in learners]
        splits = max(len(values) for values in of_table.values())
        by_table.append([table, tasks[table], str(splits), *shown, describe_ratio(of_table, "network", anchor)])
    return [by_table, summary(results, learners, anchor)]


def collect(results: Mapping[Job, Result], key: str) -> Errors:
    """Collect the errors of the main metric (key "error"), or of the metric named by the key."""
    found: Errors = defaultdict(lambda: defaultdict(list))
    for job, result in results.items():
        metrics = result.get("metrics", {})
        name = MAIN_METRIC[result["task"]] if key == "error" else key
        if name in metrics:
            found[job.table][job.model].append(metric_error(name, metrics[name]))
    return found


def describe_ratio(of_table: Mapping[str, Sequence[float]], learner: str, anchor: str) -> str:
    """The ratio of the mean errors, with the standard error of the splits' differences."""
    if learner not in of_table or anchor not in of_table or len(of_table[learner]) != len(of_table[anchor]):
        return ""
    ours, theirs = np.array(of_table[learner]), np.array(of_table[anchor])
    if not theirs.mean():
        return "no errors"
    deviation = (ours - theirs).std(ddof=1) / math.sqrt(len(ours)) / theirs.mean() if len(ours) > 1 else math.nan
    return f"{ours.mean() / theirs.mean():.3f}" + ("" if math.isnan(deviation) else f" ± {deviation:.3f}")


def summary(results: Mapping[Job, Result], learners: Sequence[str], anchor: str) -> list[list[str]]:
    """A row for each learner, over the tables for which all learners have results."""
    head = ["learner", "tables", "mean rank", "wins", f"error ÷ {anchor}", "95 % interval", f"log loss ÷ {anchor}"]
    rows = [[*head, "calibration error", "seconds", "µs, 1 row", "µs a row of 1,000"]]
    errors, log_losses = collect(results, "error"), collect(results, "log_loss")
    calibration = collect(results, "calibration_error")
    complete = {
        table: {name: mean(of_table[name]) for name in learners}
        for table, of_table in errors.items()
        if set(learners) <= set(of_table)
    }
    for name in learners:
        ranks = [1 + sum(other < values[name] for other in values.values()) for values in complete.values()]
        point, low, high = geometric_mean([(values[name], values[anchor]) for values in complete.values()])
        losses = geometric_mean(
            [
                (mean(of_table[name]), mean(of_table[anchor]))
                for of_table in log_losses.values()
                if name in of_table and anchor in of_table
            ]
        )
        of_learner = [result for job, result in results.items() if job.model == name and "seconds" in result]
        gaps = [mean(of_table[name]) for of_table in calibration.values() if name in of_table]
        micros = [result["microseconds"] for result in of_learner if "microseconds" in result]
        rows.append(
            [
                name,
                str(len(complete)),
                f"{mean(ranks):.2f}" if ranks else "",
                str(ranks.count(1)),
                f"{point:.3f}",
                f"{low:.3f} to {high:.3f}",
                f"{losses[0]:.3f}",
                f"{mean(gaps):.4f}" if gaps else "",
                f"{median(result['seconds'] for result in of_learner):.1f}" if of_learner else "",
                *(f"{median(pair[i] for pair in micros):.1f}" if micros else "" for i in (0, 1)),
            ]
        )
    return rows


def geometric_mean(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The geometric mean of the ratios, with a bootstrap interval over the tables.

    Tables on which a learner has no error are left out.
    """
    logs = np.array([math.log(ours / theirs) for ours, theirs in pairs if ours > 0 and theirs > 0])
    if not len(logs):
        return math.nan, math.nan, math.nan
    drawn = np.random.default_rng(0).choice(logs, (BOOTSTRAPS, len(logs))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return math.exp(logs.mean()), math.exp(low), math.exp(high)
