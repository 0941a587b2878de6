"""Rows of every path are counted for drift, and `/drift` and `/metrics` report changes since training.

This file has more than 400 lines: the tests share a model with a reference and a client.
"""

import asyncio
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.architecture import Architecture
from models.drift.reference import DriftReference, QualityEstimate
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.network.network import build
from models.network.scale_head import ScaleHead
from models.outputs import Outputs
from models.tabular_model import TabularModel
from service.data_plane import DataPlane, json_rows_validator
from service.errors import RowsNotValid
from service.http.asgi import Application
from service.registry import Snapshot
from service.settings import Settings
from tests.service.conftest import Reply, call_asgi
from tests.service.watched_model import (
    in_metres,
    load,
    loaded_model,
    rows_like_training,
    schema,
    trained_version,
    write_store,
)

Row = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TabularModel:
    return load(write_store(tmp_path_factory.mktemp("watched")))


@pytest.fixture
def application(make_app: Callable[..., Application], model: TabularModel) -> Iterator[Application]:
    made = make_app([model], Settings(max_rows=2000))
    yield made
    made.plane.close()


class Client:
    """A client of an application that sends all requests in the same event loop."""

    def __init__(self, application: Application, runner: asyncio.Runner) -> None:
        self.application, self.runner = application, runner

    def send_request(self, method: str, path: str, body: bytes = b"", query: str = "", **headers: str) -> Reply:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.runner.run(call_asgi(self.application, method, path, body, query, fields))

    def predict(self, *rows: Row) -> None:
        reply = self.send_request("POST", "/predict/fares", json.dumps({"rows": rows}).encode())
        assert reply.status == 200, reply.content

    def drift(self, query: str = "") -> Any:
        reply = self.send_request("GET", "/drift", query=query)
        assert reply.status == 200, reply.content
        return reply.body


@pytest.fixture
def client(application: Application) -> Iterator[Client]:
    with asyncio.Runner() as runner:
        yield Client(application, runner)


def send_rows(client: Client, rows: list[Row]) -> None:
    """Send rows in requests of 10, with a pause for counting after each 200 rows."""
    for start in range(0, len(rows), 10):
        client.predict(*rows[start : start + 10])
        if start % 200 == 190:
            client.runner.run(client.application.plane.drift.flush())


def test_rows_like_the_training_rows_show_no_drift(client: Client) -> None:
    send_rows(client, rows_like_training(1000, seed=7))
    found = client.drift()
    assert (found["model"], found["version"], found["status"]) == ("fares", "1", "ok")
    assert (found["window"]["rows"], found["window"]["sampled"]) == (1000, 1000)
    assert found["window"]["from"] < found["window"]["to"]
    assert [(column["name"], column["type"]) for column in found["columns"]] == [
        ("km", "number"),
        ("by_card", "boolean"),
        ("zone", "category"),
    ]
    assert {column["status"] for column in found["columns"]} == {"ok"}
    assert all(column["psi"] < 0.05 for column in found["columns"])
    assert found["prediction"]["status"] == "ok"
    km = found["columns"][0]
    assert km["missing"] == {"reference": pytest.approx(0.02, abs=0.01), "current": pytest.approx(0.02, abs=0.015)}
    assert found["estimated"]["accuracy"] == pytest.approx(found["estimated"]["reference"], abs=0.05)
    assert found["estimated"]["measured"] == 0.9


def test_a_changed_unit_raises_an_alarm(client: Client) -> None:
    send_rows(client, in_metres(rows_like_training(1000, seed=7)))
    found = client.drift("model=fares&window=15m")
    assert found["status"] == "alarm"
    by_name = {column["name"]: column for column in found["columns"]}
    assert by_name["km"]["status"] == "alarm"
    assert by_name["km"]["psi"] > 1
    assert by_name["km"]["p"] < 1e-9
    assert by_name["km"]["outside"] > 0.9
    assert by_name["zone"]["status"] == "ok"


