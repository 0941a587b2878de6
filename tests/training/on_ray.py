"""`python -m tests.training.on_ray`: compares trials on a real one-node Ray cluster with trials in this process.

`make cluster-check` runs this program in the environment of Ray, which has no pytest.
"""

import contextlib
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from tests.training.large.random_table import TARGET, write_table
from training import pipeline
from training.config import DataOptions, FitOptions
from training.errors import UsageError
from training.pipeline import TrainingResult

ROWS = 4000
WAIT_S = 300.0
TUNE_S = 20.0
NETWORK = FitOptions(framework="numpy", network="ensemble", hidden=(16,), members=2, epochs=6)


def train(table: Path, engine: pipeline.TrainingEngine, tune: float | None = None) -> TrainingResult:
    data = DataOptions(data=str(table), target=TARGET, name="t")
    with tempfile.TemporaryDirectory() as home, pipeline.open_trainer(engine, NETWORK, tune) as trainer:
        os.environ["TABSERVE_STORE"] = str(Path(home) / "models")  # the study of a search is written next to the store
        return pipeline.train(data, NETWORK, tune=tune, trainer=trainer, report=lambda text: None)


def check_trials(table: Path) -> None:
    local, ray = train(table, "local"), train(table, "ray")
    require(len(local.fit.trial_losses) > 1, "there is only one trial")
    compare(ray, local)
    print("ray: the trials of the recipe and the network equal those of this process")


def compare(found: TrainingResult, expected: TrainingResult) -> None:
    losses, wanted = found.fit.trial_losses, expected.fit.trial_losses
    require(losses == wanted, f"the losses are {losses}, those of this process {wanted}")
    require(found.metrics == expected.metrics, f"the metrics are {found.metrics}, not {expected.metrics}")
    assert found.fit.network is not None
    assert expected.fit.network is not None
    for name, array in expected.fit.network.weights().items():
        require(np.array_equal(array, found.fit.network.weights()[name]), f"the weights {name} differ")


def check_kill(table: Path) -> None:
    """Kill a training worker as soon as one exists."""
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + WAIT_S
        while not killed and time.monotonic() < deadline:
            for process in psutil.process_iter(["cmdline", "create_time"]):
                words = " ".join(process.info["cmdline"] or [])
                if "ray::train_trial_on_worker" in words and process.info["create_time"] > started:
                    with contextlib.suppress(ProcessLookupError):  # the process has just ended
                        os.kill(process.pid, signal.SIGKILL)
                        killed.append(process.pid)
                        return
            time.sleep(0.01)

    expected, started = train(table, "local"), time.time()
    thread = threading.Thread(target=kill)
    thread.start()
    found = train(table, "ray")
    thread.join()
    require(bool(killed), "no worker was killed")
    compare(found, expected)
    print("ray: the same after a worker was killed")


def check_search(table: Path) -> None:
    local, ray = train(table, "local", TUNE_S).search, train(table, "ray", TUNE_S).search
    assert local is not None
    assert ray is not None
    pairs = [*zip(local["trials"], ray["trials"], strict=False)][:10]  # later trials depend on results
    both = [(one, other) for one, other in pairs if one["state"] == other["state"] == "complete"]
    require(len(both) >= 2, f"{len(both)} trials are complete in both")
    for one, other in pairs:
        require(one["settings"] == other["settings"], f"the settings {other['settings']} are not {one['settings']}")
    for one, other in both:
        require(one["loss"] == other["loss"], f"the loss {other['loss']} is not {one['loss']}")
    print(f"ray: {len(both)} trials of a search equal those of this process; {len(ray['trials'])} in {TUNE_S:.0f} s")


def check_refusals(table: Path) -> None:
    os.environ["RAY_ADDRESS"] = "127.0.0.1:1"
    try:
        train(table, "ray")
    except UsageError as error:
        require("no cluster" in str(error), str(error))
    else:
        raise SystemExit("error: a missing cluster was accepted")
    finally:
        del os.environ["RAY_ADDRESS"]
    print("ray: a missing cluster is refused")


def require(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(f"error: {message}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tabserve-ray-") as name:
        table = Path(name) / "t.csv"
        write_table(table, ROWS)
        check_trials(table)
        check_kill(table)
        check_search(table)
        check_refusals(table)


if __name__ == "__main__":
    main()
