"""The served versions are replaced by one assignment: every request uses one snapshot, and no request fails."""

import asyncio
import dataclasses
import gc
import json
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.aliases import CHAMPION
from models.tabular_model import TabularModel
from service.data_plane import DataPlane
from service.errors import NotFound, NotReady
from service.http.asgi import Application
from service.registry import ModelEntry, Snapshot
from service.settings import Settings

SWAPS, CLIENTS = 200, 8


@pytest.fixture
def first(tabular_model: TabularModel) -> TabularModel:
    return tabular_model


@pytest.fixture
def second(first: TabularModel) -> TabularModel:
    """Another version whose predictions are larger by 1,000."""
    target = first.encoder.target.model_copy(update={"mean": first.encoder.target.mean + 1000.0, "low": None})
    encoder = first.encoder.model_copy(update={"target": target})
    return dataclasses.replace(first, version="2", encoder=encoder)


@pytest.fixture
def application(make_app: Callable[..., Application], first: TabularModel, settings: Settings) -> Iterator[Application]:
    made = make_app([first], settings)
    yield made
    made.plane.close()


def test_a_snapshot_finds_versions_by_name_number_and_alias(start_plane: Any, first: Any, second: Any) -> None:
    plane = start_plane(first)
    both = Snapshot.of([plane.load(first), plane.load(second)], generation=7, aliases={"homes": "1"})
    assert both.find("homes").version == "1"
    assert both.find("homes", "2").version == "2"
    assert both.find("homes", alias=CHAMPION).version == "1"
    assert both.generation == 7
    for arguments, message in (
        (("house",), "there is no model 'house'"),
        (("homes", "3"), "model 'homes' has no version '3'; served versions: 1, 2"),
        (("homes", None, "challenger"), "model 'homes' has no alias 'challenger'"),
    ):
        with pytest.raises(NotFound, match=message):
            both.find(*arguments)


def test_a_model_that_is_loading_is_not_ready(first: TabularModel, settings: Settings) -> None:
    plane = DataPlane([first], settings)
    with pytest.raises(NotReady, match="'homes' is not loaded yet"):
        plane.snapshot.find("homes")
    plane.close()


@pytest.fixture
def start_plane(settings: Settings) -> Iterator[Callable[[TabularModel], DataPlane]]:
    made: list[DataPlane] = []

    def make(model: TabularModel) -> DataPlane:
        made.append(DataPlane([model], settings))
        made[-1].start()
        return made[-1]

    yield make
    for plane in made:
        plane.close()


def versioned_requests(row: dict[str, Any]) -> list[tuple[str, str, bytes, dict[str, str]]]:
    """Requests with one row and with several rows, over every protocol whose response contains the version."""
    csv = ",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n"
    one, many = json.dumps({"rows": [row]}).encode(), json.dumps({"rows": [row] * 40}).encode()
    return [
        ("POST", "/predict/homes", one, {}),
        ("POST", "/predict/homes", many, {}),
        ("POST", "/predict/homes", csv.encode(), {"content-type": "text/csv", "accept": "application/json"}),
        ("POST", "/invocations", json.dumps({"dataframe_records": [row]}).encode(), {}),
        ("POST", "/v2/models/homes/infer", tensors(row), {}),
        ("GET", "/models/homes", b"", {}),
    ]


def tensors(row: dict[str, Any]) -> bytes:
    kinds = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
    inputs = [{"name": name, "datatype": kinds[type(v)], "shape": [1], "data": [v]} for name, v in row.items()]
    return json.dumps({"inputs": inputs}).encode()


def version_and_values(path: str, body: Any) -> tuple[str, list[float]]:
    """The version and the values in a response."""
    if path.startswith("/v2"):
        return body["model_version"], body["outputs"][0]["data"]
    if path.startswith("/models"):
        return body["version"], [example["prediction"]["value"] for example in body["examples"]]
    predictions = body["predictions"]
    return body["version"], [one["value"] if isinstance(one, dict) else one for one in predictions]


