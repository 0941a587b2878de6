"""The image of `make image`: its contents, its predictions, and its behaviour after failures.

This file has more than 400 lines: tests of one image, which takes minutes to build, and their helpers.
"""

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from models.golden_rows import GOLDEN_TOLERANCE, TOLERANCE
from service.version import version
from tests.container.containers import LOCKED_DOWN, ROOT, Container, docker, run, size_mb, wait_until

Start = Callable[..., Container]
BENTOML_IMAGE = "tabserve:bentoml"  # the name that `make image` gives to the intermediate image
NOT_FOR_SERVING = {"pandas", "scikit-learn", "matplotlib", "pip", "setuptools", "uv", "pytest"}
TENSORFLOW = {"keras", "tensorflow", "tensorflow-cpu"}
EXTRAS = {"pyarrow", "grpcio"}
VALID_SBOM = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()))
"""


def distributions(image: str) -> set[str]:
    listing = (
        "from importlib import metadata\nfor found in metadata.distributions(): print(found.metadata['Name'].lower())"
    )
    return set(docker("run", "--rm", "--entrypoint", "python", image, "-c", listing).split())


def example_row(container: Container, model: str) -> dict[str, Any]:
    row: dict[str, Any] = httpx.get(f"{container.url}/models/{model}").json()["examples"][0]["row"]
    return row


def predict(container: Container, model: str, rows: list[dict[str, Any]]) -> Any:
    reply = httpx.post(f"{container.url}/predict/{model}", json={"rows": rows}, timeout=15)
    assert reply.status_code == 200, reply.text
    return reply.json()


# Contents


def test_the_image_is_small_and_has_no_packages_beyond_serving(image: str) -> None:
    found = distributions(image)
    assert not found & (NOT_FOR_SERVING | TENSORFLOW | EXTRAS)
    assert {"bentoml", "numpy", "uvloop"} <= found
    base, plain, ours = (size_mb(name) for name in ("python:3.11-slim", BENTOML_IMAGE, image))
    print(f"\nbase {base:.0f} MB, bentoml containerize {plain:.0f} MB, make image {ours:.0f} MB")
    assert plain <= 400
    assert ours <= 350


def test_the_sources_in_the_image_are_compiled(image: str) -> None:
    """Workers cannot write bytecode to a read-only root file system, and would otherwise compile each module at every
    start.
    """
    src = "/home/bentoml/bento/src"
    listed = docker("run", "--rm", "--entrypoint", "find", image, src, "-path", "*/service/*", "-name", "*.py*").split()
    sources = {Path(path).stem for path in listed if path.endswith(".py")}
    assert sources
    assert sources == {Path(path).stem.partition(".")[0] for path in listed if path.endswith(".pyc")}


def test_the_files_of_the_page_are_in_the_image(image: str) -> None:
    source = "/home/bentoml/bento/src"
    folder = f"{source}/service/page"
    listed = docker("run", "--rm", "--entrypoint", "find", image, folder, "-type", "f").split()
    styles = docker("run", "--rm", "--entrypoint", "find", image, f"{source}/models", "-name", "*.css").split()
    assert {*styles} == {f"{source}/models/{name}.css" for name in ("html_page", "page_colours")}
    own = {path.relative_to(ROOT / "service/page").as_posix() for path in (ROOT / "service/page").rglob("*.*")}
    assert own == {path.removeprefix(f"{folder}/") for path in listed}
    assert "index.html" in own


def test_labels_and_sbom_list_the_models(image: str, tools: Path) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image))
    assert labels["org.opencontainers.image.version"] == version()
    tags = labels["tabserve.models"].split()
    assert [tag.split(":")[0] for tag in tags] == ["housing", "income", "penguins"]
    sbom = json.loads((ROOT / "build" / "tabserve-tested.cdx.json").read_text())
    listed = {(part["type"], part["name"]): part["version"] for part in sbom["components"]}
    assert [f"{name}:{listed['machine-learning-model', name]}" for name in ("housing", "income", "penguins")] == tags
    for name in ("numpy", "bentoml", "libc6"):
        assert ("library", name) in listed
    run(str(tools / "bin" / "python"), "-c", VALID_SBOM, "build/tabserve-tested.cdx.json")


def test_make_image_builds_the_requested_extras_and_models(home: Path, start: Start) -> None:
    image = "tabserve:tested-extras"
    run("make", "image", f"IMAGE={image}", "MODELS=penguins housing:1", "EXTRAS=arrow grpc")
    assert distributions(image) >= EXTRAS
    print(f"\nwith arrow and grpc {size_mb(image):.0f} MB")
    assert size_mb(image) <= 600
    container = start(image, "--env", "TABSERVE_GRPC_PORT=9000", "--publish", "127.0.0.1::9000")
    container.wait_ready()
    assert set(served_versions(container)) == {"housing", "penguins"}
    with grpc.insecure_channel(docker("port", container.id, "9000")) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_a_build_with_an_invalid_option_prints_one_error_line(home: Path) -> None:
    for option, message in (
        ("MODELS=huosing", "did you mean housing?"),
        ("EXTRAS=arow", "expected one or more of arrow, cloud, grpc, signing, tracing"),
    ):
        printed = run("make", "image", "IMAGE=tabserve:never", option, check=False)
        assert message in printed
        assert "Traceback" not in printed
        assert "Error" in printed.splitlines()[-1]  # printed by make
    assert not docker("images", "--quiet", "tabserve:never")


# Serving


def test_docker_run_without_options_serves_the_trained_models(
    image: str, start: Start, local_models: dict[str, Any]
) -> None:
    container = start(image, publish=False)
    container.wait_ready()
    url = container.url
    assert httpx.get(f"{url}/livez").status_code == 200
    for name, model in local_models.items():
        rows = model.golden.rows
        found = predict(container, name, rows)
        assert found["version"] == model.version
        expected = model.present(model.predict_rows(rows))
        for got, wanted in zip(found["predictions"], expected, strict=True):
            if "value" in wanted:
                assert abs(got["value"] - wanted["value"]) <= TOLERANCE * model.tolerance()
            else:
                assert got["probabilities"] == pytest.approx(wanted["probabilities"], abs=TOLERANCE)
    wait_until(
        lambda: 'tabserve_requests_total{model="housing"' in httpx.get(f"{url}/metrics").text, 5, lambda: container.logs
    )
    wait_until(lambda: container.inspect("{{.State.Health.Status}}") == "healthy", 30, lambda: container.logs)


def test_the_image_of_bentoml_containerize_serves(image: str, start: Start) -> None:
    container = start(BENTOML_IMAGE, "--env", "TABSERVE_WORKERS=1")
    container.wait_ready()
    predict(container, "housing", [example_row(container, "housing")])
    assert container.shell("id -u") == "1034"


def test_the_image_serves_as_any_user_with_minimal_privileges(image: str, start: Start) -> None:
    for user in ("", "12345:0"):  # the user of the image, and a user that an orchestrator sets
        as_user = ("--user", user) if user else ()
        container = start(image, *LOCKED_DOWN, *as_user, "--pids-limit", "100", "--memory", "512m")
        container.wait_ready()
        predict(container, "housing", [example_row(container, "housing")])
        status = dict(line.split(":\t") for line in container.shell("cat /proc/1/status").splitlines())
        assert status["Uid"].split() == [user.partition(":")[0] or "1034"] * 4
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1"
        assert "refused" in container.shell("touch /home/file /app/file 2>/dev/null || echo refused")
        assert container.shell("find / -xdev -perm /6000 -type f 2>/dev/null || true") == ""
        assert docker("diff", container.id) == ""


def test_a_read_only_root_without_a_tmpfs_is_reported(image: str, start: Start) -> None:
    container = start(image, "--read-only")
    assert container.wait_exit() == 1
    assert container.logs == (
        "tabserve: /tmp/bentoml cannot be written; with a read-only root give it a tmpfs: --tmpfs /tmp"
    )


def test_one_worker_starts_with_little_cpu_time_and_memory(image: str, start: Start) -> None:
    start(image, *LOCKED_DOWN, "--env", "TABSERVE_WORKERS=1").wait_ready()  # loads the image into the page cache
    container = start(image, *LOCKED_DOWN, "--env", "TABSERVE_WORKERS=1")
    seconds = container.wait_ready()
    cpu = processor_seconds(container)
    memory = memory_mb(container)
    print(f"\nready after {seconds:.1f} s, {cpu:.1f} s of one core; {memory:.0f} MB")
    for workers in (2, 4):
        more = start(image, *LOCKED_DOWN, "--env", f"TABSERVE_WORKERS={workers}")
        more.wait_ready()
        wait_until_idle(more)
        print(f"{workers} workers: {memory_mb(more):.0f} MB")
    assert cpu <= 5  # CPU time on an idle machine
    assert memory <= 160


def processor_seconds(container: Container) -> float:
    v1, v2 = "/sys/fs/cgroup/cpuacct/cpuacct.usage", "/sys/fs/cgroup/cpu.stat"
    nanoseconds, _, stat = container.shell(f"cat {v1} 2>/dev/null; echo; cat {v2} 2>/dev/null || true").partition("\n")
    return int(nanoseconds) / 1e9 if nanoseconds else int(stat.split()[1]) / 1e6


def wait_until_idle(container: Container) -> None:
    """Wait until all workers have started: until the container uses almost no processor time during one second."""

    def idle() -> bool:
        before = processor_seconds(container)
        time.sleep(1)
        return processor_seconds(container) - before < 0.1

    wait_until(idle, 60, lambda: container.logs)


def memory_mb(container: Container) -> float:
    """The memory of the container, from `docker stats`."""
    used = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container.id).split()[0]
    assert used.endswith("MiB")
    return float(used.removesuffix("MiB")) * 1024**2 / 1e6


# Failures


def send_half_a_request(container: Container, model: str, row: dict[str, Any]) -> tuple[socket.socket, bytes]:
    """Send half of a request body. Returns the connection and the rest of the body."""
    body = json.dumps({"rows": [row]}).encode()
    address = urlsplit(container.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    head = f"POST /predict/{model} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + body[: len(body) // 2])
    return connection, body[len(body) // 2 :]


def test_docker_stop_completes_requests_in_progress(image: str, start: Start) -> None:
    container = start(image, "--env", "TABSERVE_WORKERS=2")
    container.wait_ready()
    url, row = container.url, example_row(container, "housing")
    slow = [send_half_a_request(container, "housing", row) for _ in range(4)]
    answered, failures = [0], []

    def load() -> None:
        """Send requests until /readyz fails, as a client behind a load balancer does."""
        with httpx.Client(base_url=url, timeout=15) as client:
            while client.get("/readyz").status_code == 200:
                reply = client.post("/predict/housing", json={"rows": [row]})
                answered[0] += 1
                if reply.status_code != 200:
                    failures.append(reply.text)

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    time.sleep(0.5)
    stopping = threading.Thread(target=docker, args=("stop", "--time", "30", container.id))
    stopping.start()
    time.sleep(1)
    for connection, rest in slow:
        connection.sendall(rest)
        assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")
        connection.close()
    for client in clients:
        client.join(30)
    stopping.join(60)
    assert failures == []
    assert answered[0] > 10
    assert container.wait_exit() == 0


def test_a_killed_worker_is_replaced_without_a_container_restart(image: str, start: Start) -> None:
    container = start(image, *LOCKED_DOWN, "--env", "TABSERVE_WORKERS=2")
    container.wait_ready()
    began, before = container.inspect("{{.State.StartedAt}}"), container.workers()
    assert len(before) == 2
    container.shell(f"kill -9 {min(before)}")
    wait_until(lambda: len(container.workers() - before) == 1, 30, lambda: container.logs)
    assert container.workers() - before
    container.wait_ready()
    row = example_row(container, "penguins")
    for _ in range(20):
        predict(container, "penguins", [row])
    assert container.inspect("{{.State.StartedAt}}") == began, "the container was restarted"


@pytest.fixture
def mounted(home: Path, tmp_path: Path) -> Path:
    """A store folder with only penguins:1, readable by the container's user."""
    folder = tmp_path / "store"
    newest = max((home / "models" / "penguins").glob("*/"), key=lambda path: int(path.name))
    shutil.copytree(newest, folder / "penguins" / "1")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    return folder


