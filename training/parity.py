"""`python -m training.parity`: compares the accuracy and the speed of the NumPy network with those of Keras.

Both are trained, one after the other, on the bundled tables, with the same recipe and split and with several fit seeds.
The table shows the means of the main metric on the test set, and the medians of the training seconds (Keras is imported
before). A run takes several minutes. Only the plain network has a goal for its training time, because the Keras
ensemble is trained by a program that XLA compiles (training/ensemble_keras.py).
"""

import os
import sys
from statistics import mean, median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from models.architecture import Task
from models.command_line import CommandParser
from models.text import counted
from models.text_tables import aligned, markdown
from training import pipeline
from training.bundled import bundled_options
from training.config import DataOptions, FitOptions, Framework, NetworkName
from training.evaluation import MAIN_METRIC, METRIC_LABELS

FRAMEWORKS: tuple[Framework, Framework] = ("numpy", "keras")
TOLERANCE = 0.02
"""The relative tolerance of the metric."""
# The maximum training time of the plain network, as a multiple of the time with Keras.
MAX_SLOWDOWN = {"housing": 1.0, "penguins": 1.0, "income": 1.5, "letter": 1.5, "diamonds": 1.5}

Runs = dict[Framework, list[float]]


def main() -> int:
    """Print the table. The exit code is 1 if a goal was missed."""
    parser = CommandParser("python -m training.parity", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these data sets: {', '.join(MAX_SLOWDOWN)}")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="fit seeds 0 to N-1 (default: 3)")
    parser.add_argument("--network", choices=["ensemble", "plain"], default="ensemble", help="(default: ensemble)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in MAX_SLOWDOWN]
    if unknown or arguments.seeds < 1:
        parser.error(f"unknown data set {unknown[0]!r}" if unknown else "--seeds must be at least 1")
    import keras  # noqa: F401 - the import takes seconds that are not training

    table = [["data", "metric", "NumPy", "Keras", "NumPy/Keras", "NumPy s", "Keras s", "NumPy/Keras s", ""]]
    missed = 0
    for name in arguments.names or MAX_SLOWDOWN:
        task, values, seconds = compare(name, arguments.seeds, arguments.network)
        metric = mean(values["numpy"]) / mean(values["keras"])
        slowdown = median(seconds["numpy"]) / median(seconds["keras"])
        fast = slowdown <= MAX_SLOWDOWN[name] or arguments.network == "ensemble"
        good = abs(metric - 1) <= TOLERANCE and fast
        missed += not good
        means = [
            f"{mean(values[framework]):.4f}" if mean(values[framework]) < 10 else f"{mean(values[framework]):.1f}"
            for framework in FRAMEWORKS
        ]
        times = [f"{median(seconds[framework]):.1f}" for framework in FRAMEWORKS]
        result = "ok" if good else "MISSED"
        table.append(
            [name, METRIC_LABELS[MAIN_METRIC[task]], *means, f"{metric:.3f}", *times, f"{slowdown:.2f}", result]
        )
    print(f"\n{aligned(table)}\n\n{markdown(table)}")
    print(f"\nThe {arguments.network}, fit seeds 0 to {arguments.seeds - 1}, one split.")
    return 1 if missed else 0


def compare(name: str, seeds: int, network: NetworkName) -> tuple[Task, Runs, Runs]:
    """The task, and the main metric and training seconds by framework, one entry for each seed."""
    values: Runs = {framework: [] for framework in FRAMEWORKS}
    seconds: Runs = {framework: [] for framework in FRAMEWORKS}
    for seed in range(seeds):
        for framework in FRAMEWORKS:
            fit_options = FitOptions(framework=framework, network=network, fit_seed=seed)
            result = pipeline.train(bundled_options(name, DataOptions()), fit_options, report=lambda text: None)
            task = result.dataset.schema.task
            values[framework].append(result.metrics[MAIN_METRIC[task]])
            seconds[framework].append(result.fit.seconds)
            epochs = len(result.fit.history)
            summary = f"{values[framework][-1]:.4f}, {seconds[framework][-1]:.1f} s, {counted(epochs, 'epoch')}"
            print(f"{name}, seed {seed}, {framework}: {summary}", file=sys.stderr, flush=True)
    return task, values, seconds


if __name__ == "__main__":
    sys.exit(main())
