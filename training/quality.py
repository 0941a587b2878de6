"""`make quality`: train every bundled table as its users would and print how good the networks are, beside trees.

Choices (recipe, seeds, floors) are made beforehand; the figures are those of held-out rows. Several minutes.
"""

import argparse
import os
import sys
from statistics import mean

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from training import data, pipeline
from training.card import NAMES, aligned
from training.config import DataOptions, FitOptions, Framework
from training.evaluate import LOWER_IS_BETTER, Metrics

SEEDS = {"housing": (42,), "income": (42,), "penguins": (0, 1, 2, 3, 4), "diamonds": (42,), "letter": (42,)}
FLOORS = {
    ("housing", "rmse"): 0.50,
    ("income", "accuracy"): 0.855,
    ("income", "auc"): 0.908,
    ("penguins", "accuracy"): 0.97,
    ("diamonds", "rmse"): 565.0,
    ("letter", "accuracy"): 0.965,
}
SECONDS = 60.0  # a network trains within a minute on two cores


def main() -> int:
    parser = argparse.ArgumentParser("python -m training.quality", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these data sets")
    parser.add_argument("--framework", choices=("keras", "numpy"), default="keras")
    given = parser.parse_args()
    table = [["data", "metric", "this network", "boosted trees", "linear", "goal", "", "seconds", "parameters"]]
    missed = 0
    for name in given.names or SEEDS:
        networks, trees, linear, seconds, parameters = train(name, given.framework)
        slow = max(seconds) > SECONDS
        for (of, key), floor in FLOORS.items():
            if of == name:
                value = mean(found[key] for found in networks)
                good = value <= floor if key in LOWER_IS_BETTER else value >= floor
                missed += not good or slow
                figures = [value, mean(t[key] for t in trees), mean(t[key] for t in linear)]
                goal = f"{'≤' if key in LOWER_IS_BETTER else '≥'} {floor:g}"
                time = f"{max(seconds):.0f}{' TOO SLOW' if slow else ''}"
                told = [f"{figure:.4g}" for figure in figures]
                table.append([name, NAMES[key], *told, goal, "ok" if good else "MISSED", time, f"{parameters:,}"])
    print("\n" + aligned(table))
    print(f"\nOne run for each split seed: {SEEDS}; metrics on held-out rows, means over the seeds; {given.framework}.")
    return 1 if missed else 0


def train(name: str, framework: Framework) -> tuple[list[Metrics], list[Metrics], list[Metrics], list[float], int]:
    """Metrics of the network, the trees and the linear model for each seed; seconds of training; parameters."""
    networks, trees, linear, seconds = [], [], [], []
    for seed in SEEDS[name]:
        print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
        options = data.bundled_options(name, DataOptions(seed=seed))
        learned = pipeline.learn(options, FitOptions(framework=framework), tell=lambda text: None)
        compared = pipeline.compare(learned, lambda text: print(text, file=sys.stderr))
        networks.append(learned.metrics)
        trees.append(compared["boosted trees"])
        linear.append(compared["linear"])
        seconds.append(learned.fitted.seconds)
    return networks, trees, linear, seconds, learned.fitted.parameters


if __name__ == "__main__":
    sys.exit(main())