def test_a_new_level_and_missing_values_raise_alarms(client: Client) -> None:
    rows = rows_like_training(1000, seed=7)
    for number, row in enumerate(rows):
        if number % 20 == 0:
            row["zone"] = "east"
        if number % 20 < 5:
            row["km"] = None
    send_rows(client, rows)
    by_name = {column["name"]: column for column in client.drift()["columns"]}
    assert {name: column["status"] for name, column in by_name.items()} == {
        "km": "alarm",
        "by_card": "ok",
        "zone": "alarm",
    }
    assert by_name["zone"]["unseen"] == pytest.approx(0.05)


def test_few_rows_do_not_raise_an_alarm(client: Client) -> None:
    send_rows(client, in_metres(rows_like_training(190, seed=7)))
    found = client.drift()
    assert found["status"] == "small_sample"
    assert {column["status"] for column in found["columns"]} == {"small_sample"}
    send_rows(client, in_metres(rows_like_training(100, seed=8)))
    assert client.drift()["status"] == "warning", "an alarm needs 500 rows"


def test_the_report_without_rows_has_no_status(client: Client) -> None:
    found = client.drift()
    assert (found["status"], found["window"]["rows"], found["estimated"]) == ("small_sample", 0, None)


def test_rows_of_every_path_are_counted(client: Client) -> None:
    """Rows in single requests, batches, tables and other protocols are counted, with and without warnings; at most
    16 rows per request are sampled.
    """
    row = rows_like_training(1, seed=1)[0]
    line = json.dumps(row).encode()
    for path, body, headers, rows, sampled in (
        ("/predict/fares", json.dumps({"rows": [row]}).encode(), {}, 1, 1),
        ("/predict/fares", json.dumps({"rows": [row] * 5}).encode(), {}, 5, 5),
        ("/predict/fares", json.dumps({"rows": [row | {"zone": "new"}]}).encode(), {}, 1, 1),
        ("/predict/fares", json.dumps({"rows": [row] * 1500}).encode(), {}, 1500, 16),
        ("/predict/fares", b"%s\n%s\n" % (line, line), {"content_type": "application/x-ndjson"}, 2, 2),
        ("/predict/fares", b"\n".join([line] * 9000), {"content_type": "application/x-ndjson"}, 9000, 16),
        ("/predict/fares", json.dumps({"rows": [{"km": "far"}]}).encode(), {}, 0, 0),
        ("/v1/models/fares:predict", json.dumps({"instances": [row] * 3}).encode(), {}, 3, 3),
    ):
        before = client.drift()["window"]
        client.send_request("POST", path, body, **headers)
        after = client.drift()["window"]
        found = (after["rows"] - before["rows"], after["sampled"] - before["sampled"])
        assert found == (rows, sampled), (path, body[:60])


def test_refused_rows_are_listed_with_the_errors_of_their_columns(client: Client) -> None:
    row = rows_like_training(1, seed=1)[0]
    assert client.drift()["refused"] == {"rows": 0, "errors": {}}
    skipped = [row, row | {"km": "far", "by_card": 7}, row | {"km": "near"}]
    for rows, query, status in (
        ([row | {"km": "far"}, row], "", 422),
        (skipped, "on_invalid=skip", 200),
        ([row | {"kmm": 1}, 5], "", 422),
    ):
        body = json.dumps({"rows": rows}).encode()
        assert client.send_request("POST", "/predict/fares", body, query=query).status == status
    for window in ("", "window=1m", "window=24h", "window=7d"):
        assert client.drift(window)["refused"] == {"rows": 5, "errors": {"": 2, "km": 3, "by_card": 1}}