def test_a_mounted_store_replaces_the_models_of_the_image(image: str, start: Start, mounted: Path) -> None:
    store = ("--volume", f"{mounted}:/store:ro", "--env", "TABSERVE_STORE=/store")
    container = start(image, *LOCKED_DOWN, *store)
    container.wait_ready()
    assert served_versions(container) == {"penguins": "1"}
    shutil.copytree(mounted / "penguins" / "1", mounted / "penguins" / "2")
    docker("restart", container.id)
    container.wait_ready()
    assert served_versions(container) == {"penguins": "2"}
    predict(container, "penguins", [example_row(container, "penguins")])


def test_a_version_of_a_mounted_store_is_promoted_from_the_host(image: str, start: Start, mounted: Path) -> None:
    """The commands run outside the container, which can only read its store."""
    shutil.copytree(mounted / "penguins" / "1", mounted / "penguins" / "2")
    container = start(image, *LOCKED_DOWN, "--volume", f"{mounted}:/store:ro", "--env", "TABSERVE_STORE=/store")
    container.wait_ready()
    assert served_versions(container) == {"penguins": "2"}
    row = example_row(container, "penguins")
    for command, expected in ((("promote", "penguins:1"), "1"), (("rollback", "penguins"), "2")):
        run(sys.executable, "-m", "tabserve", *command, settings={"TABSERVE_STORE": str(mounted)})
        wait_until(lambda: answering_versions(container, row) == {expected}, 60, lambda: container.logs)  # noqa: B023
    refused = httpx.post(f"{container.url}/models/penguins/promote", json={"version": 1}, timeout=30)
    assert refused.status_code == 403  # the request does not come from the container itself


