"""`python -m training.parity`: is the network one can read as good as Keras, and as fast?

The bundled tables, the same recipe and split, trained by both in turn with several fit seeds: the main metric on
held-out rows (means), and the seconds of training alone (medians; Keras is imported before). Several minutes.
Of the plain network the seconds have a goal; the ensemble's Keras is a program compiled by XLA (training/ensemble.py).
"""

import argparse
import os
import sys
from statistics import mean, median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from models.architecture import Task
from training import data, pipeline
from training.card import NAMES, aligned, markdown
from training.config import DataOptions, FitOptions, Framework, NetworkName
from training.evaluate import MAIN

FRAMEWORKS: tuple[Framework, Framework] = ("numpy", "keras")
TOLERANCE = 0.02  # of the metric, relative
PLAIN_SLOWER = {"housing": 1.0, "penguins": 1.0, "income": 1.5, "letter": 1.5, "diamonds": 1.5}  # times Keras's seconds

Runs = dict[Framework, list[float]]


def main() -> int:
    parser = argparse.ArgumentParser("python -m training.parity", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these data sets: {', '.join(PLAIN_SLOWER)}")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="fit seeds 0 to N-1 (default: 3)")
    parser.add_argument("--network", choices=["ensemble", "plain"], default="ensemble", help="(default: ensemble)")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in PLAIN_SLOWER]
    if unknown or given.seeds < 1:
        parser.error(f"unknown data set {unknown[0]!r}" if unknown else "--seeds must be at least 1")
    import keras  # noqa: F401 - some seconds, which are not training

    table = [["data", "metric", "NumPy", "Keras", "NumPy/Keras", "NumPy s", "Keras s", "NumPy/Keras s", ""]]
    missed = 0
    for name in given.names or PLAIN_SLOWER:
        task, values, seconds = race(name, given.seeds, given.network)
        metric = mean(values["numpy"]) / mean(values["keras"])
        slower = median(seconds["numpy"]) / median(seconds["keras"])
        fast = slower <= PLAIN_SLOWER[name] or given.network == "ensemble"
        good = abs(metric - 1) <= TOLERANCE and fast
        missed += not good
        means = [f"{mean(values[by]):.4f}" if mean(values[by]) < 10 else f"{mean(values[by]):.1f}" for by in FRAMEWORKS]
        times = [f"{median(seconds[by]):.1f}" for by in FRAMEWORKS]
        verdict = "ok" if good else "MISSED"
        table.append([name, NAMES[MAIN[task]], *means, f"{metric:.3f}", *times, f"{slower:.2f}", verdict])
    print(
        f"\n{aligned(table)}\n\n{markdown(table)}\n\nThe {given.network}, fit seeds 0 to {given.seeds - 1}, one split."
    )
    return 1 if missed else 0


def race(name: str, seeds: int, network: NetworkName) -> tuple[Task, Runs, Runs]:
    """Main metric and training seconds by framework, one entry for each seed."""
    values: Runs = {by: [] for by in FRAMEWORKS}
    seconds: Runs = {by: [] for by in FRAMEWORKS}
    for seed in range(seeds):
        for by in FRAMEWORKS:
            fit_options = FitOptions(framework=by, network=network, fit_seed=seed)
            learned = pipeline.learn(data.bundled_options(name, DataOptions()), fit_options, tell=lambda text: None)
            task = learned.dataset.schema.task
            values[by].append(learned.metrics[MAIN[task]])
            seconds[by].append(learned.fitted.seconds)
            epochs = len(learned.fitted.history)
            told = f"{values[by][-1]:.4f}, {seconds[by][-1]:.1f} s, {epochs} epochs"
            print(f"{name}, seed {seed}, {by}: {told}", file=sys.stderr, flush=True)
    return task, values, seconds


if __name__ == "__main__":
    sys.exit(main())