def test_options_of_requests_do_not_change_the_counts(client: Client, model: TabularModel) -> None:
    body = json.dumps({"rows": rows_like_training(3, seed=1)}).encode()
    assert client.send_request("POST", "/predict/fares", body, query="on_invalid=skip").status == 200
    assert client.drift()["window"]["sampled"] == 3


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("model=fare", 404, "there is no model 'fare', did you mean 'fares'?"),
        ("model=fares&version=7", 404, "has no version '7'"),
        ("model=fares&version=challenger", 404, "has no alias 'challenger'"),
        ("window=0m", 422, "expected 1m to 7d"),
        ("window=8d", 422, "expected 1m to 7d"),
        ("window=%FF%00", 422, "expected 1m to 7d"),
        ("window=1h&window=2h", 422, "occurs more than once"),
        ("windows=1h", 422, "did you mean 'window'?"),
    ],
)
def test_invalid_options_are_refused(client: Client, query: str, status: int, detail: str) -> None:
    reply = client.send_request("GET", "/drift", query=query)
    assert reply.status == status
    assert detail in reply.body["detail"]


@pytest.mark.parametrize("query", ["window=", "version=", "model=fares&version=&window="])
def test_an_empty_version_or_window_counts_as_absent(client: Client, query: str) -> None:
    """Clients generated from the OpenAPI document send the default value, which is ''."""
    send_rows(client, rows_like_training(600, seed=1))
    found, expected = client.drift(query), client.drift()
    for report in (found, expected):  # the reports were created at different times
        del report["window"]["from"], report["window"]["to"]
    assert found == expected
    assert (found["version"], found["window"]["sampled"]) == ("1", 600)


def test_an_empty_model_name_is_answered_with_404(client: Client) -> None:
    assert client.send_request("GET", "/drift", query="model=").status == 404


def test_only_get_is_allowed(client: Client) -> None:
    assert client.send_request("POST", "/drift").status == 405


@pytest.mark.parametrize("query", ["", "model=fares", "version=1", "version=champion", "version=01", "window=7d"])
def test_a_version_is_found_by_number_and_alias(client: Client, query: str) -> None:
    assert client.drift(query)["version"] == "1"


def test_drift_of_a_version_without_a_reference_has_the_reason(
    make_app: Callable[..., Application], tmp_path: Path
) -> None:
    application = make_app([load(write_store(tmp_path, with_reference=False))], Settings())
    with asyncio.Runner() as runner:
        client = Client(application, runner)
        client.predict(*rows_like_training(3, seed=1))
        found = client.drift()
        assert found == {
            "model": "fares",
            "version": "1",
            "status": "no_reference",
            "reason": "this version has no reference.json: it was trained before tabserve stored one; train it again",
        }
        assert "tabserve_drift" not in client.send_request("GET", "/metrics").content.decode()
    application.plane.close()


