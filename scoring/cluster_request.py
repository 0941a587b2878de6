"""The request and the result of a job on a cluster, for all engines."""

from dataclasses import dataclass
from typing import NamedTuple

from scoring.bad_row_limit import BadRowLimit
from scoring.batch_scorer import BatchScorer
from scoring.version_archive import VersionArchive


@dataclass(frozen=True)
class ClusterRequest:
    """A job for an engine. inputs: Parquet files, as paths or URLs of the engine. out: the path or URL of a new folder.
    workers: the number of processes of a local engine."""

    inputs: list[str]
    out: str
    archive: VersionArchive
    scorer: BatchScorer
    workers: int
    max_bad: BadRowLimit


class OutputCounts(NamedTuple):
    """The numbers of rows in the output: all rows, invalid rows, and rows with warnings."""

    rows: int
    invalid: int
    with_warnings: int
