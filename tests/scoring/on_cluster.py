"""`python -m tests.scoring.on_cluster spark|ray`: compares a job on a real engine with one on the local engine.

The program also checks that the engine replaces a killed process without losing or repeating rows, and that invalid
inputs, an existing output folder and too many invalid rows are refused. The environment of the engine's lock file, in
which the program runs, has no pytest.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from models import store
from models.golden_rows import TOLERANCE, max_distance
from models.version_files import StoredVersion
from scoring.__main__ import main
from tests.captured_files import line_of, write_captured
from tests.scoring.tables import STORE, numbers_table

ROWS, FILES = 300_000, 6
WAIT_S = 300.0
NAMES = {"spark": "pyspark.daemon", "ray": "ScoringActor"}
"""A word in the command lines of the scoring processes."""


def check(engine: str) -> None:
    with tempfile.TemporaryDirectory(prefix=f"tabserve-{engine}-") as name:
        folder = Path(name)
        inputs = folder / "in"
        inputs.mkdir()
        table = numbers_table(ROWS)
        for number in range(FILES):
            part = table.slice(number * (ROWS // FILES), ROWS // FILES)
            pq.write_table(part, inputs / f"{number}.parquet", row_group_size=10_000)
        require(score(inputs, folder / "local", "local") == 0, "the local engine failed")
        expected = by_id(folder / "local")
        check_results(engine, inputs, folder, expected)
        check_kill(engine, inputs, folder, expected)
        check_refusals(engine, inputs, folder)
        if engine == "spark":
            check_captured(folder)


def check_results(engine: str, inputs: Path, folder: Path, expected: pa.Table) -> None:
    out = folder / "out"
    require(score(inputs, out, engine) == 0, "the job failed")
    require((out / "_SUCCESS").is_file(), "the file _SUCCESS is missing")
    compare(by_id(out), expected)
    errors = b"".join(path.read_bytes() for path in (out / "_errors").iterdir() if not path.name.startswith((".", "_")))
    require(errors.count(b"null_not_allowed") == ROWS // 50, "_errors does not contain all invalid rows")
    metadata = pq.ParquetFile(next(out.glob("*.parquet"))).schema_arrow.metadata
    require(b"manifest" in b"".join([*metadata, *metadata.values()]), "the metadata do not name the version")
    print(f"{engine}: {ROWS:,} rows equal those of the local engine")


def check_kill(engine: str, inputs: Path, folder: Path, expected: pa.Table) -> None:
    """Kill a scoring process as soon as one exists."""
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + WAIT_S
        while not killed and time.monotonic() < deadline:
            for process in psutil.process_iter(["cmdline", "create_time"]):
                words = " ".join(process.info["cmdline"] or [])
                if NAMES[engine] in words and process.info["create_time"] > started and is_worker(engine, process):
                    with contextlib.suppress(ProcessLookupError):  # the process has just ended
                        os.kill(process.pid, signal.SIGKILL)
                        killed.append(process.pid)
                        return
            time.sleep(0.05)

    started = time.time()
    thread = threading.Thread(target=kill)
    thread.start()
    require(score(inputs, folder / "killed", engine) == 0, "the job failed when a process was killed")
    thread.join()
    require(bool(killed), "no process was killed")
    compare(by_id(folder / "killed"), expected)
    print(f"{engine}: the same after a process was killed")


def is_worker(engine: str, process: psutil.Process) -> bool:
    """Whether a process scores. With Spark, its parent is the daemon, which forks these processes."""
    try:
        if engine == "ray":
            return process.cpu_times().user > 0.0
        parent = process.parent()
        return parent is not None and NAMES[engine] in " ".join(parent.cmdline())
    except psutil.Error:
        return False


def check_refusals(engine: str, inputs: Path, folder: Path) -> None:
    require(score(inputs, folder / "out", engine) == 2, "an existing folder was accepted")
    require(score(folder / "missing", folder / "a", engine) == 2, "missing inputs were accepted")
    strange = folder / "strange.parquet"
    pq.write_table(numbers_table(10).append_column("strange", pa.array(range(10))), strange)
    require(score(strange, folder / "b", engine) == 2, "an unknown column was accepted")
    require(score(strange, folder / "c", engine, "--ignore-unknown", "--max-bad", "0") == 1, "--max-bad had no effect")
    require(not (folder / "c" / "_SUCCESS").exists(), "the file _SUCCESS exists in spite of --max-bad")
    print(f"{engine}: unusable inputs and too many invalid rows are refused")


def check_captured(folder: Path) -> None:
    """Check that Spark reads captured files with the line from the documentation."""
    from pyspark.sql import SparkSession

    write_captured(folder / "captured")
    line = line_of("Spark").replace('"captured/', f'"{folder}/captured/')
    spark = SparkSession.builder.master("local[1]").getOrCreate()
    rows = eval(line, {"spark": spark}).collect()
    require(len({row["tabserve_id"] for row in rows}) == len(rows) == 6, f"{len(rows)} captured rows")
    ages = sorted(row["age"] for row in rows if row["tabserve_version"] == "2")
    require(ages == [0.5, 1.5, 2.5], f"captured values {ages}")
    spark.stop()
    print("spark: the documented line reads captured files")


def score(inputs: Path, out: Path, engine: str, *options: str) -> int:
    words = ["numbers", str(inputs), "--out", str(out), "--keep", "id", "--workers", "2", "--engine", engine]
    return main([*words, "--max-bad", "2%", *options])


def by_id(folder: Path) -> pa.Table:
    tables = [pq.ParquetFile(path).read() for path in sorted(folder.glob("*.parquet"))]
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables]).sort_by("id")


def compare(found: pa.Table, expected: pa.Table) -> None:
    require(found.column_names == expected.column_names, f"unexpected columns: {found.column_names}")
    require(found.column("id").equals(expected.column("id")), "rows are lost or repeated")
    require(found.column("warnings").equals(expected.column("warnings")), "the warnings differ")
    values, wanted = (table.column("value").to_numpy() for table in (found, expected))
    require(bool((np.isnan(values) == np.isnan(wanted)).all()), "different rows are invalid")
    scale = store.load(StoredVersion("numbers", 1, STORE / "numbers" / "1")).tolerance()
    valid = ~np.isnan(wanted)
    distance = max_distance(values[valid], wanted[valid], scale)
    require(distance <= TOLERANCE, f"the values differ by {distance}")


def require(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(f"error: {message}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=NAMES)
    os.environ["TABSERVE_STORE"] = str(STORE)
    check(parser.parse_args().engine)
    sys.exit(0)
