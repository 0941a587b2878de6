"""`make tables-check` (minutes): reads small real tables from other packages, and trains models on them.

Each table of `real_tables.csv` is inspected, trained for a few epochs, and its file is posted to the model. The program
prints how the columns were read. The reports of `inspect` are written to `build/tables/readings`; the file names begin
with the rank of the table, and the most unusual table has rank 1.
"""

import contextlib
import csv
import io
import os
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.cell_format import PLAIN
from models.command_line import CommandParser
from models.formats.csv_decoder import CsvDecoder
from models.text_tables import aligned
from models.version_files import StoreError
from tests.training.posting import assert_frame, decoded
from training import dataset_report, file_content
from training.arguments import add_options, options_from
from training.build_dataset import load_dataset
from training.config import DataOptions, FitOptions
from training.dataset import Dataset
from training.errors import UsageError

FOLDER = Path("build/tables")
LIST = Path(__file__).with_suffix(".csv")
MAX_SECONDS = 120  # limit for one table
EPOCHS = 3


@dataclass(frozen=True)
class RealTable:
    """A line of `real_tables.csv`. flags: options of the command line."""

    file: str
    target: str
    flags: str

    @property
    def options(self) -> DataOptions:
        parser = CommandParser()
        add_options(parser, DataOptions)
        path = str(FOLDER / "packages" / self.file)
        arguments = ["--data", path, "--target", self.target, "--name", "table", *shlex.split(self.flags)]
        return options_from(DataOptions, parser.parse_args(arguments))


@dataclass
class Reading:
    """The result of a table. `failure` is empty if the table was read, trained and posted without an error."""

    file: str
    rows: int = 0
    columns: str = ""
    task: str = ""
    oddities: int = 0
    report: str = ""
    seconds: float = 0.0
    failure: str = ""


def read_list() -> list[RealTable]:
    with LIST.open(encoding="utf-8", newline="") as file:
        return [RealTable(**line) for line in csv.DictReader(file)]


def check(table: RealTable) -> Reading:
    """Read, train and post one table, within MAX_SECONDS."""
    reading, started = Reading(table.file), time.monotonic()
    try:
        with time_limit(MAX_SECONDS):
            dataset = load_dataset(table.options)
            describe(reading, dataset)
            train(table.options)
            post(table.options, dataset)
    except (UsageError, StoreError, AssertionError) as error:
        reading.failure = " ".join(str(error).split())
    except Exception as error:  # users would see a traceback for these errors
        reading.failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
    reading.seconds = time.monotonic() - started
    return reading


def describe(reading: Reading, dataset: Dataset) -> None:
    kinds = Counter(decision.type for decision in dataset.decisions)
    reading.rows = dataset.rows_used
    reading.columns = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    reading.task = dataset.schema.task
    reading.report = dataset_report.report(dataset)
    reading.oddities = oddity(dataset)


def oddity(dataset: Dataset) -> int:
    """A measure of how much a table differs from plain numbers and categories."""
    features = dataset.schema.features
    formats = sum(feature.cells != PLAIN for feature in features) + (dataset.schema.target_cells != PLAIN)
    dates = sum(feature.kind == "date" and feature.date_format not in (None, "iso") for feature in features)
    ignored = sum(decision.type == "ignored" for decision in dataset.decisions)
    return len(dataset.notices) + 2 * formats + 2 * dates + ignored


def train(options: DataOptions) -> None:
    from training import pipeline

    fit_options = FitOptions(framework="numpy", network="plain", epochs=EPOCHS)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pipeline.run(options, fit_options, baselines=False)


def post(options: DataOptions, dataset: Dataset) -> None:
    """Post the CSV file. Raises AssertionError if the server reads it differently than training."""
    # The service does not accept blanks as delimiters.
    if dataset.origin["format"] != "CSV" or options.delimiter == " ":
        return
    content, _ = file_content.decompress(Path(options.data).read_bytes(), options.data)
    assert_frame(decoded(CsvDecoder, dataset.schema, content), dataset, "posted")


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after this number of seconds."""

    def expire(number: int, frame: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def write_reports(readings: Sequence[Reading]) -> None:
    folder = FOLDER / "readings"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for rank, reading in enumerate(sorted(readings, key=lambda reading: -reading.oddities), start=1):
        name = reading.file.replace("/", "-")
        (folder / f"{rank:03}-{name}.txt").write_text(reading.report or reading.failure, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = CommandParser("python -m tests.training.real_tables", description=__doc__)
    parser.add_argument("part", nargs="?", default="", help="only the tables with this text in their file name")
    part = parser.parse_args(arguments).part
    readings = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["BENTOML_HOME"] = home
        for table in read_list():
            if part in table.file:
                readings.append(reading := check(table))
                print(f"{reading.seconds:5.1f} s  {table.file}  {reading.failure}".rstrip(), flush=True)
    write_reports(readings)
    lines = [["table", "rows", "columns", "task", "odd"]]
    lines += [
        [reading.file, f"{reading.rows:,}", reading.columns, reading.task, str(reading.oddities)]
        for reading in readings
    ]
    print(aligned(lines))
    failed = [reading for reading in readings if reading.failure]
    print(f"{len(readings) - len(failed)} of {len(readings)} tables were read, trained and posted")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
