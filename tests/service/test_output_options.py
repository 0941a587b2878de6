"""Intervals, label sets and explanations with predictions, in every format of the native API."""

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.engines import NumpyEngine
from models.network.scale_head import ScaleHead
from models.tabular_model import TabularModel
from service.http.asgi import Application
from service.settings import Settings
from tests.service.trusted_models import trusted_models
from training.coverage_report import label_sets

Row = dict[str, Any]
SendRequest = Callable[..., Any]
ARROW, NDJSON, CSV = "application/vnd.apache.arrow.stream", "application/x-ndjson", "text/csv"


@pytest.fixture(scope="module")
def models(tabular_models: list[TabularModel], random_rows: Callable[..., list[Row]]) -> dict[str, TabularModel]:
    return trusted_models(tabular_models, random_rows)


@pytest.fixture(scope="module", params=["auto", "on"])
def send_request(
    request: pytest.FixtureRequest,
    models: dict[str, TabularModel],
    make_app: Callable[..., Application],
    asgi: Callable[..., Any],
) -> Iterator[SendRequest]:
    """send_request(path, body, query, **headers) queries a server, with and without batching."""
    asgi_app = make_app([*models.values()], Settings(max_rows=5000, batching=request.param, max_evaluations=20_000))

    def send_request(path: str, body: Any, query: str = "", **headers: str) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(asgi(asgi_app, "POST", path, content, query, named))

    yield send_request
    asgi_app.plane.close()


@pytest.fixture
def rows_for(models: dict[str, TabularModel], random_rows: Callable[..., list[Row]]) -> Callable[..., list[Row]]:
    return lambda name, count: random_rows(models[name].schema, count, np.random.default_rng(6))


def test_the_bounds_of_an_interval_differ_from_the_prediction_by_the_score_times_the_scale(
    send_request: SendRequest, models: dict[str, TabularModel], rows_for: Callable[..., list[Row]]
) -> None:
    model, rows = models["homes"], rows_for("homes", 30)
    plain = send_request("/predict/homes", {"rows": rows}).body["predictions"]
    found = send_request("/predict/homes", {"rows": rows}, "interval=0.9").body["predictions"]
    frame = model.schema.frames.from_rows(rows)
    scale = model.encoder.target.scale * np.exp(0.1 * model.encoder.encode(frame)[:, 0].astype(float))
    assert model.uncertainty is not None
    half = model.uncertainty.quantile(0.9) * scale
    low_end, high_end = model.encoder.target.low, model.encoder.target.high
    for before, one, width in zip(plain, found, half, strict=True):
        assert one["value"] == before["value"]
        assert one["interval"]["level"] == 0.9
        ends = [one["value"] - width, one["value"] + width]
        if low_end is not None:
            ends = [*np.clip(ends, low_end, high_end)]
        assert [one["interval"]["low"], one["interval"]["high"]] == pytest.approx(ends)
    several = send_request("/predict/homes", {"rows": rows[:1]}, "interval=0.5,0.9").body["predictions"][0]
    assert [one["level"] for one in several["intervals"]] == [0.5, 0.9]
    assert several["intervals"][1]["low"] == pytest.approx(found[0]["interval"]["low"])
    assert several["intervals"][0]["low"] > several["intervals"][1]["low"]


@pytest.mark.parametrize("name", ["income", "house_class"])
def test_label_sets_are_computed_from_the_probabilities(
    send_request: SendRequest, models: dict[str, TabularModel], rows_for: Callable[..., list[Row]], name: str
) -> None:
    model, rows = models[name], rows_for(name, 30)
    assert model.uncertainty is not None
    assert model.schema.classes is not None
    found = send_request(f"/predict/{name}", {"rows": rows}, "set=0.9").body["predictions"]
    members = label_sets(model.predict_rows(rows).primary, model.uncertainty, 0.9)
    for one, mask in zip(found, members, strict=True):
        assert one["set"]["level"] == 0.9
        assert one["set"]["labels"] == [label for label, there in zip(model.schema.classes, mask, strict=True) if there]
        assert one["label"] in one["set"]["labels"]


@pytest.mark.parametrize("name", ["homes", "income", "house_class"])
@pytest.mark.parametrize("explain", ["true", "fast"])
def test_explanations_sum_to_the_difference_from_the_baseline(
    send_request: SendRequest,
    models: dict[str, TabularModel],
    rows_for: Callable[..., list[Row]],
    name: str,
    explain: str,
) -> None:
    rows = rows_for(name, 4)
    found = send_request(f"/predict/{name}", {"rows": rows}, f"explain={explain}").body["predictions"]
    scale = models[name].tolerance()
    for one in found:
        explanation = one["explanation"]
        predicted = one["value"] if "value" in one else one["probabilities"][str(one["label"])]
        assert explanation["output"] == ("value" if "value" in one else one["label"])
        total = explanation["baseline"] + sum(explanation["contributions"].values())
        assert total == pytest.approx(predicted, abs=1e-5 * scale)
        assert [*explanation["contributions"]] == [feature.name for feature in models[name].schema.features]
        assert explanation["exact"] is True
        assert "error" not in explanation
    both = send_request(f"/predict/{name}", {"rows": rows}, f"explain={explain}&on_invalid=skip").body["predictions"]
    assert both == found


