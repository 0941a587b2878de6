"""The time of a slow client counts neither as latency nor as a failure of a canary."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models.tabular_model import TabularModel
from service.canary_watch import counts_since_flush
from service.http.asgi import Application
from service.metrics import ModelCounters, VersionCounters
from service.settings import Settings
from tests.service.conftest import HOME

PAUSE_S = 0.05
NDJSON = "application/x-ndjson"


@pytest.fixture
def slow_app(make_app: Callable[..., Application], tabular_models: list[TabularModel]) -> Iterator[Application]:
    asgi_app = make_app(tabular_models, Settings())
    yield asgi_app
    asgi_app.plane.close()


class SlowClient:
    """A client that pauses before each part of the body and before it receives each part of the response."""

    def __init__(self, body: bytes) -> None:
        self.waited = 0.0
        self._parts = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive(self) -> dict[str, Any]:
        if not self._parts:
            await asyncio.Event().wait()
        await self._pause()
        return {"type": "http.request", "body": self._parts.pop(0), "more_body": bool(self._parts)}

    async def send(self, message: Any) -> None:
        await self._pause()

    async def _pause(self) -> None:
        started = time.monotonic()
        await asyncio.sleep(PAUSE_S)
        self.waited += time.monotonic() - started

    def send_request(self, app: Application, path: str, content_type: str, **headers: str) -> float:
        """Send a request. Returns its duration in seconds without the pauses of the client."""
        fields = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "client": ("192.0.2.1", 49152),
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        }

        async def run() -> float:
            started = time.monotonic()
            await app(scope, self.receive, self.send)
            return time.monotonic() - started - self.waited

        return asyncio.run(run())


def counters_of(app: Application) -> ModelCounters:
    return app.plane.snapshot.find("homes").counters


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("/predict/homes", "application/json", {"rows": [HOME]}),
        ("/predict/homes", NDJSON, HOME),
        ("/v1/models/homes:predict", "application/json", {"instances": [HOME]}),
        ("/predict/homes", "application/json", {"rows": [{**HOME, "2nd": "?"}]}),
    ],
)
def test_the_latency_of_a_request_excludes_the_time_of_its_client(
    slow_app: Application, path: str, content_type: str, body: object
) -> None:
    client, counters = SlowClient(json.dumps(body).encode()), counters_of(slow_app)
    counters.clear()
    own = client.send_request(slow_app, path, content_type)
    assert client.waited >= 4 * PAUSE_S * 0.9  # one pause for each of the two parts of the request and of the response
    (seconds,) = [buckets.total for buckets in counters.seconds.values()]
    assert 0 <= seconds <= own


def test_an_exceeded_deadline_of_the_client_is_not_a_failure(slow_app: Application) -> None:
    source = VersionCounters("homes", "1", "numpy", counters_of(slow_app))
    source.counters.clear()
    SlowClient(json.dumps({"rows": [HOME]}).encode()).send_request(
        slow_app, "/predict/homes", "application/json", x_request_timeout="0.01"
    )
    assert [status for _, status in source.counters.requests] == [504]
    assert counts_since_flush(source).failed == 0


def test_an_exceeded_deadline_of_the_server_is_a_failure(
    make_app: Callable[..., Application], tabular_models: list[TabularModel]
) -> None:
    asgi_app = make_app(tabular_models, Settings(timeout_s=1e-9))
    source = VersionCounters("homes", "1", "numpy", counters_of(asgi_app))
    source.counters.request("json", 504, 1.0)
    assert counts_since_flush(source).failed == 1
    source.counters.request("json", 503, 1.0)  # does not count as a failure of the version
    assert counts_since_flush(source).failed == 1
    asgi_app.plane.close()