def answering_versions(container: Container, row: dict[str, Any]) -> set[str]:
    """The versions that answer 20 requests."""
    return {predict(container, "penguins", [row])["version"] for _ in range(20)}


def served_versions(container: Container) -> dict[str, str]:
    models = httpx.get(f"{container.url}/models").json()["models"]
    return {model["name"]: model["version"] for model in models}


def test_an_invalid_setting_stops_the_container_with_one_line(image: str, start: Start) -> None:
    invalid = {
        "TABSERVE_WORKER=1": "unknown setting TABSERVE_WORKER, did you mean TABSERVE_WORKERS?",
        "TABSERVE_MAX_ROWS=many": "TABSERVE_MAX_ROWS='many': expected a whole number",
        "TABSERVE_STORE=/nowhere": "TABSERVE_STORE='/nowhere': no such folder",
        "TABSERVE_MODELS=penguin": "did you mean penguins?",
    }
    started = [(start(image, *LOCKED_DOWN, "--env", setting), message) for setting, message in invalid.items()]
    for container, message in started:
        assert container.wait_exit() == 1
        assert message in container.logs
        assert len(container.logs.splitlines()) == 1


def test_variables_of_a_kubernetes_service_named_tabserve_are_ignored(image: str, start: Start) -> None:
    """Kubernetes sets these variables in every container of the Service's namespace; the server must start
    nevertheless.
    """
    address = "tcp://10.0.0.1:3000"
    environment = {
        "TABSERVE_SERVICE_HOST": "10.0.0.1",
        "TABSERVE_PREDICTOR_SERVICE_HOST": "10.0.0.1",  # set by KServe
        "TABSERVE_SERVICE_PORT": "3000",
        "TABSERVE_SERVICE_PORT_HTTP": "3000",
        "TABSERVE_PORT": address,
        "TABSERVE_PORT_3000_TCP": address,
        "TABSERVE_PORT_3000_TCP_ADDR": "10.0.0.1",
    }
    container = start(image, *(part for name, value in environment.items() for part in ("--env", f"{name}={value}")))
    container.wait_ready()
    invalid = start(image, "--env", "TABSERVE_PORT=8080")
    assert invalid.wait_exit() == 1
    assert "unknown setting TABSERVE_PORT" in invalid.logs


