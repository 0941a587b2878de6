"""Every request passes through the hooks of its exchange, whatever it came by and however it ends."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from models.outputs import Outputs
from models.rows import ValidatedRows
from models.tabular_model import TabularModel
from service.data_plane import DataPlane
from service.errors import RequestError
from service.exchange import ServerContext
from service.grpc_server import GrpcServer
from service.http.asgi import Application
from service.protocols.oip_messages import MESSAGES, SERVICE
from service.request_hooks import Request, RequestHooks
from service.routes.router import Router
from service.served_model import ServedModel
from service.settings import Settings


class ForbiddenError(RequestError):
    status = 403
    title = "Forbidden"


class Recorded(RequestHooks):
    """Hooks that note what passes, and refuse if they are told to."""

    def __init__(self) -> None:
        self.refuse = False
        self.checked: list[str] = []
        self.observed: list[tuple[str, int]] = []

    def check_access(self, request: Request) -> None:
        self.checked.append(request.path)
        if self.refuse:
            raise ForbiddenError("not today")

    def observe(self, request: Request, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.observed.append((request.path, status))


@pytest.fixture
def hooks() -> Recorded:
    return Recorded()


@pytest.fixture
def context(tabular_models: list[TabularModel], settings: Settings, hooks: Recorded) -> Any:
    plane = DataPlane(tabular_models, settings)
    plane.start()
    made = ServerContext(plane, settings, hooks)
    made.state.mark_ready()
    yield made
    plane.close()


async def bentoml_page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"page"})


def paths(context: ServerContext) -> list[str]:
    """Every listed path, and one of each kind that is only found."""
    listed = list(Router(context.plane).listed)
    return [
        *listed,
        "/predict/none",
        "/models/none",
        "/v1/models/none",
        "/v2/models/none",
        "/v2/nothing",
        "/",
        "/other",
    ]


def test_every_route_passes_through_both_hooks(
    context: ServerContext, hooks: Recorded, asgi: Callable[..., Any], home_row: dict[str, Any]
) -> None:
    application = Application(context).wrap(bentoml_page)
    bodies = [b"", json.dumps({"rows": [home_row]}).encode()]

    async def run() -> None:
        for path in paths(context):
            for method in ("GET", "POST", "OPTIONS", "DELETE"):
                for body in bodies:
                    hooks.checked.clear()
                    hooks.observed.clear()
                    reply = await asgi(application, method, path, body)
                    assert hooks.checked == [path], (method, path)
                    assert hooks.observed == [(path, reply.status)], (method, path)

    asyncio.run(run())


def test_a_request_that_is_refused_access_is_not_answered_by_any_route(
    context: ServerContext, hooks: Recorded, asgi: Callable[..., Any], home_row: dict[str, Any]
) -> None:
    application = Application(context).wrap(bentoml_page)
    hooks.refuse = True
    body = json.dumps({"rows": [home_row]}).encode()
    table = {"content-type": "application/x-ndjson"}

    async def run() -> None:
        for path in paths(context):
            for method in ("GET", "POST", "OPTIONS"):
                assert (await asgi(application, method, path, body)).status == 403, (method, path)
        assert (
            await asgi(application, "POST", "/predict/homes", json.dumps(home_row).encode(), "", table)
        ).status == 403

    asyncio.run(run())


def test_every_call_of_grpc_passes_through_both_hooks(context: ServerContext, hooks: Recorded) -> None:
    calls = {
        "ServerLive": {},
        "ServerReady": {},
        "ServerMetadata": {},
        "RepositoryIndex": {},
        "ModelReady": {"name": "homes"},
        "ModelMetadata": {"name": "homes"},
        "ModelInfer": {"model_name": "homes"},
    }

    async def run() -> None:
        server = GrpcServer(context)
        port = await server.start("127.0.0.1", 0)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for name, fields in calls.items():
                    hooks.checked.clear()
                    hooks.observed.clear()
                    body = MESSAGES[f"{name}Request"](**fields).SerializeToString()
                    call = channel.unary_unary(f"/{SERVICE}/{name}")(body, timeout=30)
                    expected = grpc.StatusCode.INVALID_ARGUMENT if name == "ModelInfer" else grpc.StatusCode.OK
                    assert await call.code() == expected
                    path = f"/{SERVICE}/{name}"
                    assert hooks.checked == [path]
                    assert [seen for seen, _ in hooks.observed] == [path]
        finally:
            await server.stop()

    asyncio.run(run())


def test_every_answered_row_is_observed(
    context: ServerContext, asgi: Callable[..., Any], home_row: dict[str, Any], settings: Settings
) -> None:
    """By the fast path, in batches, as a table, by other protocols; rows that are not valid are not."""
    application = Application(context)
    seen: list[int] = []

    def observe(served: ServedModel, rows: ValidatedRows, answers: Outputs) -> None:
        assert served.name == "homes"
        assert len(rows.frame.numbers) == len(answers)
        seen.append(len(answers))

    context.plane.observer = observe
    line = json.dumps(home_row).encode()
    invalid = {**home_row, "model_x": "yes"}
    unseen = {**home_row, "Outcome Type": "new"}

    def body(*some: dict[str, Any]) -> bytes:
        return json.dumps({"rows": some}).encode()

    sent = [
        ("/predict/homes", body(home_row), "", {}, 1),
        ("/predict/homes", body(*[home_row] * 5), "", {}, 5),
        ("/predict/homes", body(unseen), "", {}, 1),
        ("/predict/homes", body(*[home_row] * 1500), "", {}, 1500),
        ("/predict/homes", body(home_row, invalid), "on_invalid=skip", {}, 1),
        ("/predict/homes", body(home_row, invalid), "", {}, 0),
        ("/predict/homes", b"%s\n%s\n" % (line, line), "", {"content-type": "application/x-ndjson"}, 2),
        ("/v1/models/homes:predict", json.dumps({"instances": [home_row] * 3}).encode(), "", {}, 3),
    ]

    async def run() -> None:
        for path, content, query, headers, expected in sent:
            seen.clear()
            await asgi(application, "POST", path, content, query, headers)
            assert sum(seen) == expected, (path, content[:80])

    asyncio.run(run())
