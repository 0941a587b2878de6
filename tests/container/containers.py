"""Controls containers with the engine's command line, as the README does."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "container"
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of a command: those of this process without the project's settings, plus the test's
    store.
    """
    excluded = ("TABSERVE_", "BENTOML_", "PROMETHEUS_", "PYTEST_", "MAKE", "MFLAGS")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(excluded)}
    return {**kept, "BENTOML_HOME": str(WORK), "BENTOML_DO_NOT_TRACK": "True", **settings}


def run(*command: str, seconds: float = 600, check: bool = True, settings: Mapping[str, str] | None = None) -> str:
    """Run a command in the project's root and return its standard output and standard error."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(settings or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
    return done.stdout


def docker(*arguments: str, check: bool = True) -> str:
    return run("docker", *arguments, seconds=120, check=check).strip()


def skip_or_fail(what: str) -> NoReturn:
    """Skip the test because a program is missing; in CI, fail instead."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


def wait_until(what: Callable[[], bool], seconds: float, why: Callable[[], str]) -> float:
    """Wait until a condition holds. Returns the elapsed seconds."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if what():
            return time.monotonic() - started
        time.sleep(0.1)
    raise AssertionError(f"the condition did not hold within {seconds} s: {why()}")


def responds(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Container:
    id: str
    port: int = 3000

    def inspect(self, template: str) -> str:
        return docker("inspect", "--format", template, self.id)

    @property
    def url(self) -> str:
        """The address of the port: published on loopback, or on the engine's network."""
        published = json.loads(self.inspect("{{json .NetworkSettings.Ports}}")).get(f"{self.port}/tcp")
        if published:
            return f"http://127.0.0.1:{published[0]['HostPort']}"
        return f"http://{self.inspect('{{.NetworkSettings.IPAddress}}')}:{self.port}"

    @property
    def logs(self) -> str:
        return docker("logs", self.id)

    def wait_ready(self, seconds: float = 90) -> float:
        url = self.url
        return wait_until(lambda: responds(f"{url}/readyz"), seconds, lambda: self.logs)

    def shell(self, script: str) -> str:
        return docker("exec", self.id, "bash", "-c", script)

    def workers(self) -> set[int]:
        """The process ids of the workers, inside the container."""
        found = self.shell("grep -l _bentoml_impl[.]worker /proc/[0-9]*/cmdline 2>/dev/null || true").split()
        return {int(path.split("/")[2]) for path in found}

    def wait_exit(self, seconds: float = 60) -> int:
        wait_until(lambda: self.inspect("{{.State.Running}}") == "false", seconds, lambda: self.logs)
        return int(self.inspect("{{.State.ExitCode}}"))


def compose_image(service: str) -> str:
    """The image of a service in deploy/compose.yaml."""
    return str(yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"][service]["image"])


def size_mb(image: str) -> float:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


class Load:
    """Eight clients that send requests without pauses, over one connection each or with one connection per request."""

    def __init__(self, url: str, keep_alive: bool = True) -> None:
        self.url, self.answered, self.failures = url, 0, list[str]()
        self._row = httpx.get(f"{url}/models/housing").json()["examples"][0]["row"]
        self._limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(8)]

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=300, limits=self._limits) as client:
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
            thread.join(70)