# Platforms with their own conventions


def test_the_sagemaker_conventions_are_supported(image: str, start: Start, mounted: Path) -> None:
    container = start(image, "--volume", f"{mounted}:/opt/ml/model:ro", command=("serve",), port=8080)
    container.wait_ready()
    assert served_versions(container) == {"penguins": "1"}
    assert httpx.get(f"{container.url}/ping").status_code == 200
    instances = {"instances": [example_row(container, "penguins")]}
    assert "predictions" in httpx.post(f"{container.url}/invocations", json=instances).json()
    wait_until(lambda: container.inspect("{{.State.Health.Status}}") == "healthy", 30, lambda: container.logs)


def test_the_port_and_routes_of_vertex_ai_are_used(image: str, start: Start) -> None:
    environment = (
        "AIP_HTTP_PORT=8081",
        "AIP_HEALTH_ROUTE=/alive",
        "AIP_PREDICT_ROUTE=/ask",
        "TABSERVE_MODELS=penguins",
    )
    container = start(image, *(part for one in environment for part in ("--env", one)), port=8081)
    container.wait_ready()
    assert httpx.get(f"{container.url}/alive").status_code == 200
    instances = {"instances": [example_row(container, "penguins")]}
    assert "predictions" in httpx.post(f"{container.url}/ask", json=instances).json()


