"""Every request over HTTP and gRPC passes access control and the request observer, whether it succeeds or fails."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from models.outputs import Outputs
from models.rows import ValidatedRows
from models.tabular_model import TabularModel
from service.access.caller import Access
from service.access_control import AccessControl
from service.data_plane import DataPlane
from service.errors import RequestError
from service.exchange import ServerContext
from service.grpc_server import GrpcServer
from service.http.asgi import Application
from service.protocols.oip_messages import MESSAGES, SERVICE
from service.request import Request
from service.request_observer import RequestObserver
from service.routes.router import Router
from service.served_model import ServedModel
from service.settings import Settings


class ForbiddenError(RequestError):
    status = 403
    title = "Forbidden"


class RecordingAccessControl(AccessControl, RequestObserver):
    """Records all requests, and refuses them if `deny` is set."""

    def __init__(self) -> None:
        self.deny = False
        self.checked: list[str] = []
        self.observed: list[tuple[str, int]] = []

    def check(self, request: Request, access: Access, model: str | None) -> None:
        self.checked.append(request.path)
        if self.deny:
            raise ForbiddenError("not today")

    def observe(self, request: Request, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.observed.append((request.path, status))


@pytest.fixture
def recorder() -> RecordingAccessControl:
    return RecordingAccessControl()


@pytest.fixture
def context(tabular_models: list[TabularModel], settings: Settings, recorder: RecordingAccessControl) -> Any:
    plane = DataPlane(tabular_models, settings)
    plane.start()
    made = ServerContext(plane, settings, access=recorder, observer=recorder)
    made.state.mark_ready()
    yield made
    plane.close()


async def bentoml_page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"page"})


def request_paths(context: ServerContext) -> list[str]:
    """All listed paths, and one path of each route group that is not listed."""
    listed = list(Router(context.plane, context.plane.snapshot).common_routes)
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


def test_every_route_passes_access_control_and_the_observer(
    context: ServerContext, recorder: RecordingAccessControl, asgi: Callable[..., Any], home_row: dict[str, Any]
) -> None:
    application = Application(context).wrap(bentoml_page)
    bodies = [b"", json.dumps({"rows": [home_row]}).encode()]

    async def run() -> None:
        for path in request_paths(context):
            for method in ("GET", "POST", "OPTIONS", "DELETE"):
                for body in bodies:
                    recorder.checked.clear()
                    recorder.observed.clear()
                    reply = await asgi(application, method, path, body)
                    assert recorder.checked == [path], (method, path)
                    assert recorder.observed == [(path, reply.status)], (method, path)

    asyncio.run(run())


def test_no_route_answers_a_request_without_access(
    context: ServerContext, recorder: RecordingAccessControl, asgi: Callable[..., Any], home_row: dict[str, Any]
) -> None:
    application = Application(context).wrap(bentoml_page)
    recorder.deny = True
    body = json.dumps({"rows": [home_row]}).encode()
    table = {"content-type": "application/x-ndjson"}

    async def run() -> None:
        for path in request_paths(context):
            for method in ("GET", "POST", "OPTIONS"):
                assert (await asgi(application, method, path, body)).status == 403, (method, path)
        assert (
            await asgi(application, "POST", "/predict/homes", json.dumps(home_row).encode(), "", table)
        ).status == 403

    asyncio.run(run())


def test_every_grpc_call_passes_access_control_and_the_observer(
    context: ServerContext, recorder: RecordingAccessControl
) -> None:
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
                    recorder.checked.clear()
                    recorder.observed.clear()
                    body = MESSAGES[f"{name}Request"](**fields).SerializeToString()
                    call = channel.unary_unary(f"/{SERVICE}/{name}")(body, timeout=60)
                    expected = grpc.StatusCode.INVALID_ARGUMENT if name == "ModelInfer" else grpc.StatusCode.OK
                    assert await call.code() == expected
                    path = f"/{SERVICE}/{name}"
                    assert recorder.checked == [path]
                    assert [seen for seen, _ in recorder.observed] == [path]
        finally:
            await server.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "version", "ready"), [("homes", "1", True), ("homes", "7", False), ("none", "", False)]
)
def test_a_model_that_is_not_served_is_reported_as_not_ready_over_grpc(
    context: ServerContext, name: str, version: str, ready: bool
) -> None:
    clients = []

    def observe(request: Any, status: int, seconds: float) -> None:
        clients.append(request.client)

    context.observer.observe = observe  # type: ignore[method-assign]

    async def run() -> Any:
        server = GrpcServer(context)
        port = await server.start("127.0.0.1", 0)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                body = MESSAGES["ModelReadyRequest"](name=name, version=version).SerializeToString()
                return await channel.unary_unary(f"/{SERVICE}/ModelReady")(body, timeout=60)
        finally:
            await server.stop()

    assert MESSAGES["ModelReadyResponse"].FromString(asyncio.run(run())).ready is ready
    assert clients == ["127.0.0.1"]


def test_every_answered_row_is_observed(
    context: ServerContext, asgi: Callable[..., Any], home_row: dict[str, Any], settings: Settings
) -> None:
    """The rows of the fast path, batches, tables and other protocols are observed, except invalid rows."""
    application = Application(context)
    seen: list[int] = []

    def observe(served: ServedModel, rows: ValidatedRows, outputs: Outputs) -> None:
        assert served.name == "homes"
        assert len(rows.frame.numbers) == len(outputs)
        seen.append(len(outputs))

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
