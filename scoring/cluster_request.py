"""What the engines of clusters have in common: their request, and what they report."""

from dataclasses import dataclass
from typing import NamedTuple

from scoring.bad_row_limit import BadRowLimit
from scoring.batch_scorer import BatchScorer
from scoring.version_archive import VersionArchive


@dataclass(frozen=True)
class ClusterRequest:
    """inputs: Parquet, as the engine names files. out: a path or URL of a new folder. workers: of a local engine."""

    inputs: list[str]
    out: str
    archive: VersionArchive
    scorer: BatchScorer
    workers: int
    max_bad: BadRowLimit


class OutputCounts(NamedTuple):
    """Rows of the output: all, the invalid ones and those with warnings."""

    rows: int
    invalid: int
    with_warnings: int
