"""Access control by keys: the scope that each route requires, over every protocol, and the models that a key may see.

The routes are enumerated from the code: a new route fails these tests until it declares its access and has an address
in this module.

This file has more than 400 lines: the tests share the keys of all kinds of refusals.
"""

import asyncio
import dataclasses
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from models.tabular_model import TabularModel
from service.access.caller import SCOPES, Access, Caller
from service.access.key_access import KeyAccess
from service.access.key_requests import MAX_NAMES, KeyRequests
from service.access.key_ring import KeyRing
from service.data_plane import DataPlane
from service.exchange import ServerContext
from service.grpc_server import GrpcServer
from service.http.asgi import Application
from service.http.http_exchange import HttpExchange
from service.logs import JsonFormatter
from service.openapi.document import document
from service.protocols.oip_messages import MESSAGES, SERVICE
from service.registry import ModelEntry, Snapshot
from service.routes import native, oip, tfserving
from service.routes.route import Route, RouteGroup
from service.routes.router import Router
from service.routes.version_changes import actor_of
from service.settings import Settings
from tests.service.access_keys import LONG_AGO, KeySet, key_headers

SETTINGS = Settings(max_rows=100, health_route="/alive", predict_route="/vertex:predict", default_model="homes")
REQUIRED: dict[str, Access] = {
    "AliasRoute": "admin",
    "AuditRoute": "admin",
    "BentoPage": "open",
    "BentoPassthrough": "predict",
    "BrowserFile": "open",
    "BrowserPage": "open",
    "DriftPage": "metrics",
    "FeedbackRoute": "predict",
    "InferRoute": "predict",
    "InvocationsRoute": "predict",
    "KServeExplainRoute": "predict",
    "LivenessPage": "open",
    "LoadRoute": "admin",
    "MetricsPage": "metrics",
    "ModelInfoRoute": "predict",
    "ModelListPage": "predict",
    "ModelMetadataRoute": "predict",
    "ModelPage": "predict",
    "ModelReadyRoute": "predict",
    "OipErrorRoute": "predict",
    "OipModelListRoute": "predict",
    "OpenApiPage": "predict",
    "PingRoute": "open",
    "PredictRoute": "predict",
    "PreflightRoute": "open",
    "PromoteRoute": "admin",
    "ReadinessPage": "open",
    "RepositoryIndexRoute": "admin",
    "RollbackRoute": "admin",
    "ServerLiveRoute": "open",
    "ServerMetadataRoute": "predict",
    "ServerReadyRoute": "open",
    "ShadowRoute": "admin",
    "SplitRoute": "predict",
    "StaticFile": "open",
    "TFServingErrorRoute": "predict",
    "TFServingModelListRoute": "predict",
    "TFServingPredictRoute": "predict",
    "TrafficRoute": "admin",
    "UnknownModelRoute": "predict",
    "VersionCardPage": "predict",
    "VersionListPage": "predict",
    "VersionRoute": "predict",
    "VertexExplainRoute": "predict",
    "VertexRoute": "predict",
}
"""The access that each route requires. A change is a design decision: see docs/access.md."""
REQUIRED_OPEN = re.compile(r"/livez|/readyz|/ping|/health|/alive|/v2/health/(live|ready)")
BASES = {"ConstantRoute", "MLflowRoute", "OipRoute", "Page", "StatusPage", "TFServingRoute", "VersionChangeRoute"}
UNLISTED_PATHS = (
    *(
        "/predict/homes/versions/1",
        "/predict/homes/aliases/champion",
        "/predict/none",
        "/models/none",
        "/v1/models/none",
    ),
    *("/v1/nothing", "/v2/models/none", "/v2/nothing", "/v2/models/homes/versions/1/infer", "/models/homes/versions"),
    "/models/homes/versions/1/card",
    *("/v2/repository/models/homes/load", "/v2/repository/models/homes/unload", "/models/homes/promote"),
    *("/models/homes/rollback", "/models/homes/traffic", "/models/homes/shadow", "/models/homes/aliases/new"),
    *(
        "/",
        "/page/0/main.js",
        "/bentoml/",
        "/schema.json",
        "/other",
        "/healthz",
        "/static_content/index.css",
        "/assets/style.css",
        "/predict/homes/",
    ),
)


@pytest.fixture
def keys(tmp_path: Path) -> KeySet:
    made = KeySet(tmp_path / "keys.json")
    for scope in SCOPES:
        made.add(f"right-{scope}", scope)
        made.add(f"other-{scope}", *(one for one in SCOPES if one != scope))
        made.add(f"expired-{scope}", scope, expires=LONG_AGO)
        made.add(f"spent-{scope}", scope, rate=0.001, burst=1)
        made.add(f"elsewhere-{scope}", scope, models=["income"])
    return made


