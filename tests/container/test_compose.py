"""deploy/compose.yaml brought up for real: one of two replicas goes, and nobody notices but Prometheus."""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.container.containers import ROOT, answers, docker, run, wait_until

DEPLOY = ROOT / "deploy"
PROMETHEUS = re.search(r"image: (prom/\S+)", (DEPLOY / "compose.yaml").read_text()).group(1)  # type: ignore[union-attr]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Stack:
    """A compose project of its own."""

    settings: dict[str, str]

    def compose(self, *arguments: str) -> str:
        program = (
            ("docker", "compose") if "Compose" in docker("compose", "version", check=False) else ("docker-compose",)
        )
        name = f"tabserve-test-{os.getpid()}"
        return run(*program, "-p", name, "-f", str(DEPLOY / "compose.yaml"), *arguments, settings=self.settings)

    @property
    def url(self) -> str:
        return "http://" + self.settings["PORT"]

    def prometheus(self, path: str, **query: str) -> Any:
        return httpx.get(f"http://{self.settings['PROMETHEUS_PORT']}/api/v1/{path}", params=query).json()["data"]

    def requests_by_replica(self) -> dict[str, float]:
        found = self.prometheus("query", query="sum by (instance) (tabserve_requests_total)")["result"]
        return {one["metric"]["instance"]: float(one["value"][1]) for one in found}


@pytest.fixture(scope="module")
def stack(image: str) -> Iterator[Stack]:
    stack = Stack(
        {
            "TABSERVE_IMAGE": image,
            "PORT": f"127.0.0.1:{free_port()}",
            "PROMETHEUS_PORT": f"127.0.0.1:{free_port()}",
            "TABSERVE_WORKERS": "1",
        }
    )
    try:
        stack.compose("up", "-d")
        wait_until(lambda: answers(f"{stack.url}/readyz"), 60, lambda: stack.compose("logs"))
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "10")


class Load:
    """Eight clients that ask without a pause, each over one connection."""

    def __init__(self, url: str) -> None:
        self.url, self.answered, self.failures = url, 0, list[str]()
        self._row = httpx.get(f"{url}/models/housing").json()["examples"][0]["row"]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(8)]

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=15) as client:
            while not self._stop.is_set():
                try:
                    reply = client.post("/predict/housing", json={"rows": [self._row]})
                    if reply.status_code == 200:
                        self.answered += 1
                    else:
                        self.failures.append(f"{reply.status_code} {reply.text}")
                except httpx.TransportError as error:
                    self.failures.append(repr(error))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


def test_prometheus_has_both_replicas_and_the_rules(stack: Stack) -> None:
    def both_up() -> bool:
        targets = stack.prometheus("targets")["activeTargets"]
        return sorted((t["labels"]["instance"], t["health"]) for t in targets) == [
            ("tabserve-a:3000", "up"),
            ("tabserve-b:3000", "up"),
        ]

    wait_until(both_up, 40, lambda: json.dumps(stack.prometheus("targets")))
    [group] = stack.prometheus("rules")["groups"]
    assert len(group["rules"]) == 7
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_replica_that_goes_under_load_costs_no_request(stack: Stack, how: str) -> None:
    with Load(stack.url) as load:
        time.sleep(2)
        stack.compose(how, "tabserve-a")
        before = load.answered
        time.sleep(2)
        after = load.answered
        stack.compose("start", "tabserve-a")
        time.sleep(8)
    print(f"\n{how}: {load.answered} answered, {len(load.failures)} failed")
    assert before > 50
    assert after > before, "the other one went on alone"
    assert load.failures == []
    settled = stack.requests_by_replica
    wait_until(lambda: len(settled()) == 2 and min(settled().values()) > 10, 30, lambda: str(settled()))


def promtool(*arguments: str, folder: Path = DEPLOY / "compose") -> str:
    return docker("run", "--rm", "--volume", f"{folder}:/rules:ro", "--entrypoint", "promtool", PROMETHEUS, *arguments)


def test_the_alert_rules_pass_their_tests() -> None:
    assert "SUCCESS: 7 rules" in promtool("check", "rules", "/rules/alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "/rules/alerts_test.yml")


def expressions() -> dict[str, str]:
    """Of the rules and of the dashboard, by title."""
    rules = re.findall(
        r"alert: (\w+)\n\s+expr: (?:\|\n)?(.+?)\n\s+for:", (DEPLOY / "compose/alerts.yml").read_text(), re.S
    )
    panels = json.loads((DEPLOY / "compose/grafana.json").read_text())["panels"]
    drawn = [(f"{panel['title']} {target['refId']}", target["expr"]) for panel in panels for target in panel["targets"]]
    return dict(rules + drawn)


def test_the_dashboard_and_the_rules_ask_for_what_is_measured(stack: Stack, tmp_path: Path) -> None:
    exposed = docker("exec", stack.compose("ps", "-q", "tabserve-b").split()[0], "python", "-c", METRICS)
    names = set(re.findall(r"^# TYPE (\w+)", exposed, re.M))
    for title, expression in expressions().items():
        for name in re.findall(r"tabserve_\w+", expression):
            assert re.sub("_(bucket|sum|count)$", "", name) in names, f"{title}: {name} is not measured"
    rules = [
        {"record": "tried", "expr": expression.replace("$__rate_interval", "1m").replace("$model", "housing")}
        for expression in expressions().values()
    ]
    tmp_path.chmod(0o755)
    (tmp_path / "tried.yml").write_text(json.dumps({"groups": [{"name": "tried", "rules": rules}]}))
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    assert f"SUCCESS: {len(rules)} rules" in promtool("check", "rules", "/rules/tried.yml", folder=tmp_path)


METRICS = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:3000/metrics').read().decode())"
