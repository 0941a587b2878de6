"""A server captures each row once even if its workers are killed; any worker matches feedback by request id."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from tests.e2e.server_processes import WAIT_S, wait_until
from tests.e2e.test_failures import metric_value, replace_a_worker

Serve = Callable[..., Any]


def predict(server: Any, number: int) -> str:
    """Send one row. Returns the request id of the response."""
    body = {"rows": [{"a": number / 100, "b": 2.5}]}
    reply = httpx.post(f"{server.url}/predict/small", json=body, timeout=WAIT_S)
    assert reply.status_code == 200, reply.text
    return str(reply.headers["x-request-id"])


def send_feedback(server: Any, ids: list[str]) -> Any:
    body = {"feedback": [{"id": f"{name}:0", "truth": 1.0} for name in ids]}
    reply = httpx.post(f"{server.url}/feedback/small", json=body, timeout=WAIT_S)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_captured_rows_survive_killed_workers_and_a_restart(serve: Serve, home: Path, tmp_path: Path) -> None:
    folder, state = tmp_path / "captured", tmp_path / "state"
    state.mkdir()
    settings = {"TABSERVE_CAPTURE": str(folder), "TABSERVE_CAPTURE_SHARE": "1", "TABSERVE_STATE": str(state)}
    server = serve(home, TABSERVE_WORKERS="2", **settings)
    ids = [predict(server, number) for number in range(50)]
    wait_until(lambda: metric_value(server, "tabserve_capture_rows_total") == 50)
    replace_a_worker(server)
    assert send_feedback(server, ids[:20])["judged"] == 20
    replace_a_worker(server)
    ids += [predict(server, number) for number in range(50, 100)]
    wait_until(lambda: metric_value(server, "tabserve_capture_rows_total") == 100)
    assert send_feedback(server, ids[:30])["repeated"] == 20
    assert server.stop() == 0
    captured = pd.concat(map(pd.read_parquet, folder.glob("*.parquet")))
    assert sorted(captured["tabserve_id"]) == sorted(f"{name}:0" for name in ids)
    assert sorted(captured["a"]) == [number / 100 for number in range(100)]

    server = serve(home, **settings)
    reply = send_feedback(server, ids[20:40])
    assert (reply["judged"], reply["repeated"]) == (10, 10)
    assert reply["versions"][0]["rows"] == 40
    wait_until(lambda: metric_value(server, "tabserve_live_metric") > 0)
    assert server.stop() == 0
    truths = pd.concat(map(pd.read_parquet, (folder / "feedback").glob("*.parquet")))
    assert set(truths["tabserve_id"]) == {f"{name}:0" for name in ids[:40]}