@pytest.fixture
def context(tabular_models: list[TabularModel], keys: KeySet) -> Iterator[ServerContext]:
    plane = DataPlane(tabular_models, SETTINGS)
    plane.start()
    access = KeyAccess(KeyRing(keys.path, None), ("/opened/*", "/invocations"))
    made = ServerContext(plane, SETTINGS, access=access, observer=KeyRequests(plane.metrics))
    made.state.mark_ready()
    yield made
    plane.close()


@pytest.fixture
def without_open_routes(context: ServerContext, keys: KeySet) -> ServerContext:
    """The context of a server without routes opened by the settings."""
    context.access = KeyAccess(KeyRing(keys.path, None))
    return context


async def bentoml_page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"page"})


def route_classes(base: type[Route] = Route) -> set[type[Route]]:
    """All route classes of the service."""
    found = {below for below in base.__subclasses__() if below.__module__.startswith("service.")}
    return found.union(*(route_classes(below) for below in found))


def routes_by_path(context: ServerContext) -> dict[str, Route]:
    """The route of each path: all listed paths, and paths of routes that are not listed."""
    plane = context.plane
    router = Router(plane, plane.snapshot)
    paths = [*router.common_routes, *UNLISTED_PATHS]
    return {
        path: router.common_routes.get(path) or router.find(path) or router.passthrough(bentoml_page, path)
        for path in paths
    }


def split_routes(plane: DataPlane) -> list[Route]:
    """The routes of a model whose traffic is split between versions."""
    served = plane.snapshot.find("homes")
    entry = ModelEntry("homes", {"1": served, "2": served}, {"champion": "1", "challenger": "2"}, {"challenger": 100})
    snapshot = Snapshot({"homes": entry})
    groups: tuple[RouteGroup, ...] = (native.NativeRoutes(), oip.OipRoutes(), tfserving.TFServingRoutes())
    paths = ("/predict/homes", "/v2/models/homes/infer", "/v1/models/homes:predict")
    return [route for group, path in zip(groups, paths, strict=True) if (route := group.find(plane, snapshot, path))]


def test_every_route_declares_its_required_access(context: ServerContext) -> None:
    for found in route_classes():
        ancestors = found.__mro__[: found.__mro__.index(Route)]
        assert any("access" in vars(one) for one in ancestors), f"{found.__name__} declares no access"
    declared = {found.__name__: found.access for found in route_classes() if found.__name__ not in BASES}
    assert declared == REQUIRED


def test_every_route_has_an_address_in_these_tests(context: ServerContext) -> None:
    reached = {type(route) for route in routes_by_path(context).values()}
    reached |= {type(route) for route in split_routes(context.plane)}
    assert {found.__name__ for found in reached} | {"PreflightRoute"} == REQUIRED.keys()


def test_a_split_route_requires_the_access_of_its_versions(context: ServerContext) -> None:
    for route in split_routes(context.plane):
        assert (type(route).__name__, route.access, route.model_name) == ("SplitRoute", "predict", "homes")


def statuses(replies: dict[str, Any]) -> dict[str, int]:
    return {case: reply.status for case, reply in replies.items()}


def test_every_route_accepts_valid_keys_only(
    without_open_routes: ServerContext, asgi: Callable[..., Any], keys: KeySet
) -> None:
    """Each route is requested without a key, with several kinds of refused keys, and with a valid key."""
    application = Application(without_open_routes).wrap(bentoml_page)

    async def run() -> None:
        for path, route in routes_by_path(without_open_routes).items():
            for method in {*(route.methods or ("GET",)), "OPTIONS"}:
                replies = {
                    case: await asgi(application, method, path, b"", "", key_headers(key))
                    for case, key in keys_by_case(keys, route.access).items()
                }
                check_statuses(route, statuses(replies), path)
                for case, reply in replies.items():
                    assert ("retry-after" in reply.headers) >= (reply.status == 429), (path, case)
                    assert ("www-authenticate" in reply.headers) == (reply.status == 401), (path, case)

    asyncio.run(run())


def keys_by_case(keys: KeySet, access: Access) -> dict[str, str | None]:
    scope = "predict" if access == "open" else access
    texts, right = keys.texts, keys.texts[f"right-{scope}"]
    wrong = right[:-1] + ("A" if right[-1] != "A" else "B")
    return {
        "none": None,
        "wrong": wrong,
        "no key at all": "x",
        "unknown id": "tsk_" + "a" * 12 + right[16:],
        "expired": texts[f"expired-{scope}"],
        "another scope": texts[f"other-{scope}"],
        "another model": texts[f"elsewhere-{scope}"],
        "at the rate": texts[f"spent-{scope}"],
        "over the rate": texts[f"spent-{scope}"],
        "right": right,
    }


