"""Requests are answered while the disk stalls: only counters, capture and other files wait for the disk."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.dataset as ds
import pytest

from service.capture.capture_queue import MAX_WAITING_ROWS
from tests.e2e.server_processes import wait_until
from tests.service.watched_model import rows_like_training, write_store
from tests.stalling_disk import MountError, StallingDisk, mounted

Serve = Callable[..., Any]
ROWS = 16  # rows per request, all of which are captured
REQUESTS = 2 * MAX_WAITING_ROWS // ROWS
STALL_S = 3.0  # counters and captured rows are written every second
BODY = {"rows": rows_like_training(ROWS, seed=7)}
LIMIT_S = 60.0  # maximum wait for a response while the disk stalls


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[StallingDisk]:
    place = tmp_path / "mount"
    place.mkdir()
    try:
        with mounted(place) as found:
            yield found
    except MountError as error:
        pytest.skip(str(error))


def capture_results(client: httpx.Client) -> Counter[str]:
    """The numbers of rows sampled for capture, by result."""
    found: Counter[str] = Counter()
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("tabserve_capture_rows_total{"):
            labels, _, value = line.rpartition(" ")
            found[labels.partition('result="')[2].partition('"')[0]] += int(float(value))
    return found


def predict(client: httpx.Client) -> None:
    reply = client.post("/predict/fares", json=BODY)
    assert reply.status_code == 200, reply.text


def test_no_request_waits_for_a_stalled_disk(serve: Serve, tmp_path: Path, disk: StallingDisk) -> None:
    """Rows that exceed the queue in memory are dropped and counted; all other rows are written afterwards."""
    state, capture = disk.folder / "state", disk.folder / "capture"
    state.mkdir()
    settings = {"TABSERVE_STORE": write_store(tmp_path / "store"), "TABSERVE_STATE": state, "TABSERVE_CAPTURE": capture}
    server = serve(tmp_path, TABSERVE_CAPTURE_SHARE="1", **{name: str(value) for name, value in settings.items()})
    with httpx.Client(base_url=server.url, timeout=LIMIT_S) as client:
        predict(client)
        wait_until(lambda: capture_results(client)["captured"] == ROWS)
        sent = 1
        with disk.stalled():
            end = time.monotonic() + STALL_S
            while sent <= REQUESTS or time.monotonic() < end:
                predict(client)
                sent += 1
            assert client.get("/readyz").status_code == 200
            assert capture_results(client)["captured"] == ROWS  # metrics are also served
        wait_until(lambda: capture_results(client).total() == sent * ROWS)
        results = capture_results(client)
        assert results["queue_full"] > 0
        assert results.keys() == {"captured", "queue_full"}
        report = client.get("/drift?model=fares").json()
        assert report["window"]["rows"] == sent * ROWS
    assert server.stop() == 0
    assert ds.dataset(capture).count_rows() == results["captured"]
