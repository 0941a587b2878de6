"""Metrics have the documented names, and merged counters equal the counted values."""

import asyncio
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from models.rows import RowError
from service.http.asgi import Application
from service.metrics import MULTIPROCESS, SECONDS, HistogramBuckets, Metrics, ModelCounters, add_buckets
from service.worker_records import is_alive
from tests.child_processes import kill_at_exit
from tests.service.conftest import call_asgi

ROOT = Path(__file__).resolve().parents[2]

NAMES = [
    "tabserve_requests_total",
    "tabserve_request_seconds_bucket",
    "tabserve_rows_total",
    "tabserve_warnings_total",
    "tabserve_batch_rows_bucket",
    "tabserve_queue_rows",
    "tabserve_queue_seconds_bucket",
    "tabserve_rejected_rows_total",
    "tabserve_engine_seconds_bucket",
    "tabserve_inflight_rows",
    "tabserve_model_info",
    "tabserve_build_info",
]


def test_a_merged_histogram_equals_an_observed_histogram() -> None:
    poured, observed = CollectorRegistry(), CollectorRegistry()
    buckets = HistogramBuckets(SECONDS)
    one = Histogram("x", "x", ["a"], registry=observed, buckets=SECONDS).labels("1")
    for value in (0.00005, 0.0001, 0.3, 99.0):
        buckets.observe(value)
        one.observe(value)
    add_buckets(buckets, Histogram("x", "x", ["a"], registry=poured, buckets=SECONDS).labels("1"))

    def lines(registry: CollectorRegistry) -> list[str]:
        return [line for line in generate_latest(registry).decode().splitlines() if "created" not in line]

    assert lines(poured) == lines(observed)


class Prediction(NamedTuple):
    """A request to /predict/homes."""

    body: bytes
    query: str = ""
    type: str = "application/json"


def prediction_of_rows(*rows: Any, query: str = "") -> Prediction:
    return Prediction(json.dumps({"rows": rows}).encode(), query)


def metrics_after(asgi_app: Application, *requests: Prediction) -> str:
    """Send requests. Returns the text of /metrics afterwards."""

    async def scenario() -> str:
        for body, query, content_type in requests:
            await call_asgi(asgi_app, "POST", "/predict/homes", body, query, {"content-type": content_type})
        return (await call_asgi(asgi_app, "GET", "/metrics")).content.decode()

    return asyncio.run(scenario())


def test_requests_are_counted_under_the_documented_names(asgi_app: Application, home_row: dict[str, Any]) -> None:
    asgi_app.plane.metrics.build("1")
    asgi_app.plane.snapshot.find("homes").counters.reject("queue_full", 3)
    warned = {**home_row, "class": 6.5}
    page = metrics_after(
        asgi_app,
        prediction_of_rows(home_row),
        prediction_of_rows(warned, {}, query="on_invalid=skip"),
        prediction_of_rows({}),
    )
    for name in NAMES:
        assert re.search(rf"^{name}[{{ ]", page, re.MULTILINE), name
    assert 'tabserve_requests_total{model="homes",protocol="json",status="200",version="1"} 2.0' in page
    assert 'tabserve_requests_total{model="homes",protocol="json",status="422",version="1"} 1.0' in page
    assert 'tabserve_rows_total{model="homes",verdict="valid",version="1"} 2.0' in page
    assert 'tabserve_rows_total{model="homes",verdict="invalid",version="1"} 2.0' in page
    assert 'tabserve_row_errors_total{code="missing_field",column="model_x",model="homes",version="1"} 2.0' in page
    assert 'tabserve_warnings_total{code="outside_seen",model="homes",version="1"} 1.0' in page
    assert 'tabserve_rejected_rows_total{model="homes",reason="queue_full",version="1"} 3.0' in page
    assert 'tabserve_model_info{engine="numpy",model="homes",version="1"} 1.0' in page
    assert "pid=" not in page


def test_client_input_never_becomes_a_metric_label(server: Any) -> None:
    httpx.post(f"{server.url}/predict/never-heard-of", json={}, timeout=60)
    page = httpx.get(f"{server.url}/metrics", timeout=60).text
    assert "tabserve_model_info" in page
    ours = [line for line in page.splitlines() if line.startswith("tabserve_")]
    assert "never-heard-of" not in "".join(ours)


