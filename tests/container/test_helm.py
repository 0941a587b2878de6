"""The Helm chart is rendered with many values and validated with Kubernetes' schemas; its Deployment runs on podman."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from tests.container.containers import (
    ROOT,
    Container,
    Load,
    compose_image,
    docker,
    responds,
    run,
    skip_or_fail,
    wait_until,
)

CHART = ROOT / "deploy" / "helm" / "tabserve"
OWN_RESOURCES = {
    "ScaledObject",
    "ServiceMonitor",
    "InferenceService",
}  # kinds that operators define; Kubernetes has no schemas for them
DIGEST = "sha256:" + 32 * "ab"
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example.com/tabserve", "digest": DIGEST, "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "settings": {"max_rows": "50000", "log_level": "warning"},
    "workers": 4,
    "grpcPort": 9000,
    "store": {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
    "autoscaling": {"inflightRows": 200},
    "service": {"annotations": {"a/b": "c"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "tlsSecret": "tls",
        "annotations": {"a/b": "c"},
        "paths": ["/predict", "/v2"],
    },
    "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]},
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "tlsConfig": {"serverName": "fares"},
        "authorization": {"credentials": {"name": "prometheus-key", "key": "token"}},
    },
    "keysSecret": "fares-keys",
    "trustedKeysSecret": "fares-signing",
    "tls": {"secret": "fares-tls"},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "a"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "only", "operator": "Exists", "effect": "NoSchedule"}],
}
VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": EVERYTHING,
    "keda": {"keda": {"enabled": True, "inflightRows": 100}, "service": {"type": "LoadBalancer", "port": 8080}},
    "plain": {
        "autoscaling": {"enabled": False},
        "replicas": 1,
        "podDisruptionBudget": None,
        "networkPolicy": {"enabled": False},
    },
    "certificates of clients": {"tls": {"secret": "fares-tls", "clientCa": True}},
    "store of a node": {
        "store": {"hostPath": {"path": "/srv/models"}},
        "podDisruptionBudget": {"maxUnavailable": "50%"},
    },
}
KINDS = {
    "default": ["Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"],
    "keda": ["Deployment", "NetworkPolicy", "PodDisruptionBudget", "ScaledObject", "Service"],
    "plain": ["Deployment", "Service"],
}
Helm = Callable[..., str]


@pytest.fixture
def helm(tools: Path, tmp_path: Path) -> Helm:
    """helm(command…, values={…}, check=…) runs helm on the chart and returns its output."""

    def call(*command: str, values: Mapping[str, Any] | None = None, check: bool = True) -> str:
        file = tmp_path / "values.json"
        file.write_text(json.dumps(values or {}))
        return run(str(tools / "helm" / "helm"), *command, str(CHART), "--values", str(file), check=check)

    return call


def render(helm: Helm, values: Mapping[str, Any]) -> dict[str, Any]:
    """The rendered objects by kind."""
    found = yaml.safe_load_all(helm("template", "test", values=values))
    return {document["kind"]: document for document in found if document}


def validate(tools: Path, documents: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    run(str(tools / "bin" / "kubernetes-validate"), "--strict", "--kubernetes-version", "1.35", str(file))


@pytest.mark.parametrize("case", VALUES)
def test_the_chart_passes_lint_and_the_kubernetes_schemas(helm: Helm, tools: Path, tmp_path: Path, case: str) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", values=VALUES[case])
    rendered = render(helm, VALUES[case])
    assert sorted(rendered) == KINDS.get(case, sorted(rendered))
    validate(tools, [document for kind, document in rendered.items() if kind not in OWN_RESOURCES], tmp_path)


def test_the_validation_reports_an_unknown_field(helm: Helm, tools: Path, tmp_path: Path) -> None:
    """The validation of the chart can fail: an unknown field is reported."""
    rendered = render(helm, {})
    rendered["Deployment"]["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(AssertionError, match="readynessProbe"):
        validate(tools, list(rendered.values()), tmp_path)


def test_all_values_of_the_chart_are_rendered(helm: Helm) -> None:
    rendered = render(helm, EVERYTHING)
    pod = rendered["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == f"registry.example.com/tabserve@{DIGEST}"
    assert container["resources"]["requests"] == {"cpu": "2000m", "memory": "640Mi"}
    assert container["resources"]["limits"] == {"memory": "1280Mi"}
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment == {
        "TABSERVE_WORKERS": "4",
        "TABSERVE_DRAIN_S": "10",
        "TABSERVE_GRPC_PORT": "9000",
        "TABSERVE_STORE": "/store",
        "TABSERVE_MAX_ROWS": "50000",
        "TABSERVE_LOG_LEVEL": "warning",
        "TABSERVE_ADMIN": "off",
        "TABSERVE_KEYS_FILE": "/secrets/keys/keys.json",
        "TABSERVE_TRUSTED_KEYS": "/secrets/trusted-keys",
        "SSL_CERTFILE": "/secrets/tls/tls.crt",
        "SSL_KEYFILE": "/secrets/tls/tls.key",
    }
    secrets = {f"/secrets/{name}" for name in ("keys", "trusted-keys", "tls")}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/store", *secrets}
    volumes = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    assert volumes == {"keys": "fares-keys", "trusted-keys": "fares-signing", "tls": "fares-tls"}
    [endpoint] = rendered["ServiceMonitor"]["spec"]["endpoints"]
    assert (endpoint["scheme"], endpoint["tlsConfig"]) == ("https", {"serverName": "fares"})
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]
    metrics = rendered["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Resource", "Pods"]
    assert [port["name"] for port in rendered["Service"]["spec"]["ports"]] == ["http", "grpc"]
    assert rendered["ServiceMonitor"]["metadata"]["labels"]["release"] == "prometheus"
    job = rendered["ServiceMonitor"]["spec"]["jobLabel"]
    assert rendered["Service"]["metadata"]["labels"][job] == "tabserve", "the alert rules select this job"
    assert rendered["Service"]["metadata"]["annotations"] == {"a/b": "c"}
    [rule] = rendered["Ingress"]["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/predict", "/v2"]
    assert rendered["Ingress"]["spec"]["tls"][0]["hosts"] == ["tabserve.example.com"]


@pytest.mark.parametrize(
    ("tls", "readiness"),
    [
        ({}, {"httpGet": {"path": "/readyz", "port": 3000}}),
        ({"secret": "a"}, {"httpGet": {"path": "/readyz", "port": 3000, "scheme": "HTTPS"}}),
        ({"secret": "a", "clientCa": True}, {"exec": {"command": ["tabserve", "healthy", "/readyz"]}}),
    ],
)
def test_the_probes_use_the_protocol_of_the_server(helm: Helm, tls: dict[str, Any], readiness: dict[str, Any]) -> None:
    [container] = render(helm, {"tls": tls})["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert readiness.items() <= container["readinessProbe"].items()
    assert ("SSL_CA_CERTS" in {one["name"] for one in container["env"]}) == ("clientCa" in tls)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replica": 3}, "replica"),
        ({"settings": {"keys_file": "/keys"}}, "invalid propertyName 'keys_file'"),
        ({"tls": {"clientCa": True}}, "tls.clientCa needs tls.secret"),
        ({"workers": 0}, "workers"),
        ({"settings": {"max_rows": 50000}}, "max_rows"),
        ({"settings": {"workers": "2"}}, "invalid propertyName 'workers'"),
        ({"autoscaling": {"cpu": "70%"}}, "cpu"),
        ({"service": {"type": "Cluster"}}, "type"),
        ({"image": {"digest": "sha256:12"}}, "digest"),
        ({"resources": {"limit": {"memory": "1Gi"}}}, "limit"),
        ({"ingress": {"paths": ["predict"]}}, "paths"),
        ({"drainSeconds": 60}, "terminationGraceSeconds"),
    ],
)
def test_invalid_values_are_refused(helm: Helm, values: dict[str, Any], message: str) -> None:
    printed = helm("template", "test", values=values, check=False)
    assert "Error: " in printed
    assert message in printed


def test_the_pod_of_the_kserve_example_is_valid(tools: Path, tmp_path: Path) -> None:
    """Kubernetes has no schema for an InferenceService, only for the pod in it."""
    service = yaml.safe_load((ROOT / "deploy" / "kserve.yaml").read_text())
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    predictor = service["spec"]["predictor"]
    kserve_fields = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"}
    assert kserve_fields <= set(predictor)
    pod_fields = {name: predictor[name] for name in set(predictor) - kserve_fields}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tabserve"}, "spec": pod_fields}
    validate(tools, [pod], tmp_path)


# Tests on a container engine


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """podman(arguments…) runs podman with its own storage."""
    if not shutil.which("podman") or os.geteuid() != 0:
        skip_or_fail("podman is not installed, or this is not root")
    conf = tmp_path / "containers.conf"
    conf.write_text(
        '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )
    short = tempfile.mkdtemp(prefix="podman-")  # podman rejects long paths
    own = ("--root", f"{short}/root", "--runroot", f"{short}/run")

    def call(*arguments: str, stdin: bytes | None = None) -> str:
        environment = {**os.environ, "CONTAINERS_CONF": str(conf)}
        done = subprocess.run(
            ["podman", *own, *arguments], env=environment, input=stdin, capture_output=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    yield call
    call("pod", "rm", "--all", "--force")
    call("system", "reset", "--force")
    shutil.rmtree(short)


def test_the_rendered_deployment_runs(helm: Helm, image: str, podman: Callable[..., str], tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    docker("save", "--output", str(archive), image)
    podman("load", "--input", str(archive))
    archive.unlink()
    repository, tag = image.split(":")
    values = {
        "image": {"repository": f"localhost/{repository}", "tag": tag, "pullPolicy": "Never"},
        "settings": {"models": "penguins"},
    }
    deployment = render(helm, values)["Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    container.pop("ports")  # podman would publish the ports on all interfaces of this machine
    manifest = tmp_path / "deployment.yaml"
    manifest.write_text(yaml.safe_dump(deployment))
    podman("kube", "play", str(manifest))
    [infra, served] = sorted(podman("ps", "--format", "{{.Names}}").split(), key=lambda name: "-infra" not in name)
    networks = json.loads(podman("inspect", "--format", "{{json .NetworkSettings.Networks}}", infra))
    url = f"http://{next(iter(networks.values()))['IPAddress']}:3000"
    wait_until(lambda: responds(f"{url}/readyz"), 90, lambda: podman("logs", served))
    assert [model["name"] for model in httpx.get(f"{url}/models").json()["models"]] == ["penguins"]
    status = dict(line.split(":\t") for line in podman("exec", served, "cat", "/proc/1/status").splitlines())
    assert status["Uid"].split()[0] == "1034"
    assert (int(status["CapBnd"], 16), status["NoNewPrivs"]) == (0, "1")
    assert "refused" in podman("exec", served, "bash", "-c", "touch /file 2>/dev/null || echo refused")
    podman("kube", "down", str(manifest))


@pytest.fixture
def nginx(start: Callable[..., Container], tmp_path: Path) -> Callable[..., Container]:
    """nginx(containers…) starts the nginx of deploy/compose for these containers; another call switches to other
    containers.
    """
    folder = tmp_path / "nginx"
    folder.mkdir()
    for path in (folder, *list(folder.parents)[:3]):
        path.chmod(0o755)
    image = compose_image("nginx")
    running: list[Container] = []

    def serve(*containers: Container) -> Container:
        lines = (ROOT / "deploy/compose/nginx.conf").read_text().splitlines()
        servers = [f"        server {one.inspect('{{.NetworkSettings.IPAddress}}')}:3000;" for one in containers]
        at = next(number for number, line in enumerate(lines) if "server 172" in line)
        kept = [line for line in lines if "server 172" not in line]
        text = "\n".join([*kept[:at], *servers, *kept[at:]])
        text = text.replace("error timeout http_503 non_idempotent", "off")  # a Kubernetes Service does not retry
        (folder / "nginx.conf").write_text(text)
        if running:
            docker("exec", running[0].id, "nginx", "-c", "/conf/nginx.conf", "-s", "reload")
        else:
            command = ("nginx", "-c", "/conf/nginx.conf", "-g", "daemon off;")
            running.append(start(image, "--volume", f"{folder}:/conf:ro", command=command, port=8000))
            running[0].wait_ready()
        return running[0]

    return serve


def test_no_request_fails_during_a_rolling_update(
    image: str, start: Callable[..., Container], nginx: Callable[..., Container]
) -> None:
    """As in a Deployment: a new container becomes ready, an old container stops, and the load balancer is updated."""

    def replica() -> Container:
        container = start(image, "--env", "TABSERVE_WORKERS=1", "--env", "TABSERVE_DRAIN_S=10", publish=False)
        container.wait_ready()
        return container

    serving = [replica(), replica()]
    # nginx closes open connections when it reloads its configuration
    with Load(nginx(*serving).url, keep_alive=False) as load:
        time.sleep(1)
        for old in list(serving):
            serving = [*serving[1:], replica()]
            ending = threading.Thread(target=docker, args=("stop", "--time", "45", old.id))
            ending.start()
            time.sleep(0.5)
            nginx(*serving)
            ending.join(60)
            assert old.wait_exit() == 0
    print(f"\nrolling update: {load.answered} answered, {len(load.failures)} failed")
    assert load.failures == []
    assert load.answered > 100
