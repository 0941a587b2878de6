"""Scores tables on Ray Data: `map_batches` runs the batch scorer in a pool of actors.

The machines need Python with `tabserve[arrow]`. The model version is sent to each actor once.
"""

import contextlib
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
import pyarrow.dataset

from models.json_text import dumps
from models.text import counted
from scoring.batch_scorer import BatchScorer
from scoring.cluster_request import ClusterRequest, OutputCounts
from scoring.errors import ScoringError, UnusableRequest
from scoring.input_list import list_inputs
from scoring.input_probe import probe_all
from scoring.job_folder import ERRORS, SUCCESS
from scoring.scoring_options import ScoringOptions
from scoring.unit_writer import to_json_value
from scoring.version_archive import VersionArchive
from scoring.worker_environment import worker_environment

if TYPE_CHECKING:
    from ray.data import Dataset

BATCH_ROWS = 65_536


class ScoringActor:
    """Loads a version and scores tables with it."""

    def __init__(self, archive: VersionArchive, options: ScoringOptions) -> None:
        with archive.unpacked() as folder:
            self._scorer = BatchScorer.load(folder, options)

    def __call__(self, table: pa.Table) -> pa.Table:
        batches = self._scorer.score_batches(table.combine_chunks().to_batches())
        kept = self._scorer.kept_fields(table.schema)
        return pa.Table.from_batches(batches, schema=self._scorer.output_schema(kept))


def score_dataset(
    dataset: "Dataset", archive: VersionArchive, options: ScoringOptions, actors: int | tuple[int, int] = 1
) -> "Dataset":
    """Score a dataset: the output has one row for each input row. In errors, rows are numbered within each batch.

    actors: the number of actors, or their minimum and maximum number.
    """
    return dataset.map_batches(
        ScoringActor,
        fn_constructor_args=(archive, options),
        batch_format="pyarrow",
        batch_size=BATCH_ROWS,
        concurrency=actors,
        zero_copy_batch=True,
    )


def run_on_ray(request: ClusterRequest) -> OutputCounts:
    """Score Parquet files into a new folder. Raises ScoringError."""
    import ray

    inputs = list_inputs(request.inputs)
    if other := next((found.url for found in inputs if found.format != "parquet"), None):
        raise UnusableRequest(f"{other}: the engine ray reads only Parquet")
    expected = sum(probed.rows or 0 for probed in probe_all(inputs, request.scorer))
    system, path = fsspec.url_to_fs(request.out)
    if system.exists(path):
        raise UnusableRequest(f"{request.out} exists already: choose another --out")
    ray.init(runtime_env={"env_vars": worker_environment()}, ignore_reinit_error=True, log_to_driver=False)
    try:
        dataset = ray.data.read_parquet([found.url for found in inputs], columns=needed_columns(request.scorer))
        score_dataset(dataset, request.archive, request.scorer.options, (1, request.workers)).write_parquet(request.out)
    except ray.exceptions.RayError as error:
        raise ScoringError(f"the job failed on Ray: {' '.join(str(error).split())[-300:]}") from error
    finally:
        ray.shutdown()
    counts = count_output(system, path, request.scorer.options.keep)
    if counts.rows != expected:
        rows = counted(counts.rows, "row", spec=",")
        raise ScoringError(f"{request.out} has {rows}, but the inputs have {expected:,}")
    if not request.max_bad.is_exceeded(counts.invalid, counts.rows):
        system.pipe_file(f"{path}/{SUCCESS}", b"")
    return counts


def needed_columns(scorer: BatchScorer) -> list[str]:
    """The columns to read: the kept columns and the columns of the model."""
    return list(dict.fromkeys([*scorer.options.keep, *(feature.name for feature in scorer.schema.features)]))


def count_output(system: Any, path: str, keep: tuple[str, ...]) -> OutputCounts:
    """Count the rows of the output, and write the invalid rows to `_errors`."""
    scanner = pa.dataset.dataset(path, filesystem=system, format="parquet").scanner(
        columns=[*keep, "error", "warnings"]
    )
    rows = invalid = with_warnings = 0
    with contextlib.ExitStack() as stack:
        file: Any = None
        for batch in scanner.to_batches():
            rows += batch.num_rows
            with_warnings += batch.num_rows - batch.column("warnings").null_count
            if not (count := batch.num_rows - batch.column("error").null_count):
                continue
            invalid += count
            if file is None:
                system.makedirs(f"{path}/{ERRORS}", exist_ok=True)
                file = stack.enter_context(system.open(f"{path}/{ERRORS}/errors.ndjson", "wb"))
            for row in batch.filter(batch.column("error").is_valid()).select([*keep, "error"]).to_pylist():
                file.write(dumps({name: to_json_value(value) for name, value in row.items()}) + b"\n")
    return OutputCounts(rows, invalid, with_warnings)
