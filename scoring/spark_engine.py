"""Scores tables on Spark: `mapInArrow` runs the batch scorer in each task.

The machines need Python with `tabserve[arrow]`. The model version is sent with the tasks.
"""

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from models.text import counted
from scoring.batch_scorer import BatchScorer
from scoring.cluster_request import ClusterRequest, OutputCounts
from scoring.errors import ScoringError, UnreadableInput, UnusableRequest
from scoring.input_file import reason_of
from scoring.input_probe import check_columns
from scoring.job_folder import ERRORS, SUCCESS
from scoring.scoring_options import ScoringOptions
from scoring.version_archive import VersionArchive
from scoring.worker_environment import worker_environment

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BATCH_ROWS = 65_536
ATTEMPTS = 4  # attempts for a task, as on a cluster
LAUNCHED_BY_SUBMIT = "PYSPARK_GATEWAY_PORT"  # spark-submit sets this variable and determines the master


def score_frame(frame: "DataFrame", archive: VersionArchive, scorer: BatchScorer) -> "DataFrame":
    """Score a data frame: the output has one row for each input row. In errors, rows are numbered within each
    partition.

    scorer: a scorer of the same version. Its options and schema are used; its engine need not be loaded.
    """
    from pyspark.sql.pandas.types import from_arrow_schema
    from pyspark.sql.types import StructType

    options = scorer.options
    needed = [name for name in frame.columns if not scorer.is_skipped(name)]
    frame = frame.select(*map(quoted_name, dict.fromkeys([*options.keep, *needed])))
    kept = [frame.schema[name] for name in options.keep]
    written = scorer.output_schema()
    scored = frame.mapInArrow(spark_task(archive, options), StructType([*kept, *from_arrow_schema(written)]))
    return scored.withMetadata("error", {key.decode(): value.decode() for key, value in written.metadata.items()})


def quoted_name(name: str) -> str:
    """A column name in quotes for Spark, because it may contain dots or blanks."""
    return "`" + name.replace("`", "``") + "`"


def spark_task(
    archive: VersionArchive, options: ScoringOptions
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that Spark sends to its machines. It loads the version once per task."""

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with archive.unpacked() as folder:
            scorer = BatchScorer.load(folder, options)
        yield from scorer.score_batches(batches)

    return score


def run_on_spark(request: ClusterRequest) -> OutputCounts:
    """Score Parquet files into a new folder. Spark's committer writes `_SUCCESS` only if the folder is complete.

    Raises ScoringError.
    """
    session = spark_session(request)
    try:
        frame = session.read.parquet(*request.inputs)
        check_columns_of(frame, request.scorer)
        score_frame(frame, request.archive, request.scorer).write.parquet(request.out)
        counts = count_output(session, request)
        if counts.rows != (expected := frame.count()):
            rows = counted(counts.rows, "row", spec=",")
            raise ScoringError(f"{request.out} has {rows}, but the inputs have {expected:,}")
        if request.max_bad.is_exceeded(counts.invalid, counts.rows):
            remove_success(session, request.out)
        return counts
    except Exception as error:
        from pyspark.errors import AnalysisException, PySparkException

        if isinstance(error, AnalysisException):
            raise UnusableRequest(reason_of(error)) from None
        if isinstance(error, PySparkException):
            raise ScoringError(f"the job failed on Spark: {reason_of(error)}") from error
        raise
    finally:
        session.stop()


def check_columns_of(frame: "DataFrame", scorer: BatchScorer) -> None:
    """Raises UnusableRequest if every row would be invalid."""
    try:
        check_columns(frame.columns, [name for name in frame.columns if not scorer.is_skipped(name)], scorer)
    except UnreadableInput as error:
        raise UnusableRequest(str(error)) from None


def spark_session(request: ClusterRequest) -> "SparkSession":
    """The session of spark-submit, or a new session on this machine."""
    from pyspark.sql import SparkSession

    os.environ |= worker_environment()
    builder = SparkSession.builder.appName(f"tabserve score {request.scorer.model.tag}")
    builder = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", str(BATCH_ROWS))
    if LAUNCHED_BY_SUBMIT not in os.environ:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        local = {"spark.master": f"local[{request.workers},{ATTEMPTS}]", "spark.ui.enabled": "false"}
        builder = builder.config(map=local | {"spark.log.level": "ERROR"})
    return builder.getOrCreate()


def count_output(session: "SparkSession", request: ClusterRequest) -> OutputCounts:
    """Count the rows of the output, and write the invalid rows to `_errors`."""
    from pyspark.sql import functions

    written = session.read.parquet(request.out)
    counted = written.agg(
        functions.count(functions.lit(1)), functions.count("error"), functions.count("warnings")
    ).first()
    assert counted is not None
    counts = OutputCounts(*counted)
    if counts.invalid:
        columns = [*map(quoted_name, request.scorer.options.keep), "error"]
        written.filter(written["error"].isNotNull()).select(*columns).write.json(f"{request.out}/{ERRORS}")
    return counts


def remove_success(session: "SparkSession", out: str) -> None:
    """Remove the `_SUCCESS` that Spark's committer wrote, in any file system that Spark supports."""
    context: Any = session.sparkContext
    path = context._jvm.org.apache.hadoop.fs.Path(f"{out}/{SUCCESS}")
    path.getFileSystem(context._jsc.hadoopConfiguration()).delete(path, False)