def test_the_metrics_equal_the_drift_report(client: Client) -> None:
    send_rows(client, in_metres(rows_like_training(600, seed=7)))
    text = client.send_request("GET", "/metrics").content.decode()
    found = {
        (sample.name, sample.labels.get("column") or sample.labels.get("metric")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("model") == "fares" and sample.labels.get("version") == "1"
    }
    drift = client.drift()
    assert found["tabserve_drift_status", None] == 2
    assert found["tabserve_drift_rows", None] == 600
    for column in drift["columns"]:
        assert found["tabserve_drift_psi", column["name"]] == column["psi"]
        assert found["tabserve_missing_ratio", column["name"]] == column["missing"]["current"]
    assert found["tabserve_drift_psi", "prediction"] == drift["prediction"]["psi"]
    assert found["tabserve_estimated_metric", "accuracy"] == drift["estimated"]["accuracy"]


def test_versions_are_counted_separately_and_counts_of_a_retired_version_are_deleted(model: TabularModel) -> None:
    plane = DataPlane([model], Settings())
    plane.start()
    second = dataclasses.replace(model, version="2")
    plane.replace(Snapshot.of([plane.snapshot.find("fares"), plane.load(second)], generation=2))
    rows = rows_like_training(5, seed=1)
    assert plane.predict_fast(plane.snapshot.find("fares", "2"), rows) is not None
    asyncio.run(plane.drift.flush())
    sampled = {served.version: plane.drift.report(served)["window"]["sampled"] for served in plane.snapshot.served}
    assert sampled == {"1": 0, "2": 5}
    first = plane.snapshot.find("fares", "1")
    plane.replace(Snapshot.of([plane.snapshot.find("fares", "2")], generation=3))
    assert plane.drift.report(first)["status"] == "no_reference"
    assert plane.predict_fast(first, rows) is not None, "the last requests of a retired version must be answered"
    plane.close()


async def send_invalid_row(plane: DataPlane, row: Row) -> None:
    served = plane.snapshot.find("fares")
    await plane.validate(served, json_rows_validator([row | {"km": "far"}]), large=False)


def test_four_workers_report_the_same_as_a_single_worker(model: TabularModel, tmp_path: Path) -> None:
    """Four workers with a shared folder report the same as one worker that receives all rows."""
    (tmp_path / "four").mkdir()
    (tmp_path / "one").mkdir()

    def start_plane(folder: str) -> DataPlane:
        plane = DataPlane([model], Settings(state=tmp_path / folder))
        plane.start()
        return plane

    four, one = [start_plane("four") for _ in range(4)], start_plane("one")
    for number, row in enumerate(rows_like_training(800, seed=3)):
        for plane in (four[number % 4], one):
            assert plane.predict_fast(plane.snapshot.find("fares"), [row]) is not None
            with pytest.raises(RowsNotValid):
                asyncio.run(send_invalid_row(plane, row))
        if number % 200 == 199:
            for plane in (*four, one):
                asyncio.run(plane.drift.flush())
    reports = [plane.drift.report(plane.snapshot.find("fares"), 3600) for plane in (*four, one)]
    for report in reports:
        report["window"].pop("to")
        report["window"].pop("from")
    assert all(report == reports[0] for report in reports)
    assert reports[0]["window"] == {"rows": 800, "sampled": 800}
    assert reports[0]["refused"] == {"rows": 800, "errors": {"km": 800}}
    for plane in (*four, one):
        plane.close()
    again = start_plane("four")
    assert again.drift.report(again.snapshot.find("fares"), 3600)["window"]["sampled"] == 800, (
        "a restarted worker must continue the counts"
    )
    again.close()


def test_a_model_with_another_reference_has_separate_counters(model: TabularModel, tmp_path: Path) -> None:
    def start_plane(model: TabularModel) -> DataPlane:
        plane = DataPlane([model], Settings(state=tmp_path))
        plane.start()
        return plane

    first = start_plane(model)
    assert first.predict_fast(first.snapshot.find("fares"), rows_like_training(5, seed=3)) is not None
    first.close()
    other = start_plane(loaded_model(trained_version(seed=9)))
    assert other.drift.report(other.snapshot.find("fares"))["window"]["rows"] == 0
    other.close()


def test_a_read_only_state_folder_is_not_used(
    model: TabularModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    plane = DataPlane([model], Settings(state=tmp_path))
    plane.start()
    assert "cannot be written" in caplog.text
    assert plane.predict_fast(plane.snapshot.find("fares"), rows_like_training(5, seed=3)) is not None
    asyncio.run(plane.drift.flush())
    assert plane.drift.report(plane.snapshot.find("fares"))["window"]["rows"] == 5
    assert not [*tmp_path.iterdir()]
    plane.close()


def regression_model() -> TabularModel:
    """A regression model that estimates an error of half a standard deviation for all rows, twice the error of its test
    rows.
    """
    table = schema().model_copy(update={"task": "regression", "classes": None})
    frame = table.frames.from_rows(rows_like_training(300, seed=4))
    encoder = Encoder.fit(table, frame, np.linspace(0, 100, 300))
    inputs = encoder.width - len(encoder.tables)
    network = build(Architecture(inputs, tuple(encoder.tables), hidden=(8,), outputs=1), np.random.default_rng(0))
    head = ScaleHead(np.zeros(8, np.float32), math.log(0.5), (-10.0, 10.0))
    engine = NumpyEngine(network, "test")
    outputs = Outputs(np.linspace(0, 100, 300).reshape(-1, 1))
    estimate = QualityEstimate(metric="mae", value=0.25 * encoder.target.scale, measured=7.0)
    return TabularModel(
        "1",
        table,
        encoder,
        engine,
        reference=DriftReference.fit(table, frame).with_predictions(table, outputs, estimate),
        scaled_engine=engine.with_scale_head(network, head),
        scale_limits=head.limits,
    )


def test_the_estimated_error_of_a_regression_is_computed_from_its_scale() -> None:
    model = regression_model()
    plane = DataPlane([model], Settings())
    plane.start()
    assert plane.predict_fast(plane.snapshot.find("fares"), rows_like_training(5, seed=4)) is not None
    asyncio.run(plane.drift.flush())
    found = plane.drift.report(plane.snapshot.find("fares"))["estimated"]
    spread = model.encoder.target.scale
    assert found == {
        "mae": pytest.approx(0.5 * spread, rel=1e-4),
        "reference": pytest.approx(0.25 * spread, rel=1e-4),
        "measured": 7.0,
    }
    plane.close()


def test_every_eighth_single_row_is_used_for_the_estimated_error() -> None:
    model = regression_model()
    plane = DataPlane([model], Settings())
    plane.start()
    for row in rows_like_training(17, seed=4):
        assert plane.predict_fast(plane.snapshot.find("fares"), [row]) is not None
        asyncio.run(plane.drift.flush())
    (watched,) = plane.drift._watched.values()
    assert watched.window(3600)[2].estimated == 3
    plane.close()


def test_the_drift_statistics_equal_those_of_the_histograms(client: Client) -> None:
    rows = rows_like_training(400, seed=7)
    for row in rows[:100]:
        row["km"], row["zone"] = None, "east"
    send_rows(client, rows)
    found = client.drift("histograms=true")
    km, by_card, zone = (column["histogram"] for column in found["columns"])
    assert [cell["above"] for cell in km[1:-1]] == [cell["to"] for cell in km[:-2]]
    assert (km[0]["above"], km[-2]["to"]) == (None, None)
    assert km[-1] == {"group": "missing", **found["columns"][0]["missing"]}
    assert [cell.get("value") for cell in by_card] == [False, True, None]
    unseen = next(cell for cell in zone if cell.get("group") == "unseen")
    assert unseen["current"] == found["columns"][2]["unseen"] == 0.25
    for cells in (km, by_card, zone, found["prediction"]["histogram"]):
        for sample in ("reference", "current"):
            assert sum(cell[sample] for cell in cells) == pytest.approx(1, abs=1e-4)
    shares = [(cell["reference"], cell["current"]) for cell in km]
    index = sum((q - p) * math.log(q / p) for p, q in shares if p and q)
    assert index == pytest.approx(found["columns"][0]["psi"], abs=0.02)


def test_histograms_are_returned_only_on_request(client: Client) -> None:
    assert "histogram" not in client.drift("histograms=false")["columns"][0]
    assert client.send_request("GET", "/drift", query="histograms=1").status == 422


def test_the_metadata_of_a_model_contain_the_reference_histograms(client: Client, model: TabularModel) -> None:
    def metadata(query: str) -> Any:
        return client.send_request("GET", "/models/fares", query=query).body

    send_rows(client, rows_like_training(10, seed=8))
    drift = {column["name"]: column["histogram"] for column in client.drift("histograms=true")["columns"]}
    found = metadata("histograms=true")["histograms"]
    assert found.keys() == {feature.name for feature in model.schema.features} == drift.keys()
    for name, cells in found.items():
        without = [{key: value for key, value in cell.items() if key != "current"} for cell in drift[name]]
        assert cells == without
    assert "histograms" not in metadata("")
    assert metadata("x=1&histograms=") == metadata("")
    assert client.send_request("GET", "/models/fares", query="histograms=1").status == 422
