"""Drift detection of a server: it sums the counts of all workers, a killed worker loses no counts, and a column whose
unit changes raises an alarm.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.server_processes import wait_until, workers
from tests.service.watched_model import in_metres, rows_like_training, write_store


def test_a_server_detects_drift_and_keeps_the_counts_of_a_killed_worker(
    tmp_path: Path, serve: Callable[..., Any]
) -> None:
    store, state = write_store(tmp_path / "store"), tmp_path / "state"
    state.mkdir()
    settings = {"TABSERVE_STORE": str(store), "TABSERVE_STATE": str(state), "TABSERVE_WORKERS": "2"}
    server = serve(tmp_path, **settings)

    def drift() -> Any:
        return httpx.get(f"{server.url}/drift", timeout=60).raise_for_status().json()

    def send(rows: list[dict[str, Any]]) -> None:
        for start in range(0, len(rows), 10):  # a new connection for each request, so that both workers receive some
            body = {"rows": rows[start : start + 10]}
            httpx.post(f"{server.url}/predict/fares", json=body, timeout=60).raise_for_status()

    def has_counted(rows: int) -> Callable[[], bool]:
        """Whether this number of rows has been counted. Workers add their counts once a second."""
        return lambda: bool(drift()["window"]["rows"] == rows)

    send(rows_like_training(400, seed=5))
    wait_until(has_counted(400))
    assert drift()["status"] == "ok"

    killed = workers(server)[0]
    killed.kill()
    killed.wait(60)
    wait_until(lambda: len(workers(server)) == 2)
    server.wait_ready()
    assert drift()["window"]["rows"] == 400, "counts of the killed worker were lost"
    send(in_metres(rows_like_training(600, seed=6)))
    wait_until(has_counted(1000))
    found = drift()
    assert (found["status"], found["columns"][0]["status"]) == ("alarm", "alarm")
    assert 'tabserve_drift_status{model="fares",version="1"} 2.0' in httpx.get(f"{server.url}/metrics", timeout=60).text
    files = sorted(path.name for path in state.glob("drift-*"))
    assert len(files) == 2, "the new worker must continue the file of the killed worker"
