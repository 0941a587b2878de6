"""Versions change while a server with two workers answers: no request fails, and each response matches its version."""

import http.client
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from models import serving_changes, store
from models.explanation.explainer import Explainer
from models.serving_file import ServingChange, ServingFile
from models.serving_state import ModelState
from service.commands.followers import wait_for_servers
from tests.e2e.conftest import Server, train_version
from tests.e2e.server_processes import processes_running, workers
from tests.e2e.versions_proof import ProofSize, prove
from tests.ports import free_port

ROW = {"a": 1.5, "b": 2.5}
BODY = json.dumps({"rows": [ROW]}).encode()
VERSIONS = (1, 2, 3)
CLIENTS = 4
WAIT_S = 300.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, trained_home: Path) -> Path:
    """A BENTOML_HOME with three versions of `small`."""
    folder = tmp_path_factory.mktemp("versions")
    shutil.copytree(trained_home, folder, dirs_exist_ok=True)
    for seed in VERSIONS[1:]:
        train_version(folder, "small", seed)
    return folder


@pytest.fixture(scope="module")
def server(serve_module: Callable[..., Server], home: Path) -> Server:
    change(home, serving_changes.promote, 1, by_person=True)
    return serve_module(home, TABSERVE_WORKERS="2", TABSERVE_GRPC_PORT=str(free_port()))


@pytest.fixture(scope="module")
def expected(home: Path) -> dict[str, float]:
    """The expected prediction of each version for ROW."""
    found = {str(stored.version): store.load(stored) for stored in store.versions(home)[0]["small"]}
    return {version: model.predict_rows([ROW]).primary.item() for version, model in found.items()}


def change(home: Path, function: Callable[..., ModelState], *arguments: Any, **named: Any) -> int:
    """Change serving.json as the commands do. Returns the new generation."""
    done = ServingChange("small", function.__name__, lambda state: function(state, *arguments, **named), "test")
    return ServingFile(home).apply(done)[1].generation


class VersionedClient(threading.Thread):
    """Sends requests in sequence over one connection. `responses`: the time of each request and the version
    that answered it.
    """

    def __init__(self, port: int, expected: dict[str, float]) -> None:
        super().__init__()
        self.port, self.expected = port, expected
        self.stopped = threading.Event()
        self.responses: list[tuple[float, str]] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        while not self.stopped.is_set():
            sent = time.monotonic()
            try:
                connection.request("POST", "/predict/small", BODY, {"content-type": "application/json"})
                reply = connection.getresponse()
                text = reply.read()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                return
            content = json.loads(text)
            if reply.status != 200:
                self.wrong.append(f"{reply.status}: {text!r}")
                continue
            value = content["predictions"][0]["value"]
            if value != pytest.approx(self.expected[content["version"]], rel=1e-5):
                self.wrong.append(f"version {content['version']} predicts {value}")
            self.responses.append((sent, content["version"]))
        connection.close()


@pytest.fixture
def clients(server: Server, expected: dict[str, float]) -> Iterator[list[VersionedClient]]:
    """Clients that send requests until the test ends. No request may fail."""
    started = [VersionedClient(server.port, expected) for _ in range(CLIENTS)]
    for client in started:
        client.start()
    yield started
    for client in started:
        client.stopped.set()
    for client in started:
        client.join(WAIT_S)
    assert [wrong for client in started for wrong in client.wrong] == []


def wait_for_version(clients: list[VersionedClient], version: str) -> None:
    """Wait until every client receives responses of this version."""
    begun, until = time.monotonic(), time.monotonic() + WAIT_S
    while time.monotonic() < until:
        last = [client.responses[-1] for client in clients if client.responses]
        if len(last) == len(clients) and all(sent > begun and found == version for sent, found in last):
            return
        time.sleep(0.05)
    raise AssertionError(f"version {version} is not served: {[client.responses[-1:] for client in clients]}")


def test_the_store_has_versions_with_different_predictions(expected: dict[str, float]) -> None:
    assert len(set(expected.values())) == len(VERSIONS)


def test_a_server_follows_serving_json_without_a_failed_request(
    server: Server, home: Path, clients: list[VersionedClient]
) -> None:
    for version in (2, 3, 2):
        change(home, serving_changes.promote, version, by_person=True)
        wait_for_version(clients, str(version))
    change(home, serving_changes.rollback)
    wait_for_version(clients, "3")


def test_a_version_that_cannot_be_loaded_is_reported_and_not_served(
    server: Server, home: Path, clients: list[VersionedClient]
) -> None:
    damaged = home / "models/small/9"
    shutil.copytree(home / "models/small/1", damaged)
    damaged.chmod(0o755)
    (damaged / "golden.json").chmod(0o644)
    (damaged / "golden.json").write_text("{")
    change(home, serving_changes.promote, 1, by_person=True)
    wait_for_version(clients, "1")
    change(home, serving_changes.promote, 9, by_person=True)
    until = time.monotonic() + WAIT_S
    reported: list[str] = []
    while len(reported) < 10 and time.monotonic() < until:  # by both workers
        status = httpx.get(f"{server.url}/readyz", timeout=WAIT_S).json()
        reported = [*reported, status["problems"]["small:9"]] if "problems" in status else []
    assert len(reported) == 10
    assert "golden.json" in reported[0]
    wait_for_version(clients, "1")
    change(home, serving_changes.promote, 2, by_person=True)
    wait_for_version(clients, "2")


def promote(server: Server, version: int, **headers: str) -> httpx.Response:
    path = f"{server.url}/models/small/promote"
    return httpx.post(path, json={"version": version}, headers=headers, timeout=300)


