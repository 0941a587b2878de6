"""The complete cycle: train, serve, a change, alerts, feedback, retraining on captured rows, and no alerts.

The alerts are those of deploy/compose/alerts.yml in a real Prometheus (Debian's package `prometheus`), with shorter
times.
"""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from tests.child_processes import stop_all
from tests.clients.conftest import ROOT
from tests.e2e.server_processes import workers
from tests.ports import free_port
from tests.service.conftest import Server, clean_environment

WAIT_S = 180.0
REQUESTS, ROWS = 150, 16
QUICK = ("--framework", "numpy", "--hidden", "16", "--epochs", "30", "--no-baselines")
DRIFT, WORSE = "TabserveDrift", "TabserveLiveMetricWorse"
Row = dict[str, Any]


class Town:
    """Random homes whose rents depend on the size and the part of town. After the change, homes are larger and a square
    metre costs more.
    """

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.changed = False

    def rows(self, count: int) -> list[tuple[Row, float]]:
        """Rows and their true rents."""
        found = []
        for _ in range(count):
            metres = float(self.rng.normal(120 if self.changed else 60, 15))
            part = str(self.rng.choice(["north", "south", "harbour"] if self.changed else ["north", "south"]))
            price = {"north": 10.0, "south": 12.0, "harbour": 20.0}[part] * (1.5 if self.changed else 1.0)
            found.append(({"metres": metres, "part": part}, price * metres + float(self.rng.normal(0, 30))))
        return found


@dataclass
class Alerts:
    """A running Prometheus."""

    url: str

    def wait(self, name: str, *, firing: bool) -> None:
        """Wait until an alert fires, or until it no longer fires."""
        until(lambda: (name in self.firing()) == firing)

    def firing(self) -> set[str]:
        alerts = httpx.get(f"{self.url}/api/v1/alerts", timeout=60).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def train(home: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "tests.quick_training", *arguments, *QUICK]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(home), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def town() -> Town:
    return Town()


@pytest.fixture
def server(tmp_path: Path, town: Town) -> Iterator[Server]:
    """A server with capture; its model was trained on the town before the change."""
    rows = town.rows(3000)
    lines = [f"{row['metres']},{row['part']},{rent}" for row, rent in rows]
    table = tmp_path / "rents.csv"
    table.write_text("\n".join(["metres,part,rent", *lines]) + "\n")
    home, state = tmp_path / "home", tmp_path / "state"
    state.mkdir()
    train(home, "--data", str(table), "--target", "rent")
    settings = {"TABSERVE_CAPTURE": str(tmp_path / "captured"), "TABSERVE_CAPTURE_SHARE": "1"}
    settings |= {"TABSERVE_STATE": str(state), "TABSERVE_WORKERS": "2", "TABSERVE_DRAIN_S": "0"}
    server = Server(clean_environment(home, **settings), tmp_path / "log")
    server.start()
    yield server
    assert server.stop() == 0


@pytest.fixture
def alerts(server: Server, tmp_path: Path) -> Iterator[Alerts]:
    rules = re.sub(r"for: \d+m", "for: 2s", (ROOT / "deploy/compose/alerts.yml").read_text("utf-8"))
    (tmp_path / "alerts.yml").write_text(rules)
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: [{tmp_path}/alerts.yml]\n"
        "scrape_configs:\n"
        f"  - {{job_name: tabserve, static_configs: [{{targets: ['127.0.0.1:{server.port}']}}]}}\n"
    )
    port = free_port()
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb"]
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT
        )
    yield Alerts(f"http://127.0.0.1:{port}")
    stop_all([process], signal.SIGTERM)


class Client:
    def __init__(self, server: Server, town: Town) -> None:
        self.server, self.town = server, town

    def send(self) -> None:
        """Send requests, and report the true values of their rows by id."""
        truths = []
        with httpx.Client(base_url=self.server.url, timeout=60) as client:
            for _ in range(REQUESTS):
                rows = self.town.rows(ROWS)
                reply = client.post("/predict/rents", json={"rows": [row for row, _ in rows]})
                assert reply.status_code == 200, reply.text
                name = reply.headers["x-request-id"]
                truths += [{"id": f"{name}:{place}", "truth": rent} for place, (_, rent) in enumerate(rows)]
            self.report(client, truths)

    def report(self, client: httpx.Client, truths: list[dict[str, Any]]) -> None:
        """Report the true values until the server has the captured rows of all of them, which takes about a second."""
        judged = 0

        def has_feedback_for_all_rows() -> bool:
            nonlocal judged
            reply = client.post("/feedback/rents", json={"feedback": truths}).json()
            judged += reply["judged"]
            return bool(judged == len(truths))

        until(has_feedback_for_all_rows)

    def versions(self) -> dict[str, Any]:
        reply = httpx.get(f"{self.server.url}/feedback/rents?window=24h", timeout=60).json()
        return {version["version"]: version for version in reply["versions"]}

    def drift(self) -> str:
        return str(httpx.get(f"{self.server.url}/drift?model=rents", timeout=60).json()["status"])


def replace_workers(server: Server) -> None:
    """Stop all workers one after the other, so that they write captured rows to files."""
    for worker in workers(server):
        worker.terminate()
        until(partial(is_replaced, server, worker))


def is_replaced(server: Server, worker: psutil.Process) -> bool:
    ready = httpx.get(f"{server.url}/readyz", timeout=60).status_code == 200
    return not worker.is_running() and len(workers(server)) == 2 and ready


def test_alert_fires_after_a_change_and_ends_after_retraining(
    server: Server, town: Town, alerts: Alerts, tmp_path: Path
) -> None:
    client = Client(server, town)
    client.send()
    before = client.versions()["1"]
    assert before["status"] == "ok", before
    assert client.drift() == "ok"

    replace_workers(server)
    captured, earlier = tmp_path / "captured", tmp_path / "earlier"
    earlier.mkdir()
    for file in captured.glob("rents-*.parquet"):  # train only on rows after the change
        file.rename(earlier / file.name)

    town.changed = True
    client.send()
    until(lambda: client.drift() == "alarm")
    after = client.versions()["1"]
    assert after["status"] == "worse"
    assert after["metric"]["value"] > 3 * before["metric"]["value"]
    alerts.wait(DRIFT, firing=True)
    alerts.wait(WORSE, firing=True)

    client.send()
    replace_workers(server)
    out = train(tmp_path / "home", "--data", str(captured / "rents-*.parquet"), "--promote")
    assert f"{2 * REQUESTS * ROWS} of {2 * REQUESTS * ROWS} captured rows have feedback" in out
    until(lambda: "2" in client.versions())
    client.send()
    new = client.versions()["2"]
    assert new["aliases"] == ["champion"]
    assert new["status"] == "ok", new
    assert new["metric"]["value"] < after["metric"]["value"] / 2
    assert client.drift() != "alarm"
    alerts.wait(DRIFT, firing=False)
    alerts.wait(WORSE, firing=False)