def test_the_port_is_read_from_the_variables_of_the_platform(image: str, start: Start) -> None:
    names = ("PORT", "SAGEMAKER_BIND_TO_PORT")
    for container in [start(image, "--env", f"{name}=8081", port=8081) for name in names]:
        container.wait_ready()


def test_a_command_given_to_docker_run_replaces_the_server(image: str) -> None:
    assert docker("run", "--rm", image, "python", "-c", "print(6 * 7)") == "42"


# With TensorFlow


@pytest.fixture
def full(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--full"):
        pytest.skip("this test takes minutes and runs with make container-test FULL=1")


@pytest.mark.usefixtures("full")
def test_an_image_for_the_tensorflow_engine_contains_tensorflow(
    home: Path, start: Start, local_models: dict[str, Any]
) -> None:
    image = "tabserve:tested-tensorflow"
    run("make", "image", f"IMAGE={image}", "MODELS=housing", seconds=1200, settings={"TABSERVE_ENGINE": "tensorflow"})
    assert distributions(image) & TENSORFLOW
    print(f"\nwith TensorFlow {size_mb(image):.0f} MB, bentoml containerize {size_mb(BENTOML_IMAGE):.0f} MB")
    assert size_mb(image) <= 1900
    container = start(image, *LOCKED_DOWN, "--env", "TABSERVE_ENGINE=tensorflow")
    print(f"ready after {container.wait_ready():.1f} s, {memory_mb(container):.0f} MB")
    assert httpx.get(f"{container.url}/models").json()["models"][0]["engine"] == "tensorflow"
    model = local_models["housing"]
    found = predict(container, "housing", model.golden.rows)
    for got, [wanted] in zip(found["predictions"], model.golden.predictions, strict=True):
        assert abs(got["value"] - wanted) <= GOLDEN_TOLERANCE * model.tolerance()
