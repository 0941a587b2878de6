"""`bentoml serve` in the project's root: start, served versions, killed workers, and stop."""

import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.server_processes import workers

ROOT = Path(__file__).resolve().parents[2]
ROW = {"a": 1.5, "b": 2.5}
Serve = Callable[..., Any]
Command = Callable[..., str]


def predict(server: Any, name: str = "small") -> Any:
    reply = httpx.post(f"{server.url}/predict/{name}", json={"rows": [ROW]}, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "there is no model in {home}/models; train the default models: python -m training"),
        (
            {"TABSERVE_STORE": "{home}"},
            "there is no model in {home}/models; train the default models: BENTOML_HOME={home} python -m training",
        ),
        ({"TABSERVE_WORKER": "1"}, "unknown setting TABSERVE_WORKER, did you mean TABSERVE_WORKERS?"),
        ({"TABSERVE_MAX_ROWS": "many"}, "TABSERVE_MAX_ROWS='many': expected a whole number"),
    ],
)
def test_an_invalid_configuration_stops_the_start_with_one_line(
    serve: Serve, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    environment = {name: value.format(home=tmp_path) for name, value in settings.items()}
    (tmp_path / "models").mkdir()
    server = serve(tmp_path, wait=False, **environment)
    assert server.process.wait(60) == 1
    lines = server.log.read_text().strip().splitlines()
    assert len(lines) == 1
    assert message.format(home=tmp_path) in lines[0]


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1"])
def test_an_invalid_port_is_refused_with_one_line(port: str) -> None:
    command = [sys.executable, "-m", "service", f"--port={port}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: --port {port}: expected 1 to 65535 (see python -m service --help)\n",
    )


def test_an_unknown_model_stops_the_start_with_a_suggestion(serve: Serve, home: Path) -> None:
    for models, message in (("smal", "did you mean small?"), ("small:7", "stored versions: 1")):
        server = serve(home, wait=False, TABSERVE_MODELS=models)
        assert server.process.wait(60) == 1
        assert message in server.log.read_text()


def test_a_version_that_fails_its_golden_rows_is_not_served(
    serve: Serve, home: Path, train: Callable[..., str]
) -> None:
    assert train(home, "small", 1) == "small:2"
    golden = home / "models/small/2/golden.json"
    golden.chmod(0o644)
    changed = json.loads(golden.read_text())
    changed["answers"][0][0] += 1
    golden.write_text(json.dumps(changed))
    golden.with_name("manifest.json").unlink()
    server = serve(home)
    assert predict(server)["version"] == "1"
    assert "small:2" in server.log.read_text()
    named = serve(home, wait=False, TABSERVE_MODELS="small:2")
    assert named.process.wait(60) == 1
    assert "must not be served" in named.log.read_text()


def test_a_server_keeps_its_version_after_a_kill_and_drains_without_failures(
    serve: Serve, home: Path, train: Callable[..., str]
) -> None:
    """The server serves the newest version without TensorFlow. A worker replaced after a new training run serves the
    same version as before, even in a container. No request fails while the server drains, and the exit code is 0.
    """
    (home / "models/foreign/1").mkdir(parents=True)
    (home / "models/foreign/1/model.yaml").write_text("name: foreign\nversion: '1'\n")
    server = serve(home, TABSERVE_WORKERS="2", TABSERVE_DRAIN_S="3", BENTOML_CONTAINERIZED="true")
    assert predict(server)["version"] == "1"
    assert "foreign:1" in server.log.read_text()
    for worker in workers(server):
        assert "tensorflow" not in Path(f"/proc/{worker.pid}/maps").read_text()

    train(home, "small", 1)
    first = workers(server)
    assert len(first) == 2
    first[0].kill()
    until = time.monotonic() + 300
    while server.log.read_text().count("model ready") < 3:
        assert time.monotonic() < until, "the worker was not replaced"
        time.sleep(0.1)
    assert {w.pid for w in workers(server)} - {w.pid for w in first}
    assert {predict(server)["version"] for _ in range(20)} == {"1"}

    failures: list[str] = []
    answered = [0]

    def load() -> None:
        """Send requests until /readyz fails, as a client behind a load balancer does."""
        with httpx.Client(base_url=server.url, timeout=300) as client:
            while True:
                try:
                    if client.get("/readyz").status_code == 503:
                        return
                    reply = client.post("/predict/small", json={"rows": [ROW]})
                    answered[0] += 1
                    if reply.status_code != 200:
                        failures.append(reply.text)
                except httpx.TransportError as error:
                    failures.append(repr(error))
                    return

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    until = time.monotonic() + 300
    while answered[0] < 20 and time.monotonic() < until:
        time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(60)
    assert server.process.wait(60) == 0
    assert failures == []
    assert answered[0] >= 20


def test_servers_with_the_same_home_have_separate_metrics(serve: Serve, home: Path, tmp_path: Path) -> None:
    """A second server must not empty the metrics folder of the first server."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def request_total(server: Any) -> float:
        text = httpx.get(f"{server.url}/metrics", timeout=300).text
        counts = [line for line in text.splitlines() if line.startswith("tabserve_requests_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in counts)

    def wait_for_requests(server: Any, expected: int) -> None:
        """Wait until the server reports this number of requests; workers publish their counts once a second."""
        until = time.monotonic() + 300
        while request_total(server) < expected and time.monotonic() < until:
            time.sleep(0.2)
        assert request_total(server) == expected

    first = serve(home, TABSERVE_WORKERS="2", TMPDIR=str(temporary))
    for _ in range(5):
        predict(first)
    second = serve(home, TMPDIR=str(temporary))
    predict(second)
    for _ in range(4):
        predict(first)
    wait_for_requests(first, 9)
    wait_for_requests(second, 1)
    assert len(list(temporary.glob("tabserve-*"))) == 2
    assert first.stop() == second.stop() == 0
    assert not list(temporary.glob("tabserve-*"))


def test_ctrl_c_stops_a_server_without_the_drain_period(serve: Serve, home: Path) -> None:
    server = serve(home, TABSERVE_DRAIN_S="600")
    supervisor = psutil.Process(server.process.pid)
    stopped_workers = workers(server)
    # A terminal sends SIGINT to all processes at the same time: prevent the replacement of a worker
    supervisor.suspend()
    for process in (supervisor, *stopped_workers):
        process.send_signal(signal.SIGINT)
    supervisor.resume()
    assert server.process.wait(60) == 0


def test_a_numpy_worker_never_imports_tensorflow(command: Command, home: Path) -> None:
    program = "import service.app, sys; print(sorted({'tensorflow', 'keras', 'pandas', 'sklearn'} & set(sys.modules)))"
    assert command(home, sys.executable, "-c", program).splitlines()[-1] == "[]"


def test_a_bento_serves_the_versions_of_its_build(
    serve: Serve, command: Command, home: Path, train: Callable[..., str], tmp_path: Path
) -> None:
    tag = command(home, "bentoml", "build", "-o", "tag").split()[-1].removeprefix("__tag__:")
    bento = home / "bentos" / tag.replace(":", "/")
    files = {path.relative_to(bento / "src").parts[0] for path in (bento / "src").rglob("*") if path.is_file()}
    assert files == {"service", "models", "requirements", "pyproject.toml", "bentofile.yaml"}
    assert not list((bento / "src").rglob("__pycache__"))
    train(home, "small", 1)
    from_store = serve(home, target=tag, cwd=tmp_path)
    assert predict(from_store)["version"] == "1"
    from_store.stop()

    command(home, "bentoml", "export", tag, str(tmp_path / "bento.tar.gz"))
    for folder in ("exported", "empty home"):
        (tmp_path / folder).mkdir()
    with tarfile.open(tmp_path / "bento.tar.gz") as archive:
        archive.extractall(tmp_path / "exported", filter="data")
    alone = serve(tmp_path / "empty home", target=".", cwd=tmp_path / "exported")
    assert predict(alone)["version"] == "1"