def test_table_responses_have_the_columns_of_the_options(
    send_request: SendRequest, rows_for: Callable[..., list[Row]]
) -> None:
    rows = rows_for("homes", 5)
    body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    query = "interval=0.8&explain=fast"
    head, *lines = csv.reader(
        io.StringIO(send_request("/predict/homes", body, query, content_type=NDJSON, accept=CSV).content.decode())
    )
    contributions = [f"contribution_{name}" for name in rows[0]]
    assert head == ["value", "low", "high", "baseline", *contributions, "warnings", "error"]
    for line in lines:
        value, low, high, baseline, *parts = map(float, line[: 4 + len(contributions)])
        assert low <= value <= high
        assert baseline + sum(parts) == pytest.approx(value, abs=1)
    table = pa.ipc.open_stream(
        send_request(
            "/predict/income", json.dumps({"rows": rows_for("income", 3)}).encode(), "set=0.9", accept=ARROW
        ).content
    ).read_all()
    assert table.column_names[-4:] == ["set_<=50K", "set_100 %s", "warnings", "error"]


def test_an_empty_level_counts_as_absent(send_request: SendRequest, rows_for: Callable[..., list[Row]]) -> None:
    """Clients generated from /docs.json send this form."""
    for model, name in (("homes", "interval"), ("income", "set")):
        body = {"rows": rows_for(model, 1)}
        assert (
            send_request(f"/predict/{model}", body, f"{name}=").content
            == send_request(f"/predict/{model}", body, "").content
        )


@pytest.mark.parametrize(
    ("model", "query", "message"),
    [
        ("homes", "interval=1.5", "'1.5' is not a level between 0 and 1"),
        ("homes", "interval=nan", "'nan' is not a level between 0 and 1"),
        ("homes", "interval=0.9,x", "'x' is not a level"),
        ("homes", "interval=0.999", "the largest level is 0.995"),
        ("homes", "set=0.9", "use interval=0.9"),
        ("income", "interval=0.9", "use set=0.9"),
        ("homes", "explain=yes", "expected true, fast or false"),
        ("homes", "intervall=0.9", "did you mean 'interval'"),
        ("old", "interval=0.9", "old:1 was stored without uncertainty"),
        ("old", "explain=true", "old:1 was stored without a background"),
    ],
)
def test_options_that_cannot_be_satisfied_are_refused(
    send_request: SendRequest, rows_for: Callable[..., list[Row]], model: str, query: str, message: str
) -> None:
    reply = send_request(f"/predict/{model}", {"rows": rows_for(model, 1)}, query)
    assert reply.status == 422
    assert message in reply.body["detail"]


def test_explanations_over_the_limit_are_refused_and_fast_explanations_are_not(
    send_request: SendRequest, rows_for: Callable[..., list[Row]]
) -> None:
    rows = rows_for("homes", 100)
    reply = send_request("/predict/homes", {"rows": rows}, "explain=true")
    assert reply.status == 422
    assert "the limit is 20000" in reply.body["detail"]
    assert send_request("/predict/homes", {"rows": rows[:50]}, "explain=fast").status == 200


def test_an_engine_with_a_scale_head_predicts_the_same_values() -> None:
    from models.architecture import Architecture
    from models.network.network import build

    rng = np.random.default_rng(7)
    for members, adapters in ((0, False), (4, True), (4, False)):
        architecture = Architecture(9, (), hidden=(8, 8), outputs=1, members=members, adapters=adapters, link="linear")
        network = build(architecture, rng)
        head = ScaleHead(rng.normal(size=8 * max(members, 1)).astype(np.float32), 0.25)
        engine = NumpyEngine(network, "")
        scaled = engine.with_scale_head(network, head)
        for rows in (1, 7, 3000):
            x = rng.normal(size=(rows, 9)).astype(np.float32)
            np.testing.assert_allclose(scaled.outputs(x)[:, :1], engine.outputs(x), rtol=1e-5, atol=1e-6)
            hidden = x
            layers = network.layers[: -2 if members else -1]
            for layer in layers:
                hidden = layer.forward(hidden)
            expected = hidden.reshape(rows, -1) @ head.W + head.b
            np.testing.assert_allclose(scaled.outputs(x)[:, 1], expected, rtol=1e-4, atol=1e-5)