def check_statuses(route: Route, found: dict[str, int], path: str) -> None:
    if route.access == "open":
        assert not {401, 403, 429} & {*found.values()}, (path, found)
        return
    for case in ("none", "wrong", "no key at all", "unknown id", "expired"):
        assert found[case] == 401, (path, case)
    assert found["another scope"] == 403, path
    assert (found["another model"] == 403) >= (route.model_name not in (None, "income")), path
    assert found["over the rate"] == 429, path
    assert found["right"] not in (401, 403, 429), path


RPCS = {
    "ServerLive": {},
    "ServerReady": {},
    "ServerMetadata": {},
    "ModelReady": {"name": "homes"},
    "ModelMetadata": {"name": "homes"},
    "RepositoryIndex": {},
    "RepositoryModelLoad": {"model_name": "homes"},
    "RepositoryModelUnload": {"model_name": "homes"},
    "ModelInfer": {"model_name": "homes"},
}
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_every_grpc_call_accepts_valid_keys_only(without_open_routes: ServerContext, keys: KeySet) -> None:
    async def run() -> None:
        server = GrpcServer(without_open_routes)
        assert server.rpcs.keys() == RPCS.keys()
        port = await server.start("127.0.0.1", 0)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for name, fields in RPCS.items():
                    rpc = server.rpcs[name]
                    body = MESSAGES[f"{name}Request"](**fields).SerializeToString()
                    found = {}
                    for case, key in keys_by_case(keys, rpc.access).items():
                        metadata = [(header, value) for header, value in key_headers(key).items()]
                        call = channel.unary_unary(f"/{SERVICE}/{name}")(body, timeout=60, metadata=metadata)
                        found[case] = await call.code()
                    check_codes(rpc.access, bool(rpc.model), found, name)
        finally:
            await server.stop()

    asyncio.run(run())


def check_codes(access: Access, names_model: bool, found: dict[str, grpc.StatusCode], name: str) -> None:
    if access == "open":
        assert not REFUSED & {*found.values()}, (name, found)
        return
    for case in ("none", "wrong", "no key at all", "unknown id", "expired"):
        assert found[case] == grpc.StatusCode.UNAUTHENTICATED, (name, case)
    assert found["another scope"] == grpc.StatusCode.PERMISSION_DENIED, name
    assert (found["another model"] == grpc.StatusCode.PERMISSION_DENIED) == names_model, name
    assert found["over the rate"] == grpc.StatusCode.RESOURCE_EXHAUSTED, name
    assert found["right"] not in REFUSED, name


