"""A server keeps answering when its store is deleted, its temporary folder is full, or its clock jumps."""

import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.server_processes import WAIT_S, wait_until, workers

SHIFTED_CLOCK = """
import pathlib, time

file = pathlib.Path(__file__).with_name("seconds")
right = time.time
time.time = lambda: right() + float(file.read_text() or 0)
time.time_ns = lambda: int(time.time() * 1e9)
"""
Serve = Callable[..., Any]
PARQUET = {"content-type": "application/vnd.apache.parquet"}
ROW = {"a": 1.5, "b": 2.5}


def predict(server: Any, rows: int = 1) -> Any:
    reply = httpx.post(f"{server.url}/predict/small", json={"rows": [ROW] * rows}, timeout=WAIT_S)
    assert reply.status_code == 200, reply.text
    return reply.json()["predictions"]


def replace_a_worker(server: Any) -> None:
    """Kill a worker and wait until another one is ready."""
    before = workers(server)
    started = server.log.read_text().count("model ready")
    before[0].kill()
    wait_until(lambda: server.log.read_text().count("model ready") > started)
    wait_until(lambda: len(workers(server)) == len(before))
    assert before[0].pid not in {worker.pid for worker in workers(server)}


def large_parquet() -> bytes:
    """A Parquet file that is too large for the server to keep in memory."""
    numbers = np.random.default_rng(0).random(100_000)
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": numbers, "b": numbers}), sink)
    return sink.getvalue()


def metric_value(server: Any, name: str) -> float:
    lines = httpx.get(f"{server.url}/metrics", timeout=WAIT_S).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


@pytest.fixture
def clock_shift(tmp_path: Path) -> Path:
    """A file with the error of a server's clock in seconds. The server's PYTHONPATH must contain its folder."""
    folder = tmp_path / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    file = folder / "seconds"
    file.write_text("0")
    return file


def test_a_killed_worker_is_replaced_after_the_store_is_deleted_and_the_clock_jumps(
    serve: Serve, home: Path, tmp_path: Path, clock_shift: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    server = serve(home, TABSERVE_WORKERS="2", TMPDIR=str(temporary), PYTHONPATH=str(clock_shift.parent))
    expected = predict(server)
    for seconds in (1e6, -1e6, 0, 1e5, -1e9):
        clock_shift.write_text(str(seconds))
        assert predict(server) == expected
        assert metric_value(server, "tabserve_model_info") > 0
    shutil.rmtree(home / "models")
    replace_a_worker(server)
    assert "copies of its versions" in server.log.read_text()
    assert [predict(server) for _ in range(10)] == [expected] * 10

    for copies in temporary.glob("tabserve-shared-*/models"):
        shutil.rmtree(copies)
    victim, other = workers(server)
    victim.kill()
    wait_until(lambda: server.log.read_text().count("worker cannot start") >= 3)
    assert other.is_running()
    assert [predict(server) for _ in range(10)] == [expected] * 10
    assert "stopping the server" not in server.log.read_text()
    assert server.stop() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, timeout=60).returncode:
        pytest.skip("this user has no permission to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=60)


def fill(folder: Path) -> Path:
    """Fill a disk to the last byte."""
    file = folder / "filler"
    with file.open("ab", buffering=0) as opened:
        for size in (65536, 4096, 1):
            try:
                while True:
                    opened.write(bytes(size))
            except OSError:
                continue
    return file


def test_requests_are_answered_while_the_temporary_folder_is_full(serve: Serve, home: Path, small_disk: Path) -> None:
    server = serve(home, TABSERVE_WORKERS="2", TMPDIR=str(small_disk))
    expected = predict(server)
    assert metric_value(server, "tabserve_lost_series") == 0
    filler = fill(small_disk)
    with httpx.Client(base_url=server.url, timeout=WAIT_S, headers={"connection": "close"}) as client:
        for path in ("/v2/models/small/infer", "/v1/models/small:predict", "/invocations", "/predict/small") * 6:
            assert client.post(path, content=b"{").status_code in (400, 422)  # these requests create new time series
    assert predict(server) == expected
    refused = httpx.post(f"{server.url}/predict/small", content=large_parquet(), headers=PARQUET, timeout=WAIT_S)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "cannot be written (No space left on device)" in refused.json()["detail"]
    before = {worker.pid for worker in workers(server)}
    assert len(before) == 2
    replace_a_worker(server)
    wait_until(lambda: metric_value(server, "tabserve_lost_series") > 0)
    assert server.log.read_text().count("metrics are lost until there is space") <= 3  # one message per worker
    assert [predict(server) for _ in range(10)] == [expected] * 10
    survivor = before & {worker.pid for worker in workers(server)}
    assert len(survivor) == 1
    filler.unlink()
    wait_until(lambda: metric_value(server, "tabserve_lost_series") == 0)
    assert server.stop() == 0


def test_a_full_temporary_folder_stops_the_start_with_one_error_line(
    serve: Serve, home: Path, small_disk: Path
) -> None:
    fill(small_disk)
    server = serve(home, wait=False, TMPDIR=str(small_disk))
    assert server.process.wait(WAIT_S) == 1
    (line,) = server.log.read_text().strip().splitlines()
    assert f"{small_disk} cannot be used: No space left on device; set TMPDIR" in line
