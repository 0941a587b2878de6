"""Fixtures: a server of small models with intervals, label sets and explanations, and both clients connected to it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tabserve_client import AsyncClient, Client

from models import uncertainty, version_files
from models.explanation.background import Background
from models.network.scale_head import ScaleHead
from tests.service import conftest as service_fixtures
from tests.service.conftest import make_server

__all__ = ["make_server"]


class BlockingAsyncClient:
    """An `AsyncClient` with the blocking methods of `Client`: it runs its own event loop."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(url, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._runner.run(method(*arguments, **options))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(scope="session")
def client_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store folder, for TABSERVE_STORE, with the models `homes`, `income` and `house_class`."""
    root, rng = tmp_path_factory.mktemp("store"), np.random.default_rng(3)
    for schema in service_fixtures.schemas():
        made = service_fixtures.random_version(schema)
        rows = service_fixtures.rows_of(schema, 300, rng)
        made = replace(made, background=Background.fit(schema, schema.frames.from_rows(rows), rng))
        if schema.task == "regression":
            head = ScaleHead(np.full(16, 0.01, np.float32), 0.0)
            made = replace(made, uncertainty=uncertainty.fit(rng.exponential(size=200)), scale_head=head)
        else:
            made = replace(made, uncertainty=uncertainty.fit(rng.random(200) * 0.7))
        folder = root / schema.name / "1"
        folder.mkdir(parents=True)
        version_files.write(folder, made)
    return root


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Any], client_store: Path) -> Any:
    """A server with lower limits than the defaults."""
    return make_server(
        TABSERVE_STORE=str(client_store),
        TABSERVE_WORKERS="1",
        TABSERVE_MAX_BODY_BYTES="200000",
        TABSERVE_MAX_EVALUATIONS="20000",
        TABSERVE_DRAIN_S="0",
    )


@pytest.fixture(scope="module", params=[Client, BlockingAsyncClient], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, server: Any) -> Iterator[Client]:
    made = request.param(server.url)
    yield made
    made.close()


@pytest.fixture(scope="session")
def home_rows() -> Callable[[int], list[dict[str, Any]]]:
    """home_rows(count) returns distinct valid rows of the model `homes`."""

    def rows(count: int) -> list[dict[str, Any]]:
        made = service_fixtures.rows_of(service_fixtures.schemas()[0], count, np.random.default_rng(8))
        return [{**row, "educational-num": 16 * number / count} for number, row in enumerate(made)]

    return rows
