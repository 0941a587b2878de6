"""Jobs of bulk scoring: score all inputs with one model version into one folder, and continue after an interruption."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from models import manifest, store, version_files
from models.engines import DeclaredEngine
from models.file_destination import LOCAL_URL, is_url
from models.text import counted
from models.version_files import StoredVersion
from models.version_lifecycle import VersionStore
from scoring.bad_row_limit import BadRowLimit
from scoring.batch_scorer import BLOCK_ROWS, BatchScorer
from scoring.errors import ScoringError, UnusableRequest
from scoring.input_file import InputFile
from scoring.input_list import list_inputs
from scoring.input_probe import ProbedInput, probe_all
from scoring.job_folder import ERRORS, JobFolder
from scoring.model_choice import find_version, split_name
from scoring.remote_job_folder import RemoteJobFolder
from scoring.scoring_options import ScoringOptions
from scoring.scoring_progress import ScoringProgress
from scoring.scoring_unit import UNIT_BYTES, UNIT_ROWS, ScoringUnit, plan
from scoring.unit_writer import ROW_GROUP_ROWS
from scoring.worker_pool import Message, WorkerPool

FORMAT = 1
"""The format of the output folder. It must change if the output for the same input changes."""
LAYOUT = {"block_rows": BLOCK_ROWS, "unit_rows": UNIT_ROWS, "unit_bytes": UNIT_BYTES, "row_group_rows": ROW_GROUP_ROWS}


@dataclass(frozen=True)
class JobRequest:
    """The job that a command line requests. model: for example `housing`, `housing:3` or `housing@challenger`.

    out: a folder or a URL.
    """

    model: str
    patterns: Sequence[str]
    out: str
    options: ScoringOptions
    workers: int
    max_bad: BadRowLimit


@dataclass
class JobResult:
    """The result of a job. rows: all rows in the output, including rows of earlier runs. scored: rows that this run
    scored. failures: inputs and units that could not be scored."""

    tag: str
    inputs: int
    rows: int = 0
    scored: int = 0
    invalid: int = 0
    with_warnings: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    too_many_invalid: bool = False

    @property
    def succeeded(self) -> bool:
        return not self.failures and not self.too_many_invalid


def run_job(request: JobRequest, versions: VersionStore) -> JobResult:
    """Run or continue a job. Raises ScoringError, StoreError or ServingStateError."""
    inputs = list_inputs(request.patterns)
    out = request.out.rstrip("/") if is_url(request.out) else str(Path(request.out.removeprefix(LOCAL_URL)).resolve())
    inside = next((found for found in inputs if found.url.startswith(f"{out}/")), None)
    if inside is not None:
        raise UnusableRequest(f"the input {inside.url} is in the folder of --out")
    if is_url(out):
        with RemoteJobFolder.open_url(out) as remote:
            return run_in_folder(request, versions, inputs, remote)
    # the inputs are checked first, so that no folder is created if they cannot be scored
    checked = None if Path(out).exists() else check_job(request, find_version(request.model, versions), inputs)
    with JobFolder.open(Path(out)) as folder:
        return run_in_folder(request, versions, inputs, folder, checked)


def run_in_folder(
    request: JobRequest,
    versions: VersionStore,
    inputs: Sequence[InputFile],
    folder: JobFolder,
    checked: "CheckedJob | None" = None,
) -> JobResult:
    """Run or continue a job in an open folder. checked: the job if it was checked before."""
    checked = checked or check_job(request, select_version(request, versions, folder), inputs)
    folder.claim(identity(request, checked.stored, inputs))
    folder.recover()
    return BulkJob(request, checked, folder).run()


class CheckedJob(NamedTuple):
    """The version and the inputs of a job, after checks that the version can score the inputs."""

    stored: StoredVersion
    scorer: BatchScorer
    inputs: list[ProbedInput]


def check_job(request: JobRequest, stored: StoredVersion, inputs: Sequence[InputFile]) -> CheckedJob:
    """Check that a version can score the inputs of a job. Raises UnusableRequest or StoreError."""
    scorer = make_scorer(stored, request.options)
    return CheckedJob(stored, scorer, probe_all(inputs, scorer))


def make_scorer(stored: StoredVersion, options: ScoringOptions) -> BatchScorer:
    """A scorer that only checks inputs and options. Its engine is not loaded, because only workers predict."""
    declared = DeclaredEngine("", "")
    model = version_files.read(stored, declared=declared, trusted_keys=store.environment_trusted_keys())
    return BatchScorer(model, options)


def select_version(request: JobRequest, versions: VersionStore, folder: JobFolder) -> StoredVersion:
    """The version for scoring. If the job in the folder was started with the same model argument, its version is used,
    even after a promotion."""
    known = folder.identity()
    if known is not None and known.get("requested") == request.model:
        name, _, _ = split_name(request.model)
        return versions.find(name, int(str(known["model"]).rpartition(":")[2]))
    return find_version(request.model, versions)


def identity(request: JobRequest, stored: StoredVersion, inputs: Sequence[InputFile]) -> dict[str, Any]:
    """The data that identify the job of a folder. A restart with other data is refused."""
    return {
        "format": FORMAT,
        "requested": request.model,
        "model": stored.tag,
        "manifest": manifest.files_digest(stored.path),
        "options": request.options.to_json() | LAYOUT,
        "inputs": [found.to_json() for found in inputs],
    }


class BulkJob:
    """Scores the units of a job, and collects their results."""

    def __init__(self, request: JobRequest, checked: CheckedJob, folder: JobFolder) -> None:
        self._request = request
        self._stored = checked.stored
        self._inputs = checked.inputs
        self._folder = folder
        self._schema = checked.scorer.schema
        self._result = JobResult(self._stored.tag, len(self._inputs))
        for entry in folder.done.values():
            self._count(entry)
        known = [probed.rows for probed in self._inputs]
        self._total_rows = None if None in known else sum(filter(None, known))
        skipped = sum(entry["weight"] for entry in folder.done.values())
        self._progress = ScoringProgress(sum(probed.weight for probed in self._inputs), skipped)

    def run(self) -> JobResult:
        started = time.monotonic()
        self._score()
        self._result.seconds = time.monotonic() - started
        limit = self._request.max_bad
        self._result.too_many_invalid = limit.is_exceeded(self._result.invalid, self._result.rows)
        if self._result.succeeded:
            self._folder.finish(self._summary())
        else:
            self._folder.reopen()
        return self._result

    def _score(self) -> None:
        """Score all units that are not done. Raises ScoringError as soon as the job can no longer succeed."""
        with contextlib.ExitStack() as stack:
            needs_scratch = is_url(self._folder.place)
            scratch = stack.enter_context(TemporaryDirectory(prefix="tabserve-score-")) if needs_scratch else None
            self._score_units(scratch)

    def _score_units(self, scratch: str | None) -> None:
        """Run the workers. scratch: a local folder for the workers if the output is at a URL."""
        setup: Message = {
            "version": str(self._stored.path),
            "options": self._request.options.to_json(),
            "out": self._folder.place,
            "scratch": scratch,
        }
        pool = WorkerPool(self._request.workers, setup, [probed.input for probed in self._inputs])
        try:
            pool.run(self._units(), self._on_message, self._progress.show)
        finally:
            self._progress.clear()

    def _units(self) -> Iterator[ScoringUnit]:
        for unit in plan(self._inputs, self._schema, dict(self._folder.done), self._failed):
            self._folder.reopen()
            yield unit

    def _failed(self, url: str, reason: str) -> None:
        self._result.failures.append(reason if reason.startswith(url) else f"{url}: {reason}")

    def _on_message(self, unit: ScoringUnit, message: Message) -> None:
        """Handle a message of a worker. Raises ScoringError if it ends the job."""
        if "failed" in message:
            self._progress.drop_unit(unit.name)
            if message["ends_job"]:
                raise ScoringError(message["failed"])
            self._failed(self._inputs[unit.number].input.url, message["failed"])
        elif "done" in message:
            entry = message["done"] | {"weight": unit.weight}
            self._folder.add(entry)
            self._count(entry)
            self._result.scored += entry["rows"]
            self._progress.finish_unit(unit.name, entry["rows"], unit.weight)
            self._check_invalid()
        else:
            self._progress.update_unit(unit.name, message["rows"], message["share"] * unit.weight)

    def _count(self, entry: Mapping[str, Any]) -> None:
        self._result.rows += entry["rows"]
        self._result.invalid += entry["invalid"]
        self._result.with_warnings += entry["with_warnings"]

    def _check_invalid(self) -> None:
        """Raises ScoringError if the limit of invalid rows is exceeded even if all other rows are valid."""
        limit, invalid = self._request.max_bad, self._result.invalid
        if self._total_rows is not None and limit.is_exceeded(invalid, self._total_rows):
            of_rows = f"of {counted(self._result.rows, 'row', spec=',')} so far"
            found = counted(invalid, f"{of_rows} is invalid", f"{of_rows} are invalid", spec=",")
            raise ScoringError(f"{found}, more than --max-bad {limit}: see {self._folder.place}/{ERRORS}")

    def _summary(self) -> dict[str, Any]:
        return {
            "model": self._stored.tag,
            "inputs": len(self._inputs),
            "units": len(self._folder.done),
            "rows": self._result.rows,
            "invalid": self._result.invalid,
            "with_warnings": self._result.with_warnings,
        }
