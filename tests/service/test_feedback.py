"""Feedback: the true values of predictions become live metrics of each version and are stored for training.

This file has more than 400 lines: the tests share an application with models that have intervals.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from models import serving_changes
from models.tabular_model import TabularModel
from service.data_plane import DataPlane
from service.errors import QueueFull
from service.exchange import ServerContext
from service.feedback import feedback_desk
from service.feedback.live_gauges import LiveGauges
from service.feedback.live_metrics import LiveMetrics, MetricKey
from service.feedback.version_judge import LARGEST_ERROR
from service.http.asgi import Application
from service.registry import Snapshot
from service.settings import Settings
from tests.service.conftest import HOME, Reply, bentoml_stub, call_asgi
from tests.service.test_follower import Worker, change, folder, versions_folder
from tests.service.trusted_models import trusted_models

__all__ = ["change", "folder", "versions_folder"]
Row = dict[str, Any]


class Service:
    """An application that runs in one event loop. folder: the folder that the workers of a server share."""

    def __init__(self, models: list[TabularModel], settings: Settings, folder: Path | None = None) -> None:
        self.plane = DataPlane(models, settings)
        self.plane.start(folder)
        self.application = Application(ServerContext(self.plane, settings)).wrap(bentoml_stub)
        self.application.context.state.mark_ready()
        self.runner = asyncio.Runner()

    def send(self, method: str, path: str, body: Any = b"", query: str = "", **headers: str) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        reply: Reply = self.runner.run(call_asgi(self.application, method, path, content, query, fields))
        return reply

    def feedback(self, model: str, body: Any) -> Reply:
        return self.send("POST", f"/feedback/{model}", body)

    def flush(self) -> None:
        """Move captured rows to the database."""
        assert self.plane.capture
        self.plane.capture._recorder.flush()

    def metric(self, name: str, **labels: str) -> float:
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = self.plane.metrics.page().decode().splitlines()
        found = [line for line in lines if line.startswith(f"{name}{{") and all(label in line for label in wanted)]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def close(self) -> None:
        self.plane.close()
        self.runner.close()


@pytest.fixture(scope="module")
def models(tabular_models: list[TabularModel], random_rows: Callable[..., list[Row]]) -> dict[str, TabularModel]:
    return trusted_models(tabular_models, random_rows)


@pytest.fixture
def make_service(models: dict[str, TabularModel]) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(folder: Path | None = None, **settings: Any) -> Service:
        chosen = [model for name, model in models.items() if name != "old"]
        made.append(Service(chosen, Settings(**settings), folder))
        return made[-1]

    yield make
    for service in made:
        service.close()


def predicted_values(model: TabularModel, rows: list[Row]) -> list[float]:
    values: list[float] = model.predict_rows(rows).primary[:, 0].tolist()
    return values


def test_rows_with_true_values_give_the_error_and_its_interval(make_service: Any, models: Any) -> None:
    service, model = make_service(), models["homes"]
    rows = [HOME | {"class": number / 100} for number in range(300)]
    step = model.tolerance() / 4
    truths = [value + step for value in predicted_values(model, rows)]
    reply = service.feedback(
        "homes", {"rows": [row | {"price": truth} for row, truth in zip(rows, truths, strict=True)]}
    )
    assert reply.status == 200, reply.content
    assert (reply.body["judged"], reply.body["unmatched"], reply.body["repeated"]) == (300, 0, 0)
    (version,) = reply.body["versions"]
    assert (version["version"], version["aliases"], version["rows"]) == ("1", ["champion"], 300)
    metric = version["metric"]
    assert metric["name"] == "mae"
    assert metric["value"] == pytest.approx(step)
    assert metric["low"] <= step < metric["high"]
    assert version["coverage"]["level"] == 0.9
    assert version["coverage"]["rows"] == 300
    assert service.send("GET", "/feedback/homes").body["versions"] == reply.body["versions"]


def test_the_coverage_is_the_fraction_of_true_values_in_the_intervals(make_service: Any, models: Any) -> None:
    service = make_service()
    rows = [HOME | {"class": number / 100} for number in range(100)]
    predictions = service.send("POST", "/predict/homes", {"rows": rows}, "interval=0.9").body["predictions"]
    inside = [one["interval"]["low"] + 0.25 * (one["interval"]["high"] - one["interval"]["low"]) for one in predictions]
    outside = [one["interval"]["high"] + 1.0 for one in predictions]
    truths = inside[:70] + outside[70:]
    body = {"rows": [row | {"price": truth} for row, truth in zip(rows, truths, strict=True)]}
    (version,) = service.feedback("homes", body).body["versions"]
    assert version["coverage"]["value"] == pytest.approx(0.7)


def test_classes_give_the_accuracy_and_the_coverage_of_label_sets(make_service: Any) -> None:
    service = make_service()
    rows = [{"age": 20 + number, "job": "Private"} for number in range(40)]
    predictions = service.send("POST", "/predict/house_class", {"rows": rows}, "set=0.9").body["predictions"]
    truths = [[1, 2, 5][number % 3] for number in range(40)]
    body = {"rows": [row | {"stars": truth} for row, truth in zip(rows, truths, strict=True)]}
    (version,) = service.feedback("house_class", body).body["versions"]
    right = np.mean([one["label"] == truth for one, truth in zip(predictions, truths, strict=True)])
    covered = np.mean([truth in one["set"]["labels"] for one, truth in zip(predictions, truths, strict=True)])
    assert version["metric"]["name"] == "accuracy"
    assert version["metric"]["value"] == pytest.approx(right)
    assert version["metric"]["low"] <= right <= version["metric"]["high"]
    assert version["coverage"]["value"] == pytest.approx(covered)


def test_very_large_errors_are_bounded(make_service: Any, models: Any) -> None:
    service = make_service()
    (version,) = service.feedback("homes", {"rows": [HOME | {"price": 1e300}]}).body["versions"]
    assert version["metric"]["value"] == pytest.approx(LARGEST_ERROR * models["homes"].tolerance())


def test_a_metric_worse_than_in_training_has_the_status_worse(make_service: Any, models: Any) -> None:
    service, model = make_service(), models["homes"]
    model.metrics["network"] = {"mae": model.tolerance() / 10}
    try:
        rows = [HOME | {"class": number / 1000} for number in range(2000)]
        values = predicted_values(model, rows)

        def send_and_report(shift: float, window: str = "") -> Any:
            truths = [value + shift * model.tolerance() for value in values]
            body = {"rows": [row | {"price": truth} for row, truth in zip(rows, truths, strict=True)]}
            return service.feedback("homes", body).body["versions"][0]

        good = send_and_report(0.1)
        assert (good["status"], good["metric"]["training"]) == ("ok", model.tolerance() / 10)
        assert send_and_report(2.0)["status"] == "worse"
    finally:
        del model.metrics["network"]


@pytest.mark.parametrize(
    ("body", "code", "place"),
    [
        (b"{", "bad_json", (None, None)),
        ([], "wrong_type", (None, None)),
        ({}, "missing_rows", (None, None)),
        ({"row": []}, "unknown_key", (None, "row")),
        ({"rows": [], "feedback": []}, "two_forms", (None, None)),
        ({"rows": 5}, "wrong_type", (None, "rows")),
        ({"rows": []}, "empty_rows", (None, "rows")),
        ({"rows": [5]}, "wrong_type", (0, None)),
        ({"rows": [HOME]}, "missing_truth", (0, "price")),
        ({"rows": [HOME | {"price": 1}, HOME | {"price": "12"}]}, "wrong_type", (1, "price")),
        ({"rows": [HOME | {"price": True}]}, "wrong_type", (0, "price")),
        ({"rows": [HOME | {"price": None}]}, "wrong_type", (0, "price")),
        ({"rows": [HOME | {"price": 10**400}]}, "out_of_range", (0, "price")),
        ({"rows": [HOME | {"price": 1, "model_x": "maybe"}]}, "wrong_type", (0, "model_x")),
        ({"feedback": [5]}, "wrong_type", (0, None)),
        ({"feedback": [{"truth": 1}]}, "bad_id", (0, "id")),
        ({"feedback": [{"id": "a:0", "truth": 1}, {"id": 7, "truth": 1}]}, "bad_id", (1, "id")),
        ({"feedback": [{"id": "x" * 300, "truth": 1}]}, "bad_id", (0, "id")),
        ({"feedback": [{"id": "a:0"}]}, "missing_truth", (0, "truth")),
        ({"feedback": [{"id": "a:0", "truth": [1]}]}, "wrong_type", (0, "truth")),
        ({"feedback": [{"id": "a:0", "truth": 1, "thruth": 1}]}, "unknown_field", (0, "thruth")),
        ({"feedback": [{"id": "a:0", "truth": 1}]}, "capture_off", (None, "feedback")),
    ],
)
def test_invalid_feedback_is_refused_with_row_and_field(make_service: Any, body: Any, code: str, place: Any) -> None:
    service = make_service()
    reply = service.feedback("homes", body)
    assert reply.status == (400 if code == "bad_json" else 422), reply.content
    error = reply.body["errors"][0]
    assert (error["code"], error["row"], error["field"]) == (code, *place)
    assert service.send("GET", "/feedback/homes").body["versions"][0]["rows"] == 0


def test_an_unknown_class_is_refused_with_the_nearest_class(make_service: Any) -> None:
    row = {"age": 40, "job": "Private"}
    reply = make_service().feedback("income", {"rows": [row | {"income": "<=50k"}, row | {"income": "<=50K"}]})
    (error,) = reply.body["errors"]
    assert reply.body["detail"] == "1 of 2 rows is not valid"
    assert (error["code"], error["row"], error["field"]) == ("unknown_class", 0, "income")
    assert "did you mean '<=50K'" in error["message"]


def test_true_is_not_the_class_1(make_service: Any) -> None:
    reply = make_service().feedback("house_class", {"rows": [{"age": 40, "job": None, "stars": True}]})
    assert reply.codes == ["unknown_class"]


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("GET", "/feedback/homs", "", 404),
        ("POST", "/feedback/homs", "", 404),
        ("DELETE", "/feedback/homes", "", 405),
        ("GET", "/feedback/homes", "window=1y", 422),
        ("GET", "/feedback/homes", "windw=7d", 422),
        ("GET", "/feedback/homes", "window=24h", 200),
        ("HEAD", "/feedback/homes", "", 200),
    ],
)
def test_invalid_paths_methods_and_options_are_refused(
    make_service: Any, method: str, path: str, query: str, status: int
) -> None:
    assert make_service().send(method, path, b"{}", query).status == status


def test_another_content_type_is_refused(make_service: Any) -> None:
    assert make_service().send("POST", "/feedback/homes", b"a", content_type="text/csv").status == 415


def test_too_many_rows_are_refused(make_service: Any) -> None:
    service = make_service(max_rows=2)
    assert service.feedback("homes", {"rows": [HOME | {"price": 1}] * 3}).status == 413


def test_feedback_by_id_is_compared_with_the_captured_rows(make_service: Any, tmp_path: Path, models: Any) -> None:
    service = make_service(capture=str(tmp_path), capture_share=1.0)
    rows = [HOME | {"class": number / 10} for number in range(3)]
    predictions = service.send("POST", "/predict/homes", {"rows": rows}, x_request_id="seen").body["predictions"]
    service.flush()
    step = models["homes"].tolerance() / 2
    known = [{"id": f"seen:{number}", "truth": one["value"] + step} for number, one in enumerate(predictions)]
    body = service.feedback("homes", {"feedback": [*known, {"id": "never:0", "truth": 1.0}]}).body
    assert (body["judged"], body["unmatched"], body["repeated"]) == (3, 1, 0)
    assert body["versions"][0]["metric"]["value"] == pytest.approx(step)
    again = service.feedback("homes", {"feedback": known[:1]}).body
    assert (again["judged"], again["repeated"]) == (0, 1)
    assert again["versions"] == body["versions"]
    assert service.metric("tabserve_feedback_rows_total", model="homes", result="judged") == 3
    assert service.metric("tabserve_feedback_rows_total", model="homes", result="unmatched") == 1
    assert service.metric("tabserve_feedback_rows_total", model="homes", result="repeated") == 1
    service.plane.capture.stop()
    (file,) = (tmp_path / "feedback").iterdir()
    kept = pq.read_table(file).select(["tabserve_id", "tabserve_truth"]).to_pylist()
    assert len(kept) == 5  # including feedback without a captured row, which another server may have captured
    assert {"tabserve_id": "never:0", "tabserve_truth": 1.0} in kept


def test_an_id_of_another_model_is_unmatched(make_service: Any, tmp_path: Path) -> None:
    service = make_service(capture=str(tmp_path), capture_share=1.0)
    service.send("POST", "/predict/income", {"rows": [{"age": 40, "job": None}]}, x_request_id="a")
    service.flush()
    assert service.feedback("homes", {"feedback": [{"id": "a:0", "truth": 1}]}).body["unmatched"] == 1


def test_feedback_on_redacted_rows_uses_the_captured_prediction(make_service: Any, tmp_path: Path) -> None:
    service = make_service(capture=str(tmp_path), capture_share=1.0, capture_redact=("educational-num",))
    (prediction,) = service.send("POST", "/predict/homes", {"rows": [HOME]}, x_request_id="a").body["predictions"]
    service.flush()
    body = service.feedback("homes", {"feedback": [{"id": "a:0", "truth": prediction["value"] + 100}]}).body
    assert body["judged"] == 1
    assert body["versions"][0]["metric"]["value"] == pytest.approx(100)
    assert "coverage" not in body["versions"][0]


def test_rows_with_true_values_are_stored_with_the_captured_rows(make_service: Any, tmp_path: Path) -> None:
    service = make_service(capture=str(tmp_path), capture_share=0.0)
    rows = [{"age": 40, "job": "Beekeeper", "income": "<=50K"}, {"age": 41, "job": None, "income": "100 %s"}]
    assert service.feedback("income", {"rows": rows}).status == 200
    service.plane.capture.stop()
    (file,) = tmp_path.glob("*.parquet")
    (feedback,) = (tmp_path / "feedback").iterdir()
    captured, truths = pq.read_table(file).to_pylist(), pq.read_table(feedback).to_pylist()
    assert [row["job"] for row in captured] == ["Beekeeper", None]
    assert [row["tabserve_source"] for row in captured] == ["feedback"] * 2
    assert [row["tabserve_id"] for row in captured] == [row["tabserve_id"] for row in truths]
    assert [row["tabserve_truth"] for row in truths] == ["<=50K", "100 %s"]


def test_workers_share_their_counts_which_survive_a_restart(make_service: Any, tmp_path: Path, models: Any) -> None:
    one, two = make_service(tmp_path), make_service(tmp_path)
    (value,) = predicted_values(models["homes"], [HOME])
    for service, error in ((one, 10.0), (two, 30.0), (one, 50.0)):
        service.feedback("homes", {"rows": [HOME | {"price": value + error}]})
    third = make_service(tmp_path)
    for service in (one, two, third):
        (version,) = service.send("GET", "/feedback/homes").body["versions"]
        assert version["rows"] == 3
        assert version["metric"]["value"] == pytest.approx(30)


def test_counts_are_stored_in_the_state_folder_if_it_is_set(make_service: Any, tmp_path: Path) -> None:
    state, shared = tmp_path / "state", tmp_path / "shared"
    state.mkdir()
    shared.mkdir()
    make_service(shared, state=state).feedback("homes", {"rows": [HOME | {"price": 1}]})
    assert (state / "feedback.sqlite").exists()
    assert not (shared / "feedback.sqlite").exists()


def test_gauges_report_the_live_metric_and_the_training_metric(make_service: Any, models: Any) -> None:
    service, model = make_service(), models["homes"]
    model.metrics["network"] = {"mae": 12.5}
    try:
        (value,) = predicted_values(model, [HOME])
        service.feedback("homes", {"rows": [HOME | {"price": value + 40}]})
        service.runner.run(LiveGauges(service.plane).update())
        for window in ("24h", "all"):
            labels = {"model": "homes", "version": "1", "metric": "mae", "window": window}
            assert service.metric("tabserve_live_metric", **labels) == pytest.approx(40)
            assert service.metric("tabserve_live_metric_low", **labels) <= 40
            assert service.metric("tabserve_live_metric_high", **labels) > 40
        assert service.metric("tabserve_training_metric", model="homes", metric="mae") == 12.5
        assert service.metric("tabserve_training_metric", model="homes", metric="coverage") == 0.9
    finally:
        del model.metrics["network"]


def test_a_worse_version_is_reported_while_it_is_served(
    make_service: Any, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, model = make_service(), models["homes"]
    model.metrics["network"] = {"mae": model.tolerance() / 10}
    try:
        rows = [HOME | {"class": number / 1000} for number in range(2000)]
        truths = [value + 3 * model.tolerance() for value in predicted_values(model, rows)]
        service.feedback("homes", {"rows": [row | {"price": truth} for row, truth in zip(rows, truths, strict=True)]})
        gauges = LiveGauges(service.plane)
        service.runner.run(gauges.update())
        labels = {"model": "homes", "metric": "mae", "window": "24h"}
        assert service.metric("tabserve_live_metric_worse", **labels) == 1
        others = [served for served in service.plane.snapshot.served if served.name != "homes"]
        with monkeypatch.context() as patched:
            patched.setattr(service.plane.feedback, "_waiting", feedback_desk.MAX_WAITING)
            with pytest.raises(QueueFull):
                service.runner.run(gauges.update())
        assert service.metric("tabserve_live_metric_worse", **labels) == 1
        service.plane.replace(Snapshot.of(others, 2))
        service.runner.run(gauges.update())
        assert service.metric("tabserve_live_metric_worse", **labels) == 0
    finally:
        del model.metrics["network"]


def test_a_window_contains_the_hours_since_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    live, now = LiveMetrics(None), 1_800_000_000.0
    key = MetricKey("1", "error")
    for hours, value in ((30, 0.5), (2, 0.1)):
        monkeypatch.setattr("service.feedback.live_metrics.time.time", lambda hours=hours: now - hours * 3600)
        live.add("homes", {key: [value]})
    assert live.sums("homes")[key].number == 2
    assert live.sums("homes", now - 24 * 3600)[key].total == pytest.approx(0.1)
    assert live.sums("other") == {}


def test_without_disk_space_feedback_is_refused_and_predictions_are_answered(
    make_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service()

    def fail(*arguments: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(LiveMetrics, "add", fail)
    reply = service.feedback("homes", {"rows": [HOME | {"price": 1}]})
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert service.send("POST", "/predict/homes", {"rows": [HOME]}).status == 200


def test_too_many_waiting_requests_are_refused(make_service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_desk, "MAX_WAITING", 0)
    assert make_service().feedback("homes", {"rows": [HOME | {"price": 1}]}).status == 429


def test_a_challenger_is_compared_with_the_champion_on_the_same_rows(folder: Path, change: Any) -> None:
    worker = Worker(Settings(store=folder))
    worker.application.context.state.mark_ready()
    try:
        change(serving_changes.promote, 4, by_person=True)
        change(serving_changes.set_alias, "challenger", 2)
        worker.poll()
        entry = worker.plane.snapshot.entry("homes")
        rows = [HOME | {"class": number / 1000} for number in range(3000)]
        truths = predicted_values(entry.find("2").model, rows)  # the challenger has no errors
        body = {"rows": [row | {"price": truth} for row, truth in zip(rows, truths, strict=True)]}
        call = call_asgi(worker.application, "POST", "/feedback/homes", json.dumps(body).encode())
        versions = {one["version"]: one for one in worker.runner.run(call).body["versions"]}
        assert versions["2"]["aliases"] == ["challenger"]
        assert versions["2"]["metric"]["value"] == pytest.approx(0, abs=1e-6)
        assert versions["4"]["rows"] == versions["2"]["rows"] == 3000
        against = versions["2"]["against_champion"]
        assert (against["version"], against["rows"]) == ("4", 3000)
        assert against["error"] == pytest.approx(-versions["4"]["metric"]["value"])
        assert against["status"] in ("better", "undecided")
    finally:
        worker.close()
