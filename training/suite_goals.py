"""Checks whether the default network meets its goals on a half of the development suite."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import NamedTuple

import numpy as np

from models.text import counted
from training.quality_results import Job, Result
from training.suite_report import Errors, collect, geometric_mean

NETWORK = "network"
MAX_MEAN_RATIOS = {"catboost": 1.0, "realmlp": 0.99, "trees": 0.95}
MAX_LOG_LOSS_RATIO = 1.02  # maximum ratio to CatBoost's log loss
CLEARLY_WORSE, MAX_FRACTION = 1.05, 1 / 6  # ratio to CatBoost's error; maximum fraction of tables above it
SIMPLE, WORSE_THAN_SIMPLE = ("constant", "linear"), 1.02
DEVIATIONS = 2.0  # number of standard errors by which a mean ratio must exceed a limit


class SuiteGoal(NamedTuple):
    """A row of the table. met: None if a learner that the goal needs was not measured."""

    text: str
    measured: str
    met: bool | None


def goals(results: Mapping[Job, Result]) -> list[list[str]]:
    """The goals as rows of text."""
    names = {True: "met", False: "MISSED", None: "not measured"}
    return [["goal of the network", "measured", ""], *([g.text, g.measured, names[g.met]] for g in _goals(results))]


def _goals(results: Mapping[Job, Result]) -> Iterator[SuiteGoal]:
    errors = collect(results, "error")
    for name, limit in MAX_MEAN_RATIOS.items():
        yield _mean_ratio(f"error ÷ {name} ≤ {limit:.2f}", errors, name, limit)
    losses = collect(results, "log_loss")
    yield _mean_ratio(f"log loss ÷ catboost ≤ {MAX_LOG_LOSS_RATIO}", losses, "catboost", MAX_LOG_LOSS_RATIO)
    yield _goal_for_calibration(collect(results, "calibration_error"))
    yield _goal_against_catboost(errors)
    yield _goal_against_simple_models(errors)


def _mean_ratio(text: str, errors: Errors, other: str, limit: float) -> SuiteGoal:
    """A goal for the geometric mean over tables; it is judged by the mean, not by the interval."""
    pairs = [(mean(of[NETWORK]), mean(of[other])) for of in _tables_with_both(errors, other).values()]
    point, low, high = geometric_mean(pairs)
    if math.isnan(point):
        return SuiteGoal(text, "", None)
    return SuiteGoal(text, f"{point:.3f} ({low:.3f} to {high:.3f}), {counted(len(pairs), 'table')}", point <= limit)


def _goal_for_calibration(errors: Errors) -> SuiteGoal:
    text, both = "calibration error ≤ CatBoost's", _tables_with_both(errors, "catboost").values()
    if not both:
        return SuiteGoal(text, "", None)
    ours, theirs = (mean(mean(of[name]) for of in both) for name in (NETWORK, "catboost"))
    return SuiteGoal(text, f"{ours:.4f} and {theirs:.4f}, {counted(len(both), 'table')}", ours <= theirs)


def _goal_against_catboost(errors: Errors) -> SuiteGoal:
    text, both = "over 5 % worse than catboost on at most a sixth of the tables", _tables_with_both(errors, "catboost")
    worse = [table for table, of in both.items() if is_worse(of[NETWORK], of["catboost"], CLEARLY_WORSE)]
    if not both:
        return SuiteGoal(text, "", None)
    return SuiteGoal(text, _listed(worse, len(both)), len(worse) <= MAX_FRACTION * len(both))


def _goal_against_simple_models(errors: Errors) -> SuiteGoal:
    text = "on no table over 2 % worse than the better of constant and linear"
    simple = {table: of for table, of in errors.items() if NETWORK in of and set(SIMPLE) <= set(of)}
    best = {table: min((of[name] for name in SIMPLE), key=mean) for table, of in simple.items()}
    worse = [table for table, of in simple.items() if is_worse(of[NETWORK], best[table], WORSE_THAN_SIMPLE)]
    return SuiteGoal(text, _listed(worse, len(simple)) if simple else "", not worse if simple else None)


def is_worse(ours: Sequence[float], theirs: Sequence[float], limit: float) -> bool:
    """Whether the ratio of the mean errors exceeds the limit by more than two standard errors over the splits."""
    if len(ours) != len(theirs) or not mean(theirs):
        return mean(ours) > limit * mean(theirs)
    excess = np.array(ours) - limit * np.array(theirs)
    error = excess.std(ddof=1) / math.sqrt(len(excess)) if len(excess) > 1 else 0.0
    return bool(excess.mean() > DEVIATIONS * error)


def _tables_with_both(errors: Errors, other: str) -> Errors:
    return {table: of for table, of in errors.items() if {NETWORK, other} <= set(of)}


def _listed(worse: Sequence[str], tables: int) -> str:
    return f"{len(worse)} of {counted(tables, 'table')}" + (f": {', '.join(worse)}" if worse else "")
