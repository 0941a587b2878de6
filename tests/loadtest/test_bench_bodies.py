"""Every format of `bench bodies` gets the same predictions as native JSON, and the response to a large file is
measured.
"""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from loadtest import __main__ as command
from loadtest.bench import bare_asgi, bodies, clients
from loadtest.bench.server_process import BenchServer, ServerMeasurements
from loadtest.bench.server_scenarios import BodyEncoder, EncodedBody, as_json, tabserve_server

ROWS = [{"a": 1.5, "b": 2.25}, {"a": 3.5, "b": 9.75}, {"a": 4.0, "b": 0.5}]


def values(form: BodyEncoder, path: str, url: str) -> list[float]:
    content, headers = form(ROWS)
    reply = httpx.post(url + path, content=content, headers=dict(headers), timeout=60)
    assert reply.status_code == 200, reply.text
    kind = reply.headers["content-type"]
    if "ndjson" in kind:
        return [json.loads(line)["value"] for line in reply.text.splitlines()]
    if "csv" in kind:
        return [float(line.split(",")[0]) for line in reply.text.splitlines()[1:]]
    if "arrow" in kind:
        return [*map(float, pa.ipc.open_stream(io.BytesIO(reply.content)).read_all()["value"].to_pylist())]
    if "octet" in kind:
        length = int(reply.headers["inference-header-content-length"])
        return [*map(float, np.frombuffer(reply.content[length:], "<f8"))]
    content = reply.json()
    if "outputs" in content:
        return [*content["outputs"][0]["data"]]
    return [one["value"] for one in content["predictions"]]


@pytest.mark.parametrize(
    ("form", "path"),
    [
        *((form, "/predict/small") for form in (bodies.arrow, bodies.ndjson, bodies.csv)),
        *(
            (form, "/v2/models/small/infer")
            for form in (bodies.v2_columns, bodies.v2_matrix, bodies.binary_columns, bodies.binary_matrix)
        ),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_every_format_gets_the_predictions_of_native_json(form: BodyEncoder, path: str, url: str) -> None:
    assert values(form, path, url) == pytest.approx(values(as_json, "/predict/small", url), rel=1e-5)


def test_bare_tensors_application_returns_the_forward_pass() -> None:
    x = np.arange(24, dtype="<f4").reshape(3, 8)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": x.tobytes(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(bare_asgi.tensors({"type": "http"}, receive, send))
    np.testing.assert_array_equal(np.frombuffer(sent[1]["body"], "<f4"), bare_asgi.forward(x)[:, 0])


def test_goals_are_reported_as_multiples_of_the_limit() -> None:
    def measured_server(name: str, cost: float) -> ServerMeasurements:
        server: Any = type("Stopped", (), {"contender": tabserve_server(name, "eight")})()
        return ServerMeasurements(server, [clients.LoadFigures(1, 1.0, 0.1, 0.1, 0)], [cost])

    fine, slow = bodies.BINARY_MATRIX.name, bodies.ARROW_STREAM.name
    all_of_them = [
        measured_server("limit", 10),
        measured_server(fine, 19),
        measured_server(slow, 21),
        measured_server("CSV", 96),
        measured_server("NDJSON", 94),
    ]
    lines, missed = bodies.goal_results(all_of_them)
    assert missed == 2
    assert lines == [
        f"- {fine}: 1.90 (1.90 to 1.90) times the cost of limit (goal: at most 2)",
        f"- {slow}: 2.10 (2.10 to 2.10) times the cost of limit (goal: at most 2), MISSED",
        f"- NDJSON: 4.95 (4.95 to 4.95) times the cost of {fine} (goal: at most 5)",
        f"- CSV: 5.05 (5.05 to 5.05) times the cost of {fine} (goal: at most 5), MISSED",
    ]


def test_response_to_a_large_file_is_measured(store_home: Path, tmp_path: Path) -> None:
    server = BenchServer(tabserve_server("tabserve", "small"), store_home / "models", tmp_path, *as_json(ROWS))
    try:
        server.wait()
        found = bodies.measure_file(server, tmp_path, ROWS, 30_000)
        server.contender = tabserve_server("tabserve", "nothing")
        with pytest.raises(RuntimeError, match="status 404"):
            bodies.measure_file(server, tmp_path, ROWS, 10)
    finally:
        server.stop()
    assert found.rows == 30_000
    assert found.seconds > 0
    assert found.before_mb > 10
    assert 0 <= found.peak_growth_mb < 500
    assert bodies.large_table([found])[1][0] == "30,000"


def test_bundled_client_sends_the_headers(url: str) -> None:
    content, headers = bodies.binary_matrix(ROWS)
    plan = f"{url}/v2/models/small/infer"
    assert asyncio.run(clients.run_bundled_client(plan, content, 1, 0.2, headers)).errors == 0
    assert asyncio.run(clients.run_bundled_client(plan, content, 1, 0.1)).errors > 0
    assert EncodedBody(content).headers == clients.JSON


def test_zero_rows_give_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["bench", "bodies", "--rows", "0"])
    assert "less than 1" in capsys.readouterr().err