def test_no_request_fails_while_versions_are_swapped(
    application: Application, asgi: Callable[..., Any], first: Any, second: Any, home_row: dict[str, Any]
) -> None:
    plane = application.plane
    rows = first.golden.rows[:3]
    expected = {
        version: {
            "one": model.present(model.predict_rows([home_row]))[0]["value"],
            "golden": [one["value"] for one in model.present(model.predict_rows(rows))],
        }
        for version, model in (("1", first), ("2", second))
    }
    assert abs(expected["2"]["one"] - expected["1"]["one"] - 1000.0) < 1
    seen: dict[str, int] = {"1": 0, "2": 0}
    done = asyncio.Event()

    async def client(number: int) -> None:
        while not done.is_set():
            for method, path, body, headers in versioned_requests(home_row):
                reply = await asgi(application, method, path, body, "", headers)
                assert reply.status == 200, (path, reply.content)
                version, values = version_and_values(path, reply.body)
                seen[version] += 1
                right = expected[version]
                wanted = right["golden"] if path.startswith("/models") else [right["one"]] * len(values)
                assert values == pytest.approx(wanted, rel=1e-5)
                await asyncio.sleep(0)

    async def swap() -> None:
        versions = [plane.snapshot.find("homes"), plane.load(second)]
        for number in range(SWAPS):
            plane.replace(Snapshot.of([versions[(number + 1) % 2]], generation=number + 2))
            for _ in range(5):
                await asyncio.sleep(0)
        done.set()

    async def run() -> None:
        await asyncio.gather(swap(), *(client(number) for number in range(CLIENTS)))

    asyncio.run(run())
    assert min(seen.values()) > SWAPS / 4, seen


def test_a_version_that_is_no_longer_served_is_freed(application: Application, second: TabularModel) -> None:
    plane = application.plane
    old = weakref.ref(plane.snapshot.find("homes"))
    plane.replace(Snapshot.of([plane.load(second)], generation=2))
    assert application.context.plane.snapshot.find("homes").version == "2"
    for _ in range(2):
        plane.metrics.flush()
    application.prepare(plane.snapshot)()
    gc.collect()
    assert old() is None