def wait_for_responses(clients: list[VersionedClient], since: float) -> None:
    """Wait until every client has the response to a request that it sent after the time `since`."""
    until = time.monotonic() + WAIT_S
    while not all(client.responses and client.responses[-1][0] > since for client in clients):
        assert time.monotonic() < until, "a client receives no responses"
        time.sleep(0.02)


def test_requests_after_an_acknowledged_promotion_get_the_new_version(
    server: Server, clients: list[VersionedClient]
) -> None:
    for version in (3, 1, 2, 1, 3):
        reply = promote(server, version)
        assert reply.status_code == 200, reply.text
        acknowledged = time.monotonic()
        wait_for_responses(clients, acknowledged)
        later = {found for client in clients for sent, found in client.responses if sent > acknowledged}
        assert later == {str(version)}
    assert {one["version"]: one["aliases"] for one in reply.json()["versions"]}["3"] == ["champion"]


def test_one_of_two_concurrent_changes_of_a_generation_is_refused(server: Server) -> None:
    generation = httpx.get(f"{server.url}/models/small/versions", timeout=WAIT_S).headers["etag"]
    replies: list[int] = []

    def change(version: int) -> None:
        replies.append(promote(server, version, **{"If-Match": generation}).status_code)

    threads = [threading.Thread(target=change, args=(version,)) for version in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(replies) == [200, 412]


def test_promoting_a_version_that_cannot_be_loaded_changes_nothing(
    server: Server, home: Path, clients: list[VersionedClient]
) -> None:
    assert promote(server, 1).status_code == 200
    generation = ServingFile(home).read().generation
    reply = promote(server, 9)
    assert reply.status_code == 409
    assert "small:9" in reply.json()["detail"]
    assert ServingFile(home).read().generation == generation
    acknowledged = time.monotonic()
    wait_for_responses(clients, acknowledged)
    assert {client.responses[-1][1] for client in clients} == {"1"}


def test_a_promotion_succeeds_while_a_worker_is_replaced(server: Server) -> None:
    killed = workers(server)[0]
    killed.kill()
    assert promote(server, 2).status_code == 200
    assert {answering_version(server) for _ in range(20)} == {"2"}
    until = time.monotonic() + WAIT_S
    while len([worker for worker in workers(server) if worker.pid != killed.pid]) < 2:
        assert time.monotonic() < until, "the worker was not replaced"
        time.sleep(0.1)
    for version in (1, 2):
        assert promote(server, version).status_code == 200
        assert {answering_version(server) for _ in range(20)} == {str(version)}


def answering_version(server: Server) -> str:
    reply = httpx.post(f"{server.url}/predict/small", json={"rows": [ROW]}, timeout=WAIT_S)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["version"])


def test_triton_clients_unload_and_load_a_model(server: Server) -> None:
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        before = answering_version(server)
        client.unload_model("small")
        assert not client.is_model_ready("small")
        states = {one["version"]: one["state"] for one in client.get_model_repository_index()}
        assert set(states.values()) == {"UNAVAILABLE"}
        assert states.keys() >= {"1", "2", "3"}
        client.load_model("small")
        assert client.is_model_ready("small")
    assert answering_version(server) == before


def test_a_triton_client_over_grpc_unloads_and_loads_a_model(server: Server) -> None:
    port = psutil.Process(server.process.pid).environ()["TABSERVE_GRPC_PORT"]
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        client.unload_model("small")
        assert not client.is_model_ready("small")
        client.load_model("small")
        assert client.is_model_ready("small")
        with pytest.raises(InferenceServerException, match="no model 'none'"):
            client.load_model("none")


def test_commands_detect_that_the_server_follows_a_change(server: Server, home: Path) -> None:
    generation = change(home, serving_changes.promote, 3, by_person=True)
    servers, follow = wait_for_servers(home, generation, WAIT_S)
    assert follow
    assert len(servers) == 1
    assert servers[0].problems == []


def test_every_response_in_all_protocols_is_from_a_version_with_traffic(server: Server, home: Path) -> None:
    """A short run of `make versions-proof`."""
    port = int(psutil.Process(server.process.pid).environ()["TABSERVE_GRPC_PORT"])
    result = prove(server, port, home, VERSIONS, ProofSize(requests=2000, changes=8, kills=1, connections=16))
    assert not result.failed, (result.summary(), result.wrong)
    assert result.kills == 1
    assert result.requests >= 2000


def test_explanations_are_computed_with_the_answering_version(server: Server, home: Path) -> None:
    """The explanation process uses the version that answers, even after the process was killed and replaced."""
    for version in (1, 2):
        assert promote(server, version).status_code == 200
        model = store.load(next(one for one in store.versions(home)[0]["small"] if one.version == version))
        assert model.background is not None
        expected = Explainer(model, model.background).explain(model.schema.frames.from_rows([ROW]))[0]
        explanation = explain_row(server)
        assert explanation["baseline"] == pytest.approx(expected.baseline, rel=1e-5)
        assert [*explanation["contributions"].values()] == pytest.approx(expected.contributions.tolist(), rel=1e-4)
        explaining = processes_running(server, "service.background_process")
        assert explaining
        for process in explaining:
            process.kill()


def explain_row(server: Server) -> dict[str, Any]:
    until = time.monotonic() + 2 * WAIT_S
    while True:
        reply = httpx.post(f"{server.url}/predict/small?explain=true", json={"rows": [ROW]}, timeout=WAIT_S)
        if reply.status_code == 200:
            found: dict[str, Any] = reply.json()["predictions"][0]["explanation"]
            return found
        assert reply.status_code == 504, reply.text
        assert time.monotonic() < until
