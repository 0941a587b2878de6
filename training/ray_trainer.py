"""`--engine ray`: trials are trained as tasks of a Ray cluster, several at once.

A task uses one CPU and returns the same result as this process would, because the seed of a trial determines its
result. If a worker dies, Ray repeats its task. `RAY_ADDRESS` names the cluster; without it a cluster is started on this
machine, with all of its CPUs.
"""

import contextlib
import importlib.util
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.network.network import DivergenceError
from training.encoded_rows import EncodedRows
from training.errors import UsageError
from training.fit import fit_trial
from training.pruned_trial import FinishedTrials, PrunedTrial, train_pruned
from training.recipe import Recipe
from training.training_run import TrainingRun, TrialResult

CONNECT_S = 10.0
STARTS = 3  # attempts to start Ray on this machine
ATTEMPTS = 4  # attempts at a task whose worker dies
ONE_THREAD = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OPENBLAS_NUM_THREADS"), "1")
Rows = tuple[EncodedRows, EncodedRows]


class ClusterError(UsageError):
    """The cluster is missing or cannot train."""


class RayTrainer:
    """Trains trials on the machines of a cluster. ray: the library, which is connected to it."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._rows: tuple[EncodedRows, Any] | None = (
            None  # the train rows, and the reference to the copy on the cluster
        )

    @property
    def parallel(self) -> int:
        """The number of trials at once, one for each CPU."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def train_trials(self, run: TrainingRun, recipes: Sequence[Recipe]) -> Iterator[TrialResult | DivergenceError]:
        """See `TrialTrainer`. Raises ClusterError."""
        tasks = [(without_rows(run), recipe) for recipe in recipes]
        for result, messages in self._run(train_trial_on_worker, run, tasks):
            for message in messages:
                run.report(message)
            yield result

    def search_trials(
        self, runs: Sequence[TrainingRun], finished: FinishedTrials, seconds: float
    ) -> Iterator[PrunedTrial]:
        """Trials of a search, in order; see `train_pruned`. Raises ClusterError."""
        tasks = [(without_rows(run), finished, seconds) for run in runs]
        yield from self._run(train_pruned_on_worker, runs[0], tasks)

    def _run(self, function: Callable[..., Any], run: TrainingRun, tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """The results of function(rows, *task) for each task, in order."""
        task = self._ray.remote(function).options(num_cpus=1, max_retries=ATTEMPTS - 1)
        rows = self._shared_rows(run)
        waiting = [task.remote(rows, *arguments) for arguments in tasks]
        for reference in waiting:
            try:
                yield self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self._ray.exceptions.RayError as error:
                raise ClusterError(f"Ray cannot train a trial: {' '.join(str(error).split())[:300]}") from error

    def _shared_rows(self, run: TrainingRun) -> Any:
        """The rows in the memory that the workers share, copied there once."""
        if self._rows is None or self._rows[0] is not run.train:
            self._rows = run.train, self._ray.put((load_rows(run.train), load_rows(run.validation)))
        return self._rows[1]


def load_rows(rows: EncodedRows) -> EncodedRows:
    """The rows in memory: other machines cannot read rows on the disk of this machine."""
    return EncodedRows(np.asarray(rows.x), rows.y)


def without_rows(run: TrainingRun) -> TrainingRun:
    """Return the arguments of a training run without its rows and reports; only this machine can print reports."""
    empty = EncodedRows(np.empty((0, 0), np.float32), np.empty(0))
    return replace(
        run,
        train=empty,
        validation=empty,
        further=None,
        on_epoch=lambda epoch: None,
        report=lambda text: None,
        on_rows=lambda done, total: None,
        trainer=None,
    )


def train_trial_on_worker(
    rows: Rows, run: TrainingRun, recipe: Recipe
) -> tuple[TrialResult | DivergenceError, list[str]]:
    """Train a trial on a worker. Returns the result and the reported messages."""
    messages: list[str] = []
    run = replace(run, train=rows[0], validation=rows[1], report=messages.append)
    return fit_trial(run, recipe), messages


def train_pruned_on_worker(rows: Rows, run: TrainingRun, finished: FinishedTrials, seconds: float) -> PrunedTrial:
    """Train a trial of a search on a worker."""
    return train_pruned(replace(run, train=rows[0], validation=rows[1]), finished, seconds)


def check_installed() -> None:
    """Raises UsageError if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--engine ray: the library ray is not installed; install it with: pip install 'tabserve[ray]'")


@contextlib.contextmanager
def ray_cluster() -> Iterator[RayTrainer]:
    """Connect to the cluster, or start one on this machine. Raises UsageError."""
    check_installed()
    import ray

    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    variables = {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", **ONE_THREAD}
    _connect(ray, variables)
    try:
        yield RayTrainer(ray)
    finally:
        ray.shutdown()


def check_reachable(address: str) -> None:
    """Raises ClusterError if nothing listens at host:port. Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "//" in host:  # none, `auto`, or a URL
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"--engine ray: no cluster at {address}, which RAY_ADDRESS names: {error}") from None


def _connect(ray: Any, variables: dict[str, str]) -> None:
    """Raises ClusterError. On this machine Ray waits 30 s for its processes, which are slow on a busy machine."""
    address = os.environ.get("RAY_ADDRESS", "")
    check_reachable(address)
    starts = 1 if address else STARTS
    for start in range(starts):
        try:
            ray.init(runtime_env={"env_vars": variables}, log_to_driver=False, include_dashboard=False)
            return
        except Exception as error:  # Ray raises many types, among them Exception itself
            ray.shutdown()
            if start == starts - 1:
                raise ClusterError(f"--engine ray: no cluster: {' '.join(str(error).split())[:300]}") from error
