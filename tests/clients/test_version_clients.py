"""Clients of other servers request a version: KServe's by its number, TF Serving's by its label."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from models import store, version_files
from models.tabular_model import TabularModel
from tests.clients.conftest import HOUSING, PYTHON, USE, run_json, schemas
from tests.ports import free_port
from tests.service.conftest import Server, clean_environment, random_version

ROW = {name: float(place + 1) for place, name in enumerate(HOUSING)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two versions of `housing`, which predict different values."""
    root = tmp_path_factory.mktemp("versions")
    for version in (1, 2):
        folder = root / "housing" / str(version)
        folder.mkdir(parents=True)
        version_files.write(folder, random_version(schemas()[0], seed=version))
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Server]:
    home, port = tmp_path_factory.mktemp("home"), free_port()
    settings = {"TABSERVE_STORE": str(folder), "TABSERVE_WORKERS": "1", "TABSERVE_GRPC_PORT": str(port)}
    server = Server(clean_environment(home, **settings), home / "log", grpc=f"127.0.0.1:{port}")
    server.start()
    alias = httpx.put(f"{server.url}/models/housing/aliases/challenger", json={"version": 1}, timeout=60)
    assert alias.status_code == 200, alias.text
    yield server
    assert server.stop() == 0


@pytest.fixture
def value_of(folder: Path) -> Callable[[str], float]:
    """value_of(version): the prediction of this version for ROW."""
    models: dict[str, TabularModel] = {
        str(stored.version): store.load(stored) for stored in store.versions(folder)[0]["housing"]
    }
    return lambda version: float(models[version].predict_rows([ROW]).primary.item())


def test_kserve_client_requests_a_version(server: Server, value_of: Callable[[str], float], tmp_path: Path) -> None:
    script: list[Any] = [PYTHON / "python", USE / "kserve_client.py", server.url, server.grpc, json.dumps(ROW)]
    found = run_json(*script, folder=tmp_path)
    assert found.pop("live") is True
    assert found.pop("v1") == {"predictions": [pytest.approx(value_of("2"))]}
    for version in ("1", "2"):
        assert found.pop(f"ready {version}") is True
        for protocol in ("REST", "gRPC"):
            assert found.pop(f"{protocol} {version}") == pytest.approx(value_of(version))
    assert found == {}
    assert value_of("1") != pytest.approx(value_of("2"))


def test_tf_serving_clients_request_a_label(server: Server, value_of: Callable[[str], float]) -> None:
    """TF Serving has no REST client, so the address and the body are those of its documentation."""
    for place, version in (("", "2"), ("/labels/challenger", "1"), ("/labels/champion", "2"), ("/versions/1", "1")):
        reply = httpx.post(f"{server.url}/v1/models/housing{place}:predict", json={"instances": [ROW]}, timeout=60)
        assert reply.json() == {"predictions": [pytest.approx(value_of(version))]}
        assert reply.headers["x-model-version"] == version
    unknown = httpx.post(f"{server.url}/v1/models/housing/labels/none:predict", json={"instances": [ROW]}, timeout=60)
    assert unknown.status_code == 404
    assert "none" in unknown.json()["error"]
