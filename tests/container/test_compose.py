"""The stack of deploy/compose.yaml: when one of its two replicas stops, no request fails."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from tests.container.containers import ROOT, Load, docker, responds, run, skip_or_fail, wait_until
from tests.ports import free_port

DEPLOY = ROOT / "deploy"


def compose_command() -> tuple[str, ...]:
    """The command for Compose version 2 if it is installed, otherwise for version 1."""
    if "Compose" in docker("compose", "version", check=False):
        return ("docker", "compose")
    if not shutil.which("docker-compose"):
        skip_or_fail("docker compose is not installed")
    return ("docker-compose",)


@dataclass
class Stack:
    """A Compose project of this test process."""

    settings: dict[str, str]

    def compose(self, *arguments: str) -> str:
        name = f"tabserve-test-{os.getpid()}"
        return run(
            *compose_command(), "-p", name, "-f", str(DEPLOY / "compose.yaml"), *arguments, settings=self.settings
        )

    def logs(self) -> str:
        return self.compose("logs")

    @property
    def url(self) -> str:
        return "http://" + self.settings["PORT"]

    def prometheus(self, path: str, **query: str) -> Any:
        return httpx.get(f"http://{self.settings['PROMETHEUS_PORT']}/api/v1/{path}", params=query).json()["data"]

    def requests_by_replica(self) -> dict[str, float]:
        found = self.prometheus("query", query="sum by (instance) (tabserve_requests_total)")["result"]
        return {one["metric"]["instance"]: float(one["value"][1]) for one in found}


def test_the_secure_compose_file_reads_keys_and_certificates_from_secrets() -> None:
    """compose.secure.yaml uses every secret that it declares, and changes nothing else in the services."""
    base, secure = (yaml.safe_load((DEPLOY / f"{name}.yaml").read_text()) for name in ("compose", "compose.secure"))
    declared = set(secure["secrets"])
    used = {secret for service in secure["services"].values() for secret in service.get("secrets", ())}
    assert used == declared
    text = " ".join([json.dumps(secure["services"]), *(path.read_text() for path in (DEPLOY / "compose").glob("*"))])
    assert {name for name in declared if f"/run/secrets/{name}" in text} == declared
    assert set(secure["services"]) == set(base["services"])
    environment = secure["services"]["tabserve-a"]["environment"]
    assert set(environment) == {"TABSERVE_KEYS_FILE", "TABSERVE_TRUSTED_KEYS"}
    folders = [volume.split(":")[0] for service in secure["services"].values() for volume in service.get("volumes", ())]
    assert folders
    assert all((DEPLOY / folder).is_file() for folder in folders)
    plain, authorized = (
        yaml.safe_load((DEPLOY / "compose" / name).read_text()) for name in ("prometheus.yml", "prometheus.secure.yml")
    )
    assert authorized["scrape_configs"][0].pop("authorization") == {"credentials_file": "/run/secrets/metrics.key"}
    assert authorized == plain


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
        wait_until(lambda: responds(f"{stack.url}/readyz"), 60, stack.logs)
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "10")


def test_prometheus_scrapes_both_replicas_and_loads_the_alert_rules(stack: Stack) -> None:
    def both_up() -> bool:
        targets = stack.prometheus("targets")["activeTargets"]
        return sorted((t["labels"]["instance"], t["health"]) for t in targets) == [
            ("tabserve-a:3000", "up"),
            ("tabserve-b:3000", "up"),
        ]

    wait_until(both_up, 40, lambda: json.dumps(stack.prometheus("targets")))
    [group] = stack.prometheus("rules")["groups"]
    assert len(group["rules"]) == 12
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_no_request_fails_when_a_replica_stops_under_load(stack: Stack, how: str) -> None:
    with Load(stack.url) as load:
        time.sleep(2)
        stack.compose(how, "tabserve-a")
        before = load.answered
        time.sleep(2)
        after = load.answered
        stack.compose("start", "tabserve-a")
        wait_until(lambda: stack.requests_by_replica().get("tabserve-a:3000", 0) > 10, 60, stack.logs)
    print(f"\n{how}: {load.answered} answered, {len(load.failures)} failed")
    assert before > 50
    assert after > before, "the other replica answered no requests"
    assert load.failures == []


def test_errors_of_the_load_balancer_are_problem_documents(stack: Stack) -> None:
    large = HTTPConnection(stack.settings["PORT"], timeout=15)
    large.putrequest("POST", "/predict/housing")
    large.putheader("Content-Length", str(65 * 1024**2))
    large.endheaders()
    refused = large.getresponse()
    assert (refused.status, refused.headers["content-type"]) == (413, "application/problem+json")
    assert json.load(refused)["title"] == "Body too large"
    assert httpx.get(f"{stack.url}/metrics").status_code == 404, (
        "the balancer must not return the metrics of an arbitrary replica"
    )
    stack.compose("stop", "tabserve-a", "tabserve-b")
    unavailable = httpx.get(f"{stack.url}/models", timeout=15)
    assert (unavailable.status_code, unavailable.headers["content-type"]) == (503, "application/problem+json")
    assert unavailable.json()["title"] == "Not ready"
    assert unavailable.headers["retry-after"] == "1"


def test_every_container_runs_with_minimal_privileges(stack: Stack) -> None:
    for service in ("tabserve-a", "tabserve-b", "nginx", "prometheus"):
        inspected = json.loads(docker("inspect", stack.compose("ps", "--quiet", "--all", service).split()[-1]))[0]
        assert inspected["HostConfig"]["ReadonlyRootfs"], service
        assert inspected["HostConfig"]["CapDrop"] == ["ALL"], service
        assert inspected["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"], service
        assert inspected["HostConfig"]["Memory"] == 512 * 1024**2, service
        assert inspected["Config"]["User"] not in ("", "root", "0"), service
