"""Jobs in a separate process: on a full disk, and with a killed worker."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from tests.child_processes import kill_at_exit
from tests.scoring.conftest import WAIT_S, output, start_job
from tests.scoring.tables import numbers_table


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_full_disk_ends_the_job_and_the_same_command_continues_it(table: Path, out: Path) -> None:
    """A limit on the file size has the same effect as a full disk."""
    words = ["numbers", str(table), "--out", str(out), "--keep", "id", "--workers", "1", "--max-bad", "2%"]

    def limit() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

    with kill_at_exit(start_job(words, preexec_fn=limit)) as process:
        printed, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1, printed
    assert b"the output cannot be written: File too large" in printed
    assert not [*out.glob("part-*")]
    with kill_at_exit(start_job(words)) as process:
        printed, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, printed
    assert output(out).num_rows == 1000


def test_killed_worker_is_replaced_and_no_row_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    pa.csv.write_csv(numbers_table(60_000), path)
    outs = (tmp_path / f"out{attempt}" for attempt in range(20))  # a worker may finish before this process kills it
    out = next(out for out in outs if kill_worker(path, out))
    assert output(out).column("id").to_pylist() == [f"r{number}" for number in range(60_000)]


def kill_worker(path: Path, out: Path) -> bool:
    """Run a job, and kill its worker while it writes. Returns whether it was killed."""
    words = ["numbers", str(path), "--out", str(out), "--keep", "id", "--workers", "1", "--max-bad", "2%"]
    deadline, killed = time.monotonic() + WAIT_S, False
    with kill_at_exit(start_job(words)) as process:
        while process.poll() is None and time.monotonic() < deadline and not killed:
            for temporary in out.glob("_temporary/*.parquet"):  # the name contains the process id
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(temporary.name.split(".")[1]), signal.SIGKILL)
                    killed = True
            time.sleep(0.001)
        printed, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, printed
    return killed