def test_errors_are_counted_by_column_for_columns_of_the_model_only(
    asgi_app: Application, home_row: dict[str, Any]
) -> None:
    rows = [{**home_row, "made up by a client": 1}, 5, {**home_row, "class": "seven"}, {**home_row, "model_x": None}]
    table = Prediction(b"class\nseven\n", type="text/csv")
    page = metrics_after(asgi_app, prediction_of_rows(*rows, query="on_invalid=skip"), table)
    assert "made up by a client" not in page
    for code, column, count in (
        ("unknown_field", "", 1),
        ("wrong_type", "", 1),
        ("wrong_type", "class", 2),
        ("null_not_allowed", "model_x", 1),
    ):
        labels = f'code="{code}",column="{column}",model="homes",version="1"'
        assert f"tabserve_row_errors_total{{{labels}}} {count}.0" in page


def test_the_number_of_columns_with_their_own_series_is_bounded() -> None:
    counters = ModelCounters()
    errors = [RowError(0, f"column {number}", "missing_field", "") for number in range(1000)]
    counters.count_errors(errors, {"column 3"})
    assert counters.row_errors == {("column 3", "missing_field"): 1, ("", "missing_field"): 999}


def get_all(server: Any, paths: Iterable[str]) -> None:
    """Request all paths over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    for path in paths:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 404
        response.read()
    connection.close()


def test_unknown_paths_add_no_time_series(server: Any) -> None:
    def series() -> set[str]:
        lines = httpx.get(f"{server.url}/metrics", timeout=60).text.splitlines()
        return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

    get_all(server, ["/unknown"])
    before = series()
    get_all(server, (f"/{'x' * 30_000}{number}" for number in range(300)))
    get_all(server, (f"/scanned/{number}" for number in range(1000)))
    assert series() == before
    assert not [line for line in before if not line.startswith(("tabserve_", "process_"))]


def test_a_zombie_does_not_count_as_alive() -> None:
    with kill_at_exit(subprocess.Popen(["true"])) as process:
        until = time.monotonic() + 300
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < until
            time.sleep(0.01)
        assert not is_alive(process.pid)
        process.wait()
        assert not is_alive(process.pid)


PROCESS_METRICS = {
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
}


def process_metrics(page: bytes) -> dict[str, set[str]]:
    """The names of the process metrics by worker. Asserts that every value is positive."""
    found: dict[str, set[str]] = {}
    for name, worker, value in re.findall(r'^(process_\w+)\{worker="(\d+)"\} (\S+)', page.decode(), re.MULTILINE):
        assert float(value) > 0, name
        found.setdefault(worker, set()).add(name)
    return found


def test_a_single_process_has_its_process_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MULTIPROCESS, raising=False)
    page = Metrics().page()
    assert process_metrics(page) == {str(os.getpid()): PROCESS_METRICS}
    resident = re.search(rb"^process_resident_memory_bytes\{.*\} (\S+)", page, re.MULTILINE)
    assert resident
    assert 1e7 < float(resident[1]) < 1e11


WORKER = """
import sys
from service.metrics import Metrics

metrics = Metrics()
counters = metrics.add("homes", "1", "numpy")
counters.queue_rows = 7
counters.request("json", 200, 0.1)
metrics.flush()
print("counted", flush=True)
sys.stdin.read()
"""


def test_counts_of_a_killed_worker_are_kept_except_for_its_waiting_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MULTIPROCESS, str(tmp_path))

    def counts() -> tuple[float, float]:
        page = Metrics().page().decode()
        waiting = re.search(r'^tabserve_queue_rows{model="homes",version="1"} (\S+)', page, re.MULTILINE)
        answered = re.search(r"^tabserve_requests_total{.*} (\S+)", page, re.MULTILINE)
        assert waiting
        assert answered
        return float(waiting[1]), float(answered[1])

    command = [sys.executable, "-c", WORKER]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                kill_at_exit(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            )
            for _ in range(2)
        ]
        assert [worker.stdout.readline() for worker in workers if worker.stdout] == [b"counted\n"] * 2
        assert counts() == (14, 2)
        assert process_metrics(Metrics().page()) == {str(worker.pid): PROCESS_METRICS for worker in workers}
        workers[0].kill()
        workers[0].wait()
        assert counts() == (7, 2)
        assert process_metrics(Metrics().page()) == {str(workers[1].pid): PROCESS_METRICS}


@pytest.mark.parametrize("bound", SECONDS)
def test_latency_buckets_range_from_a_tenth_of_a_millisecond_to_ten_seconds(bound: float) -> None:
    assert 1e-4 <= bound <= 10
