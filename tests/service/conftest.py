"""Fixtures: tiny models, and the three levels that answer requests: data plane, ASGI application and server.

This file has more than 400 lines: the fixtures of all service tests, which share their models and servers.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models import store, version_files
from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.feature import Feature, Ignored, TrainingRange
from models.network.network import build
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.version_files import TrainedVersion
from service.data_plane import DataPlane, PredictionContext
from service.errors import RequestError
from service.exchange import ServerContext
from service.http.asgi import Application
from service.routes.native import predict_json
from service.settings import Settings
from tests.child_processes import stop_all, wait_or_kill
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
GENEROUS_TIMEOUT_S = 120.0
"""The default timeout of requests in tests, which even a slow machine does not exceed."""
MAX_ROWS, MAX_BODY = 2000, 600_000
Row = dict[str, Any]

HOME_FEATURES = [
    Feature(
        name="educational-num",
        kind="number",
        nullable=False,
        minimum=0,
        maximum=120.0,
        seen=TrainingRange(min=0.0, max=16.0),
    ),
    Feature(
        name="Outcome Type", kind="category", nullable=True, seen=TrainingRange(levels=["Adoption", "Transfer", ""])
    ),
    Feature(name="class", kind="number", nullable=True, seen=TrainingRange(min=-5.0, max=5.0)),
    Feature(name="model_x", kind="boolean", nullable=False),
    Feature(
        name="2nd",
        kind="date",
        nullable=False,
        minimum="1990-01-01",
        date_format="iso",
        seen=TrainingRange(min="2000-01-01", max="2020-12-31"),
    ),
    Feature(name="_u", kind="category", nullable=False, unseen="error", seen=TrainingRange(levels=[1, 2, 3])),
]
HOME: Row = {
    "educational-num": 12,
    "Outcome Type": "Adoption",
    "class": 1.5,
    "model_x": True,
    "2nd": "2013-04-01",
    "_u": 2,
}
"""A valid row of the model `homes` that causes no warnings."""


def rows_of(schema: FeatureSchema, count: int, rng: np.random.Generator) -> list[Row]:
    def random_value(feature: Feature) -> Any:
        if feature.nullable and rng.random() < 0.2:
            return None
        if feature.kind == "boolean":
            return bool(rng.random() < 0.5)
        if feature.kind == "date":
            return f"{rng.integers(2001, 2020)}-0{rng.integers(1, 9)}-1{rng.integers(0, 9)}"
        if feature.kind == "category":
            assert feature.seen.levels
            return feature.seen.levels[rng.integers(len(feature.seen.levels))]
        return round(float(rng.uniform(*feature.seen_range)), 3)

    return [{feature.name: random_value(feature) for feature in schema.features} for _ in range(count)]


def random_version(schema: FeatureSchema, seed: int = 0) -> TrainedVersion:
    """A version with a network of random weights and an encoder fitted to random rows. Without date columns, numbers
    are quantile-encoded as by default, so that single rows take the fast paths.
    """
    rng = np.random.default_rng(seed)
    rows = rows_of(schema, 200, rng)
    frame = schema.frames.from_rows(rows)
    target = rng.normal(200_000, 50_000, 200) if schema.task == "regression" else None
    dates = any(feature.kind == "date" for feature in schema.features)
    encoder = Encoder.fit(schema, frame, target, numbers="scaled" if dates else "quantile")
    outputs = len(schema.classes or []) if schema.task == "multiclass" else 1
    categories = tuple(encoder.tables)
    architecture = Architecture(encoder.width - len(categories), categories, hidden=(16,), outputs=outputs)
    network = build(architecture, rng)
    metrics = {"metric": {"name": "rmse", "value": 0.5}}
    return TrainedVersion(
        schema, encoder, rows[:6], "trained by NumPy", network=network, metrics=metrics, card=f"# {schema.name}"
    )


def schemas() -> list[FeatureSchema]:
    mixed = [
        Feature(name="age", kind="number", nullable=False, seen=TrainingRange(min=17, max=90)),
        Feature(
            name="job", kind="category", nullable=True, seen=TrainingRange(levels=["Private", "State-gov", "100 %"])
        ),
    ]
    ignored = [Ignored(name="id", reason="different in every row")]
    return [
        FeatureSchema(name="homes", task="regression", target="price", features=HOME_FEATURES, ignored=ignored),
        FeatureSchema(name="income", task="binary", target="income", classes=["<=50K", "100 %s"], features=mixed),
        FeatureSchema(name="house_class", task="multiclass", target="stars", classes=[1, 2, 5], features=mixed),
    ]


@pytest.fixture(scope="session")
def home_row() -> Row:
    return HOME


@pytest.fixture(scope="session")
def random_rows() -> Callable[..., list[Row]]:
    return rows_of


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store folder, for TABSERVE_STORE, with version 1 of each model."""
    root = tmp_path_factory.mktemp("store")
    for schema in schemas():
        write_version(root, schema)
    return root


