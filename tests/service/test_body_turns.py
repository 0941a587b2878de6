"""Requests of several keys take turns after their bodies are complete and before the bodies are parsed."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from models.tabular_model import TabularModel
from service.access.key_access import KeyAccess
from service.access.key_ring import KeyRing
from service.data_plane import DataPlane
from service.exchange import ServerContext
from service.http.asgi import Application
from service.settings import Settings
from tests.service.access_keys import KeySet

MANY, FEW = 60, 12


@pytest.fixture
def keys(tmp_path: Path) -> KeySet:
    made = KeySet(tmp_path / "keys.json")
    made.add("many")
    made.add("few")
    return made


@pytest.fixture
def application(tabular_models: list[TabularModel], keys: KeySet) -> Iterator[Application]:
    settings = Settings()
    plane = DataPlane(tabular_models, settings)
    plane.start()
    context = ServerContext(plane, settings, access=KeyAccess(KeyRing(keys.path, None)))
    context.state.mark_ready()
    yield Application(context)
    plane.close()


async def send_together(
    application: Application, keys: Mapping[str, str], method: str, path: str, content_type: bytes, body: bytes
) -> list[str]:
    """Start the requests of both keys. Returns the keys in the order of their responses.

    All request heads arrive first, then all bodies of both keys arrive at the same time.
    """
    arrived, answered = {name: asyncio.Event() for name in keys}, list[str]()

    async def send_one(name: str) -> None:
        headers = [(b"authorization", b"Bearer " + keys[name].encode()), (b"content-type", content_type)]

        async def receive() -> Any:
            await arrived[name].wait()
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                assert message["status"] == 200
                answered.append(name)

        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
        await application(scope, receive, send)

    names = ["many"] * MANY + ["few"] * FEW
    tasks = [asyncio.ensure_future(send_one(name)) for name in names]
    for _ in range(2 * len(names)):
        await asyncio.sleep(0)
    arrived["many"].set()
    arrived["few"].set()
    await asyncio.gather(*tasks)
    return answered


@pytest.mark.parametrize(
    ("method", "path", "content_type", "body"),
    [
        ("POST", "/predict/income", b"application/json", b'{"rows": [{"age": 30, "job": "Private"}]}'),
        ("POST", "/predict/income", b"text/csv", b"age,job\n30,Private\n"),
        ("POST", "/v1/models/income:predict", b"application/json", b'{"instances": [{"age": 30, "job": "Private"}]}'),
        ("GET", "/models", b"", b""),
    ],
)
def test_keys_share_the_event_loop_equally_if_one_sends_more(
    application: Application, keys: KeySet, method: str, path: str, content_type: bytes, body: bytes
) -> None:
    answered = asyncio.run(send_together(application, keys.texts, method, path, content_type, body))
    assert Counter(answered) == {"many": MANY, "few": FEW}
    last = MANY + FEW - 1 - answered[::-1].index("few")
    assert last < 2 * FEW + 10, answered