def test_the_metrics_contain_the_served_version(application: Application, second: TabularModel) -> None:
    plane = application.plane
    plane.replace(Snapshot.of([plane.load(second)], generation=2))
    plane.metrics.flush()
    families = text_string_to_metric_families(plane.metrics.page().decode())
    samples = {
        sample.labels["version"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "tabserve_model_info"
    }
    assert samples == {"1": 0.0, "2": 1.0}


def test_two_versions_are_served_concurrently(
    application: Application, asgi: Callable[..., Any], second: TabularModel, home_row: dict[str, Any]
) -> None:
    plane = application.plane
    both = Snapshot.of([plane.snapshot.find("homes"), plane.load(second)], generation=2, aliases={"homes": "2"})
    plane.replace(both)

    def infer(path: str) -> Any:
        return asyncio.run(asgi(application, "POST", path, tensors(home_row))).body

    assert infer("/v2/models/homes/infer")["model_version"] == "2"
    assert infer("/v2/models/homes/versions/1/infer")["model_version"] == "1"
    assert infer("/v2/models/homes/versions/2/infer")["model_version"] == "2"
    assert "has no version '3'; served versions: 1, 2" in infer("/v2/models/homes/versions/3/infer")["error"]
    for version in ("3", "x"):
        refused = infer(f"/predict/homes/versions/{version}")
        assert refused["detail"] == f"model 'homes' has no version '{version}'; served versions: 1, 2"
    described = asyncio.run(asgi(application, "GET", "/v2/models/homes")).body
    assert described["versions"] == ["1", "2"]


def entry_with_two_versions(
    plane: DataPlane, second: TabularModel, aliases: dict[str, str], traffic: dict[str, float] | None = None
) -> Snapshot:
    """The entry of a model with two loaded versions."""
    versions = {"1": plane.snapshot.find("homes"), "2": plane.load(second)}
    return Snapshot({"homes": ModelEntry("homes", versions, aliases, traffic or {})}, 2)


def test_every_protocol_supports_versions_and_aliases(
    application: Application, asgi: Callable[..., Any], second: TabularModel, home_row: dict[str, Any]
) -> None:
    application.plane.replace(entry_with_two_versions(application.plane, second, {CHAMPION: "1", "challenger": "2"}))
    native = json.dumps({"rows": [home_row]}).encode()
    instances = json.dumps({"instances": [home_row]}).encode()
    csv = (",".join(home_row) + "\n" + ",".join(map(str, home_row.values())) + "\n").encode()

    def send_request(path: str, body: bytes, **headers: str) -> Any:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(asgi(application, "POST", path, body, "", fields))

    for path, version in (
        ("/predict/homes", "1"),
        ("/predict/homes/versions/2", "2"),
        ("/predict/homes/versions/002", "2"),
        ("/predict/homes/aliases/challenger", "2"),
        ("/predict/homes/aliases/champion", "1"),
    ):
        assert send_request(path, native).body["version"] == version, path
        assert send_request(path, csv, content_type="text/csv").headers["x-model-version"] == version, path
    for path, version in (
        ("/v1/models/homes:predict", "1"),
        ("/v1/models/homes/versions/2:predict", "2"),
        ("/v1/models/homes/labels/challenger:predict", "2"),
        ("/invocations", "1"),
    ):
        assert send_request(path, instances).headers["x-model-version"] == version, path
    for path in ("/predict/homes/versions/3", "/predict/homes/aliases/none", "/v1/models/homes/labels/none:predict"):
        assert send_request(path, native).status == 404, path
    assert send_request("/predict/homes/versions/x", native).status == 404


def test_traffic_is_split_and_a_client_keeps_its_version(
    application: Application, asgi: Callable[..., Any], second: TabularModel, home_row: dict[str, Any]
) -> None:
    traffic = {CHAMPION: 70.0, "challenger": 30.0}
    application.plane.replace(
        entry_with_two_versions(application.plane, second, {CHAMPION: "1", "challenger": "2"}, traffic)
    )

    def version(path: str, body: bytes, **headers: str) -> str:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = asyncio.run(asgi(application, "POST", path, body, "", fields))
        assert reply.status == 200, reply.content
        if path.startswith("/v2"):
            return str(reply.body["model_version"])
        return str(reply.headers.get("x-model-version") or reply.body["version"])

    csv = (",".join(home_row) + "\n" + ",".join(map(str, home_row.values())) + "\n").encode()
    bodies = [
        ("/predict/homes", json.dumps({"rows": [home_row]}).encode(), {}),
        ("/predict/homes", csv, {"content_type": "text/csv"}),
        ("/v1/models/homes:predict", json.dumps({"instances": [home_row]}).encode(), {}),
        ("/invocations", json.dumps({"dataframe_records": [home_row]}).encode(), {}),
        ("/v2/models/homes/infer", tensors(home_row), {}),
    ]
    seen = set()
    for client in range(25):
        found = {version(path, body, x_client_key=f"client {client}", **more) for path, body, more in bodies}
        assert len(found) == 1, "a client gets the same version over all protocols"
        seen |= found
    assert seen == {"1", "2"}

    rows = [{**home_row, "class": number / 10} for number in range(25)]
    by_row = [version("/predict/homes", json.dumps({"rows": [row]}).encode()) for row in rows]
    assert set(by_row) == {"1", "2"}
    for row, expected in zip(rows, by_row, strict=True):  # the same row in another format
        turned = dict(reversed(row.items()))
        assert version("/predict/homes", json.dumps({"rows": [turned, home_row]}, indent=1).encode()) == expected
        assert version("/v1/models/homes:predict", json.dumps({"instances": [row]}).encode()) == expected
        assert version("/predict/homes", json.dumps({"rows": [row]}).encode(), x_client_key="") == expected
