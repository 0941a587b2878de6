"""Jobs on a cluster: the engine scores and writes, and this process checks the result."""

import importlib.util
import time
from collections.abc import Callable
from typing import Literal

from models.version_lifecycle import VersionStore
from scoring.bulk_job import JobRequest, JobResult, make_scorer
from scoring.cluster_request import ClusterRequest, OutputCounts
from scoring.errors import UnusableRequest
from scoring.model_choice import find_version
from scoring.version_archive import VersionArchive

ClusterEngine = Literal["ray", "spark"]


LIBRARIES = {"ray": "ray", "spark": "pyspark"}


def run_cluster_job(engine: ClusterEngine, request: JobRequest, versions: VersionStore) -> JobResult:
    """Score Parquet files into a new folder. Raises ScoringError, StoreError or ServingStateError."""
    started = time.monotonic()
    stored = find_version(request.model, versions)
    scorer = make_scorer(stored, request.options)
    archive = VersionArchive.from_version(stored)
    wanted = ClusterRequest(list(request.patterns), str(request.out), archive, scorer, request.workers, request.max_bad)
    counts = engine_function(engine)(wanted)
    result = JobResult(stored.tag, len(request.patterns), counts.rows, counts.rows, *counts[1:])
    result.seconds = time.monotonic() - started
    result.too_many_invalid = request.max_bad.is_exceeded(counts.invalid, counts.rows)
    return result


def engine_function(engine: ClusterEngine) -> Callable[[ClusterRequest], OutputCounts]:
    """The function that runs a job on an engine. Raises UnusableRequest if its library is not installed."""
    if importlib.util.find_spec(LIBRARIES[engine]) is None:
        raise UnusableRequest(
            f"the library {LIBRARIES[engine]} is not installed; install it with: pip install 'tabserve[{engine}]', "
            f"or from requirements/scoring-{engine}.lock"
        )
    if engine == "spark":
        from scoring.spark_engine import run_on_spark

        return run_on_spark
    from scoring.ray_engine import run_on_ray

    return run_on_ray
