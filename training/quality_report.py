"""The table of `training.quality`: the network, boosted trees, the plain network, and the goals."""

from collections.abc import Sequence
from statistics import mean, median, pstdev
from typing import NamedTuple

from training.evaluation import LOWER_IS_BETTER, MAIN_METRIC, METRIC_LABELS, metric_error
from training.quality_results import Job, Results, jobs

MAX_SECONDS = 90.0  # maximum for one training run


class Goal(NamedTuple):
    """A bound on the mean over all runs, either of the metric or of the ratio of its error to the trees' error."""

    metric: str
    bound: float
    ratio: bool = True

    def reached(self, value: float) -> bool:
        return value <= self.bound if self.ratio or self.metric in LOWER_IS_BETTER else value >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.ratio or self.metric in LOWER_IS_BETTER else "≥"
        return f"{'ratio ' if self.ratio else ''}{sign} {self.bound:g}"


GOALS = {
    "housing": [Goal("rmse", 1.01)],
    "income": [Goal("accuracy", 1.01), Goal("auc", 0.925, ratio=False)],
    "penguins": [Goal("accuracy", 0.98, ratio=False)],
    "diamonds": [Goal("rmse", 1.0)],
    "letter": [Goal("accuracy", 0.75)],
}


def report(results: Results, tables: Sequence[str], seeds: Sequence[int], fits: int) -> tuple[list[list[str]], int]:
    """The table as rows of text, and the number of missed goals."""
    head = ["table", "metric", "network", "boosted trees", "plain network", "ratio to trees", "goal", ""]
    table = [[*head, "maximum seconds", "parameters", "µs, 1 row", "µs a row of 1,000"]]
    missed = 0
    for name in tables:
        networks = [results.by_job[Job(name, seed, "network", fit)] for seed in seeds for fit in range(fits)]
        longest = max(result["seconds"] for result in networks)
        slow = longest > MAX_SECONDS
        for goal in GOALS.get(name) or [Goal(MAIN_METRIC[networks[0]["task"]], float("inf"))]:
            key = goal.metric
            values = {
                model: [results.by_job[job]["metrics"][key] for job in jobs([name], seeds, fits) if job.model == model]
                for model in ("network", "trees", "plain")
            }
            ratios = [
                metric_error(key, network) / metric_error(key, values["trees"][i // fits])
                for i, network in enumerate(values["network"])
                if metric_error(key, values["trees"][i // fits])
            ]
            value = mean(ratios) if goal.ratio and ratios else mean(values["network"])
            good = goal.reached(value) and not slow
            missed += not good
            one, many = (median(result["microseconds"][i] for result in networks) for i in (0, 1))
            table.append(
                [
                    name,
                    METRIC_LABELS[key],
                    *[mean_and_deviation(values[model]) for model in ("network", "trees", "plain")],
                    mean_and_deviation(ratios) if ratios else "trees made no error",
                    str(goal) if goal.bound < float("inf") else "",
                    ("ok" if good else "TOO SLOW" if slow else "MISSED") if goal.bound < float("inf") else "",
                    f"{longest:.0f}",
                    f"{networks[0]['parameters']:,}",
                    f"{one:.0f}",
                    f"{many:.1f}",
                ]
            )
    return table, missed


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.4g} ± {pstdev(values):.2g}"
