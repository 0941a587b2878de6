"""The Python client behind a real nginx, with TLS, keys and a rate limit, while workers are killed and the queue is
full."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from tabserve_client import AuthenticationError, Client, ConnectionFailed, PermissionDenied

from tests.certificates import Authority
from tests.client_package.conftest import client_store, home_rows
from tests.client_package.worker_kills import home_frame, wrong_calls
from tests.clients.conftest import PYTHON, ROOT, USE, run_json
from tests.clients.test_nginx import CONFIGURATIONS, nginx
from tests.service.access_keys import KeySet
from tests.service.conftest import Server, clean_environment, make_server

__all__ = ["client_store", "home_rows", "make_server"]
KILLS = 10


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeySet:
    made = KeySet(tmp_path_factory.mktemp("keys") / "keys.json")
    made.add("shop")
    made.add("slow", rate=20, burst=2)
    made.add("income-only", models=["income"])
    made.add("metrics", "metrics")
    return made


@pytest.fixture(scope="module")
def busy_server(make_server: Callable[..., Any], client_store: Path, keys: KeySet) -> Any:
    """A server with keys, whose queue has room for little more than one request of the client."""
    return make_server(
        TABSERVE_STORE=str(client_store),
        TABSERVE_WORKERS="2",
        TABSERVE_DRAIN_S="0",
        TABSERVE_QUEUE_ROWS="5000",
        TABSERVE_KEYS_FILE=str(keys.path),
    )


@pytest.fixture(params=CONFIGURATIONS)
def behind_nginx(
    request: pytest.FixtureRequest, busy_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    # /readyz of a server with keys needs no key
    yield from nginx(CONFIGURATIONS[request.param], busy_server.port, tmp_path_factory.mktemp("nginx"))


def test_killed_workers_behind_nginx_neither_lose_nor_repeat_rows(
    behind_nginx: str, busy_server: Any, keys: KeySet, home_rows: Any
) -> None:
    frame = home_frame(home_rows(1000), 40_000)
    with Client(behind_nginx, key=keys.texts["shop"], deadline=None, attempts=1000, concurrency=8) as client:
        assert wrong_calls(busy_server, client, frame, KILLS) == []


def test_rate_limit_neither_loses_nor_repeats_rows(busy_server: Any, keys: KeySet, home_rows: Any) -> None:
    """The client sends more requests at once than the rate limit of its key allows, and repeats the requests that get
    status 429."""
    frame = home_frame(home_rows(1000), 100_000)
    with Client(busy_server.url, key=keys.texts["slow"], deadline=None, concurrency=16) as client:
        assert wrong_calls(busy_server, client, frame, kills=0) == []
    page = httpx.get(f"{busy_server.url}/metrics", headers={"x-api-key": keys.texts["metrics"]}, timeout=60)
    assert 'status="429"' in page.text


def test_keys_are_checked(busy_server: Any, keys: KeySet, home_rows: Any) -> None:
    for key in (None, "tsk_unknown_key"):
        with Client(busy_server.url, key=key) as client, pytest.raises(AuthenticationError):
            client.predict("homes", home_rows(1))
    with Client(busy_server.url, key=keys.texts["income-only"]) as client:
        assert len(client.models()) == 1
        with pytest.raises(PermissionDenied):
            client.predict("homes", home_rows(1))


class TlsServer(Server):
    """A server whose certificate is signed by the test's authority."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


def test_client_verifies_the_server_certificate(
    client_store: Path, tmp_path: Path, home_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    certificate, private = map(str, authority.issue("server"))
    environment = clean_environment(tmp_path / "home", TABSERVE_STORE=str(client_store), TABSERVE_WORKERS="1")
    server = TlsServer(
        environment, tmp_path / "log", arguments=["--ssl-certfile", certificate, "--ssl-keyfile", private]
    )
    with monkeypatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", str(authority.file))  # `start` requests /readyz
        server.start()
    try:
        frame = pd.DataFrame(home_rows(9000))
        with Client(server.url, verify=ssl.create_default_context(cafile=str(authority.file))) as client:
            assert len(client.predict("homes", frame)) == 9000
        with Client(server.url, attempts=2) as client, pytest.raises(ConnectionFailed, match=r"(?i)certificate"):
            client.predict("homes", frame)
    finally:
        server.stop()


def test_client_scores_a_polars_frame_without_pyarrow(
    busy_server: Any, keys: KeySet, home_rows: Any, tmp_path: Path
) -> None:
    """The client runs in an environment with polars and without pyarrow."""
    source = ROOT / "clients/python/src"
    found = run_json(
        PYTHON / "python",
        USE / "polars_client.py",
        busy_server.url,
        keys.texts["shop"],
        folder=tmp_path,
        PYTHONPATH=str(source),
    )
    assert found == {"rows": 9000, "columns": ["value", "low", "high", "warnings", "error"], "pyarrow": False}
