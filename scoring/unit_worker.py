"""`python -m scoring.unit_worker`: a process that scores units.

It reads JSON lines from standard input: the setup, then units. It writes JSON lines to standard output: `ready`, the
progress of the present unit, and `done` or `failed` for each unit. It ends at the end of its input, and when its parent
has ended.
"""

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.version_files import StoreError
from scoring.batch_scorer import BatchScorer
from scoring.errors import ChangedInput, OutputFailed, ScoringError
from scoring.input_file import InputFile
from scoring.remote_unit_writer import RemoteUnitWriter
from scoring.scoring_options import ScoringOptions
from scoring.scoring_unit import ScoringUnit
from scoring.unit_reader import kept_schema, score_unit
from scoring.unit_writer import UnitWriter

PROGRESS_SECONDS = 0.5
Reply = Callable[[dict[str, Any]], None]


def main() -> int:
    """Score units until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    reply = open_reply()
    setup = json.loads(sys.stdin.readline())
    try:
        options = ScoringOptions.from_json(setup["options"])
        worker = UnitWorker(BatchScorer.load(setup["version"], options), setup["out"], setup["scratch"], reply)
    except (ScoringError, StoreError) as error:
        reply({"failed": str(error), "ends_job": True})
        return 1
    reply({"ready": True})
    for line in sys.stdin:
        message = json.loads(line)
        worker.score(ScoringUnit.from_json(message["unit"]), InputFile.from_json(message["input"]))
    return 0


def open_reply() -> Reply:
    """A function that writes a line to the parent. Output of libraries is redirected to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(message: dict[str, Any]) -> None:
        stream.write(json.dumps(message) + "\n")
        stream.flush()

    return reply


class UnitWorker:
    """Scores units with one model."""

    def __init__(self, scorer: BatchScorer, out: str, scratch: str | None, reply: Reply) -> None:
        """out: a folder, or a URL to which files are uploaded from a folder in `scratch`."""
        self._scorer = scorer
        self._out = out
        self._local = None if scratch is None else Path(tempfile.mkdtemp(dir=scratch))
        self._reply = reply
        self._parent = os.getppid()
        self._reported = 0.0

    def score(self, unit: ScoringUnit, input_file: InputFile) -> None:
        """Score a unit, write its output, and reply with its entry or the error."""
        writer: UnitWriter | None = None
        try:
            input_file.check_unchanged()
            metadata = {"input": input_file.url, "first_row": str(unit.first_row)}
            schema = self._scorer.output_schema(kept_schema(input_file, self._scorer), **metadata)
            writer = self._writer(unit.name, schema)
            for step in score_unit(unit, input_file, self._scorer):
                writer.write(step.scored, input_file.url)
                self._report(writer.rows, step.share)
            input_file.check_unchanged()
            self._end_without_parent()
            entry = {"unit": unit.name, "input": input_file.url, **writer.commit()}
            self._reply({"done": entry | {"start": unit.start, "stop": unit.stop, "first_row": unit.first_row}})
        except ScoringError as error:
            discard(writer)
            self._reply({"failed": str(error), "ends_job": isinstance(error, ChangedInput | OutputFailed)})
        except Exception as error:  # a bug or a failed engine: the job continues with the other units
            discard(writer)
            traceback.print_exc()
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._reply({"failed": f"{input_file.url}: {reason}", "ends_job": False})

    def _writer(self, name: str, schema: pa.Schema) -> UnitWriter:
        if self._local is None:
            return UnitWriter(Path(self._out), name, schema)
        return RemoteUnitWriter(self._local, self._out, name, schema)

    def _report(self, rows: int, share: float) -> None:
        self._end_without_parent()
        now = time.monotonic()
        if now - self._reported >= PROGRESS_SECONDS:
            self._reported = now
            self._reply({"rows": rows, "share": share})

    def _end_without_parent(self) -> None:
        if os.getppid() != self._parent:  # the parent was killed; the next job removes files that are not listed
            os._exit(1)


def discard(writer: UnitWriter | None) -> None:
    if writer is not None:
        writer.discard()


if __name__ == "__main__":
    sys.exit(main())