@pytest.fixture
def send(context: ServerContext, asgi: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """send(key, method, path, body, **headers) sends a request, always in the same event loop."""
    application = Application(context).wrap(bentoml_page)
    with asyncio.Runner() as runner:

        def send_request(key: str | None, method: str, path: str, body: Any = b"", **headers: str) -> Any:
            fields = key_headers(key) | {name.replace("_", "-"): value for name, value in headers.items()}
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            return runner.run(asgi(application, method, path, content, "", fields))

        yield send_request


def test_a_key_is_accepted_in_every_supported_header(
    send: Callable[..., Any], keys: KeySet, home_row: dict[str, Any]
) -> None:
    body, right = {"rows": [home_row]}, keys.texts["right-predict"]
    for headers in ({"authorization": f"bearer {right}"}, {"x-api-key": right}, {"authorization": f"BEARER  {right} "}):
        reply = send(None, "POST", "/predict/homes", body, **headers)
        assert reply.status == 200, headers
    reply = send(None, "POST", "/predict/homes", body, authorization=f"Basic {right}")
    assert (reply.status, reply.body["title"]) == (401, "Unauthorized")
    assert reply.headers["www-authenticate"] == 'Bearer realm="tabserve"'
    reply = send("nothing", "POST", "/predict/homes", body)
    assert reply.headers["www-authenticate"] == 'Bearer realm="tabserve", error="invalid_token"'


def test_access_errors_have_the_format_of_their_protocol(send: Callable[..., Any]) -> None:
    text = "this server needs a key: Authorization: Bearer KEY, or X-API-Key: KEY"
    assert send(None, "POST", "/predict/homes").body["detail"] == text
    assert send(None, "POST", "/v2/models/homes/infer").body == {"error": text}
    assert send(None, "POST", "/v1/models/homes:predict").body == {"error": text}
    assert send(None, "POST", "/vertex:predict").body["message"] == text


def test_the_access_to_a_model_selected_by_a_header_is_checked(
    send: Callable[..., Any], keys: KeySet, context: ServerContext
) -> None:
    context.access = KeyAccess(KeyRing(keys.path, None))
    row, attributes = {"dataframe_records": [{"age": 30, "job": "Private"}]}, "x_amzn_sagemaker_custom_attributes"
    key = keys.texts["elsewhere-predict"]
    for path in ("/invocations", "/vertex:predict"):
        right = send(key, "POST", path, row, **{attributes: "model=income"})
        assert right.status == 200, right.content
        for sent in ({attributes: "model=homes"}, {attributes: "model=none"}, {}):
            assert send(key, "POST", path, row, **sent).status == 403


def test_a_key_limited_to_models_sees_no_other_models(send: Callable[..., Any], keys: KeySet) -> None:
    key = keys.texts["elsewhere-predict"]
    assert [one["name"] for one in send(key, "GET", "/models").body["models"]] == ["income"]
    assert send(key, "GET", "/v1/models").body == {"models": ["income"]}
    assert send(key, "GET", "/v2/models").body == {"models": ["income"]}
    document = send(key, "GET", "/docs.json")
    assert b"income" in document.content
    assert b"homes" not in document.content
    assert b"homes" in send(keys.texts["right-predict"], "GET", "/docs.json").content
    index = send(keys.texts["elsewhere-admin"], "POST", "/v2/repository/index", b"{}").body
    assert {one["name"] for one in index} <= {"income"}
    assert send(key, "GET", "/schema.json").status == 403
    assert send(keys.texts["elsewhere-metrics"], "GET", "/metrics").status == 403


def test_the_openapi_document_describes_the_headers_for_keys(tabular_models: list[TabularModel], keys: KeySet) -> None:
    plain = json.loads(document(tabular_models, SETTINGS, "1"))
    with_keys = json.loads(document(tabular_models, dataclasses.replace(SETTINGS, keys_file=keys.path), "1"))
    assert "securitySchemes" not in plain["components"]
    assert {*with_keys["components"]["securitySchemes"]} == {"bearer", "apiKey"}
    for path, operations in with_keys["paths"].items():
        for method, operation in operations.items():
            added = operation["responses"].keys() - plain["paths"][path][method]["responses"].keys()
            if REQUIRED_OPEN.fullmatch(path):
                assert operation == plain["paths"][path][method]
                continue
            assert operation["security"] == [{"bearer": []}, {"apiKey": []}], path
            assert "401" in added, path
            assert {"403", "429"} <= operation["responses"].keys(), path
            assert "Retry-After" in operation["responses"]["429"]["headers"]


def test_errors_for_a_limited_key_name_no_other_models(
    send: Callable[..., Any], keys: KeySet, context: ServerContext
) -> None:
    key = keys.add("limited", models=["homez"])
    context.access = KeyAccess(KeyRing(keys.path, None))
    for path in ("/predict/homez", "/models/homez", "/v2/models/homez/infer", "/v1/models/homez:predict"):
        reply = send(key, "POST" if "predict" in path or "infer" in path else "GET", path)
        assert reply.status == 404, path
        assert b"homes" not in reply.content, path
        assert b"income" not in reply.content, path


def test_the_settings_can_open_routes_except_admin_routes(
    send: Callable[..., Any], context: ServerContext, keys: KeySet
) -> None:
    body = {"dataframe_records": [{"age": 30, "job": "Private"}]}
    attributes = {"x_amzn_sagemaker_custom_attributes": "model=income"}
    for key in (None, "nothing", keys.texts["expired-predict"]):
        assert send(key, "POST", "/invocations", body, **attributes).status == 200
        assert send(key, "POST", "/invocations/", body, **attributes).status == 200
    assert send(None, "GET", "/opened/page").status == 200
    context.access = KeyAccess(KeyRing(keys.path, None), ("/audit", "/models/*", "/predict/hom*"))
    assert send(None, "GET", "/audit").status == 401
    assert send(None, "POST", "/models/homes/promote", {"version": 1}).status == 401
    assert send(None, "GET", "/models/homes").status == 200
    assert send(None, "POST", "/predict/homes").status == 400
    assert send(None, "POST", "/predict/income").status == 401


def test_open_routes_return_no_information_about_models(
    send: Callable[..., Any], context: ServerContext, keys: KeySet
) -> None:
    context.plane.following.problems = {"homes:2": "it is damaged"}
    for key in (None, "nothing", keys.texts["right-predict"], keys.texts["elsewhere-admin"]):
        assert send(key, "GET", "/readyz").body == {"status": "ok"}
    assert "homes:2" in send(keys.texts["right-admin"], "GET", "/readyz").body["problems"]


def test_requests_are_counted_by_the_name_of_their_key(
    send: Callable[..., Any], context: ServerContext, keys: KeySet, home_row: dict[str, Any]
) -> None:
    for key in ("right-predict", "right-predict", "expired-predict", "other-predict"):
        send(keys.texts[key], "POST", "/predict/homes", {"rows": [home_row]})
    send(None, "POST", "/predict/homes")
    send('nothing"}\n', "POST", "/predict/homes")
    context.plane.metrics.flush()
    page = context.plane.metrics.page().decode()
    for labels in (
        'key="right-predict",status="200"} 2.0',
        'key="expired-predict",status="401"} 1.0',
        'key="other-predict",status="403"} 1.0',
        'key="none",status="401"} 2.0',
    ):
        assert f"tabserve_key_requests_total{{{labels}" in page


def test_the_number_of_time_series_of_keys_is_bounded(context: ServerContext, keys: KeySet) -> None:
    class SentRequest:
        caller, failed = Caller(""), None

    observer = context.observer
    for number in range(3 * MAX_NAMES):
        SentRequest.caller = Caller(f"key-{number}")
        observer.observe(SentRequest(), 200, 0.0)  # type: ignore[arg-type]
    context.plane.metrics.flush()
    lines = context.plane.metrics.page().decode().splitlines()
    series = [line for line in lines if line.startswith("tabserve_key_requests_total{")]
    assert len(series) == MAX_NAMES + 1
    assert any('key="other",status="200"} 400.0' in line for line in series)


def test_preflights_need_no_key(send: Callable[..., Any]) -> None:
    preflight = {"origin": "https://a.example", "access_control_request_method": "POST"}
    for path in ("/predict/homes", "/predict/none", "/audit", "/other"):
        reply = send(None, "OPTIONS", path, **preflight)
        assert (reply.status, reply.content) == (204, b"")
        assert not [name for name in reply.headers if name.startswith(("access-control", "allow"))]


def test_the_audit_contains_the_key_name_of_a_change(context: ServerContext, keys: KeySet) -> None:
    exchange = HttpExchange(
        context, {"headers": [], "client": ("192.0.2.1", 1)}, fail_to_receive, fail_to_send, "admin"
    )
    assert actor_of(exchange) == "admin 192.0.2.1"
    exchange.caller = Caller("deploy")
    assert actor_of(exchange) == "admin 192.0.2.1 key deploy"


async def fail_to_receive() -> Any:
    raise AssertionError


async def fail_to_send(message: Any) -> None:
    raise AssertionError


def test_the_access_log_contains_the_key_name(
    send: Callable[..., Any], context: ServerContext, keys: KeySet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tabserve")
    context.settings = dataclasses.replace(SETTINGS, access_log=1.0)
    injected = 'x\r\n{"level":"info"}\x1b[2J\u00e9'
    sent = [keys.texts["right-predict"], keys.texts["expired-predict"], None, injected]
    for key in sent:
        send(key, "GET", "/models")
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert [line["key"] for line in lines if line["message"] == "request"] == [
        *("right-predict", "expired-predict", None, None),
    ]
    refused = [line for line in lines if line["message"] == "key refused"]
    assert [line["reason"] for line in refused] == ["the key has expired", "the key is not valid"]
    for line in map(json.dumps, lines):
        assert not [key for key in sent if key and key in line], "a key is logged"


def test_a_key_never_appears_in_a_response(send: Callable[..., Any], keys: KeySet) -> None:
    for name, key in keys.texts.items():
        for path in ("/predict/homes", "/models", "/metrics", "/audit", "/other"):
            reply = send(key, "GET", path)
            assert key.encode() not in reply.content, (name, path)
            assert key not in str(reply.headers), (name, path)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer \x00\xff" + "a" * 60_000},
        {"authorization": "Bearer a, Bearer b"},
        {"x_api_key": ""},
        {"x_api_key": "\x80" * 60},
        {"x_api_key": "tsk_"},
        {"cookie": "key=1", "proxy_authorization": "Bearer a"},
    ],
)
def test_a_malformed_key_is_refused(send: Callable[..., Any], headers: dict[str, str]) -> None:
    reply = send(None, "GET", "/models", **headers)
    assert reply.status == 401
    assert reply.body["title"] == "Unauthorized"
    assert "\n" not in reply.headers["www-authenticate"]