def write_version(root: Path, schema: FeatureSchema) -> None:
    folder = root / schema.name / "1"
    folder.mkdir(parents=True)
    version_files.write(folder, random_version(schema))


@pytest.fixture(scope="session")
def tabular_models(store_folder: Path) -> list[TabularModel]:
    found, _ = store.versions(store_folder)
    return [store.load(versions[0]) for versions in found.values()]


@pytest.fixture(scope="session")
def tabular_model(tabular_models: list[TabularModel]) -> TabularModel:
    """The model `homes`, a regression with all kinds of columns and with unusual column names."""
    return next(model for model in tabular_models if model.name == "homes")


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings(max_rows=MAX_ROWS, max_body_bytes=MAX_BODY)


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def codes(self) -> list[str]:
        return [error["code"] for error in self.body["errors"]]


def encode_body(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


async def call_asgi(
    app: Any, method: str, path: str, body: bytes = b"", query: str = "", headers: Mapping[str, str] | None = None
) -> Reply:
    """Send a request with the whole body in one message to an ASGI application."""
    started: dict[str, Any] = {}
    chunks: list[bytes] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            chunks.append(message.get("body", b""))

    fields = [(key.lower().encode(), value.encode("latin-1")) for key, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": fields}
    scope["client"] = ("192.0.2.1", 49152)
    await app(scope, receive, send)
    response_headers = {key.decode(): value.decode("latin-1") for key, value in started["headers"]}
    return Reply(started["status"], response_headers, b"".join(chunks))


@pytest.fixture(scope="session")
def asgi() -> Callable[..., Any]:
    return call_asgi


async def bentoml_stub(scope: Any, receive: Any, send: Any) -> None:
    """An application without routes that replaces BentoML's application."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Not Found"})


@pytest.fixture(scope="session")
def make_app() -> Callable[..., Application]:
    def make(models: list[TabularModel], settings: Settings) -> Application:
        """An application with a started data plane, whose batcher belongs to the event loop of the first request."""
        if settings.timeout_s == Settings.timeout_s:
            settings = replace(settings, timeout_s=GENEROUS_TIMEOUT_S)
        plane = DataPlane(models, settings)
        plane.start()
        asgi_app = Application(ServerContext(plane, settings)).wrap(bentoml_stub)
        asgi_app.context.state.mark_ready()
        return asgi_app

    return make


@pytest.fixture
def asgi_app(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], settings: Settings
) -> Iterator[Application]:
    asgi_app = make_app(tabular_models, settings)
    yield asgi_app
    asgi_app.plane.close()


@pytest.fixture(scope="session")
def send_asgi(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], settings: Settings
) -> Iterator[Callable[..., Reply]]:
    """send_asgi(method, path, body, **headers) sends a request to the application, always in the same event loop."""
    asgi_app = make_app(tabular_models, settings)
    with asyncio.Runner() as runner:

        def send_request(method: str, path: str, body: Any = b"", **headers: str) -> Reply:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            return runner.run(call_asgi(asgi_app, method, path, encode_body(body), "", fields))

        yield send_request
    asgi_app.plane.close()


@dataclass
class Server:
    """A process of `bentoml serve`."""

    environment: dict[str, str]
    log: Path
    port: int = 0
    grpc: str = ""  # the address of the gRPC server, if any
    process: "subprocess.Popen[bytes] | None" = None
    arguments: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, port: int = 0) -> None:
        """Start the server and wait until it is ready. port: 0 selects a free port."""
        self.port = port or free_port()
        command = [
            str(Path(sys.executable).parent / "bentoml"),
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + 300
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait until the server has exited. Returns the exit code."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(number)
        return wait_or_kill(self.process)


def clean_environment(home: Path, **settings: str) -> dict[str, str]:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("TABSERVE_", "BENTOML_", "PROMETHEUS_"))
    }
    return {**kept, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **settings}


@pytest.fixture(scope="session")
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(**settings: str) -> Server:
        home = tmp_path_factory.mktemp("home")
        settings = {"TABSERVE_TIMEOUT_S": str(GENEROUS_TIMEOUT_S), **settings}
        made.append(Server(clean_environment(home, **settings), home / "log"))
        made[-1].start()
        return made[-1]

    yield make
    # By SIGINT, so that they do not wait for load balancers
    stop_all([server.process for server in made if server.process])


@pytest.fixture(scope="session")
def server(make_server: Callable[..., Server], store_folder: Path) -> Server:
    """A server with HTTP and gRPC."""
    port = free_port()
    server = make_server(**small_server_settings(store_folder), TABSERVE_GRPC_PORT=str(port))
    server.grpc = f"127.0.0.1:{port}"
    return server


@pytest.fixture(scope="session")
def unicode_label_server(make_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server of the model `sizes`, whose class labels are not ASCII."""
    root = tmp_path_factory.mktemp("sizes")
    age = Feature(name="age", kind="number", nullable=False, seen=TrainingRange(min=17, max=90))
    classes: list[Any] = ["größer", "größte"]
    write_version(root, FeatureSchema(name="sizes", task="binary", target="size", classes=classes, features=[age]))
    return make_server(**small_server_settings(root))


def small_server_settings(store_folder: Path) -> dict[str, str]:
    return {
        "TABSERVE_STORE": str(store_folder),
        "TABSERVE_WORKERS": "1",
        "TABSERVE_MAX_ROWS": str(MAX_ROWS),
        "TABSERVE_MAX_BODY_BYTES": str(MAX_BODY),
        "TABSERVE_DRAIN_S": "0.5",
    }


SendRequest = Callable[..., Reply]


def prediction_context() -> PredictionContext:
    return PredictionContext(time.monotonic() + 60)


@pytest.fixture(scope="session", params=["plane", "asgi", "server"])
def send_request(
    request: pytest.FixtureRequest, tabular_models: list[TabularModel], settings: Settings
) -> Iterator[SendRequest]:
    """send_request(model, body, query) sends a request to the data plane, the ASGI application or a server."""
    if request.param == "plane":
        plane = DataPlane(tabular_models, settings)
        plane.start()

        def send_plane(model: str, body: Any, query: str = "", **headers: str) -> Reply:
            on_invalid = query.removeprefix("on_invalid=") if query else "fail"
            try:
                response = asyncio.run(
                    predict_json(plane, plane.snapshot.find(model), encode_body(body), on_invalid, prediction_context())
                )
            except RequestError as error:
                return Reply(error.status, {"content-type": "application/problem+json"}, error.document())
            return Reply(200, {"content-type": "application/json"}, response)

        yield send_plane
        plane.close()
    elif request.param == "asgi":
        asgi_app = request.getfixturevalue("make_app")(tabular_models, settings)

        def send_asgi(model: str, body: Any, query: str = "", **headers: str) -> Reply:
            return asyncio.run(call_asgi(asgi_app, "POST", f"/predict/{model}", encode_body(body), query, headers))

        yield send_asgi
        asgi_app.plane.close()
    else:
        server: Server = request.getfixturevalue(request.param.replace(" ", "_"))
        with httpx.Client(base_url=server.url, timeout=60) as client:

            def send_server(model: str, body: Any, query: str = "", **headers: str) -> Reply:
                path = f"/predict/{model}" + (f"?{query}" if query else "")
                reply = client.post(
                    path, content=encode_body(body), headers={"content-type": "application/json", **headers}
                )
                return Reply(reply.status_code, reply.headers, reply.content)

            yield send_server
