"""`bench servers` starts, loads and stops servers, and compares its figures with goals."""

import asyncio
import dataclasses
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvloop

from loadtest import __main__ as command
from loadtest.bench import bare_asgi, clients, server_process, server_scenarios, servers, starts
from models import store
from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.feature import Feature, TrainingRange
from models.frame import Frame
from models.network.network import build
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from service.data_plane import DataPlane
from service.exchange import ServerContext
from service.http.asgi import Application
from service.settings import Settings
from training.__main__ import train_parser

ROW = dict.fromkeys(bare_asgi.FIELDS, 1.5)
BODY = json.dumps({"rows": [ROW]}).encode()


def test_bundled_client_measures_the_bare_function(tmp_path: Path) -> None:
    server = server_process.BenchServer(server_scenarios.BARE, tmp_path, tmp_path, BODY)
    try:
        server.wait()
        before = server.cpu()
        measured = asyncio.run(clients.run_bundled_client(server.url, BODY, 4, 0.5))
        assert measured.errors == 0
        assert measured.requests > 20
        assert 0 < measured.p50 <= measured.p99
        assert server.cpu() >= before
        assert server.memory()[0] > 10
        assert uvloop.run(clients.run_bundled_client(server.url, BODY, 2, 0.1)).errors == 0
        wrong = asyncio.run(clients.run_bundled_client(server.url, b"{", 1, 0.1))
        assert wrong.errors > 0
    finally:
        server.stop()
    assert server.process.poll() is not None


@pytest.mark.parametrize(("contender", "value"), [(server_scenarios.PROTOCOL, None), (server_scenarios.FIXED, 1.25)])
def test_the_bare_protocol_returns_the_prediction_of_the_bare_function(
    tmp_path: Path, contender: server_scenarios.Contender, value: float | None
) -> None:
    expected = float(bare_asgi.forward(np.array([[1.5] * 8], "f4"))[0, 0]) if value is None else value
    server = server_process.BenchServer(contender, tmp_path, tmp_path, BODY)
    try:
        server.wait()
        with httpx.Client(timeout=60) as client:
            for _ in range(2):  # on one connection
                content = client.post(server.url, content=BODY).json()
                assert content == {"predictions": [{"value": pytest.approx(expected, rel=1e-6)}]}
        assert asyncio.run(clients.run_bundled_client(server.url, BODY, 4, 0.2)).errors == 0
    finally:
        server.stop()


def test_the_ratio_of_a_goal_is_the_median_of_rounds() -> None:
    both = {"a": measured_server("a", 60.0, 200), "b": measured_server("b", 40.0, 100)}
    both["a"].cpu_us.extend([10.0, 90.0])
    both["b"].cpu_us.extend([10.0, 30.0])
    _, text = server_scenarios.ServerGoal("a", "b", "cost", 1.5).evaluate(both)
    assert text == "a: 1.50 (1.00 to 3.00) times the cost of b (goal: at most 1.5)"


def test_rounds_are_reported_as_a_table_and_a_picture(tmp_path: Path) -> None:
    loads = [clients.LoadFigures(100, 1.0, 0.001, 0.002, 0), clients.LoadFigures(300, 1.0, 0.003, 0.004, 1)]
    server: Any = type("Stopped", (), {"contender": server_scenarios.BARE, "ready_s": 1.0})()
    seen = server_process.ServerMeasurements(server, loads, [40.0, 60.0], 99.0)
    assert servers.table([seen])[1] == [server_scenarios.BARE.name, "50", "1.00", "200", "2.0", "3.0", "1", "99", "1.0"]
    servers.picture([seen], "title", tmp_path / "bench.svg")
    assert "processor time" in (tmp_path / "bench.svg").read_text() or (tmp_path / "bench.svg").stat().st_size > 1000


def measured_server(
    name: str, cost: float, requests: int, ready: float = 1.0, held: float = 99.0
) -> server_process.ServerMeasurements:
    contender = dataclasses.replace(server_scenarios.BARE, name=name)
    server: Any = type("Stopped", (), {"contender": contender, "ready_s": ready})()
    return server_process.ServerMeasurements(
        server, [clients.LoadFigures(requests, 1.0, 0.001, 0.002, 0)], [cost], held
    )


@pytest.mark.parametrize(
    ("kind", "number", "words"),
    [
        ("cost", 1.5, "1.50 (1.50 to 1.50) times the cost of b"),
        ("saving", 1 / 1.5, "0.67 (0.67 to 0.67) times less than b"),
        ("requests", 2.0, "2.00 times the requests of b"),
    ],
)
def test_goal_is_met_at_its_limit_and_missed_beyond_it(kind: Any, number: float, words: str) -> None:
    both = {"a": measured_server("a", 60.0, 200), "b": measured_server("b", 40.0, 100)}
    worse = number / 1.01 if kind == "cost" else number * 1.01
    good, text = server_scenarios.ServerGoal("a", "b", kind, number).evaluate(both)
    assert good
    assert text.startswith(f"a: {words} (goal: at ")
    good, text = server_scenarios.ServerGoal("a", "b", kind, worse).evaluate(both)
    assert not good
    assert text.endswith("MISSED")


def test_servers_of_tabserve_have_goals_for_startup_time_and_memory() -> None:
    scenario = dataclasses.replace(server_scenarios.SCENARIOS["row"], goals=())
    fine = [
        measured_server(server_scenarios.NUMPY, 1, 1),
        measured_server(server_scenarios.BENTOML.name, 1, 1, ready=99),
    ]
    assert [good for good, _ in servers.goal_results(scenario, fine)] == [True]
    for slow in (
        measured_server(server_scenarios.NUMPY, 1, 1, ready=4.1),
        measured_server(server_scenarios.TWO, 1, 1, held=151),
    ):
        assert [good for good, _ in servers.goal_results(scenario, [slow])] == [False]


def test_every_scenario_contains_the_servers_of_its_goals() -> None:
    for scenario in server_scenarios.SCENARIOS.values():
        names = [contender.name for contender in scenario.contenders]
        assert {name for goal in scenario.goals for name in (goal.ours, goal.other)} <= set(names)
        assert len(set(names)) == len(names)
    assert servers.models_of(server_scenarios.SCENARIOS["mixed"]) == {"income", "income32", "eight"}


def test_the_commands_that_train_the_models_of_all_scenarios_are_valid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []

    def record(command: list[str], **_: Any) -> Any:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", record)
    scenarios = server_scenarios.SCENARIOS.values()
    models = {model for scenario in scenarios for model in servers.models_of(scenario)}
    assert servers.train(tmp_path, models) == tmp_path / "models"
    assert len(commands) == len(models)
    for _, *arguments in commands:
        assert arguments[:2] == ["-m", "training"]
        train_parser().parse_args(arguments[2:])
    assert (tmp_path / "wide100.csv").read_text().count("\n") == 2001


def test_bare_model_returns_the_predictions_of_the_model(tmp_path: Path, store_home: Path) -> None:
    body = servers.body(store_home / "models", "odd", 3)
    server = server_process.BenchServer(
        server_scenarios.bare_model("limit", "odd"), store_home / "models", tmp_path, body
    )
    try:
        server.wait()
        content = httpx.post(server.url, content=body, timeout=60).json()
    finally:
        server.stop()
    model = store.load(store.versions(store_home)[0]["odd"][0])
    expected = model.present(model.predict_rows(json.loads(body)["rows"]))
    assert content == {"predictions": expected}


def test_unknown_scenario_gives_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["bench", "servers", "rows"]) == 2
    assert "expected row, mixed" in capsys.readouterr().err


def asgi_app() -> Application:
    rng = np.random.default_rng(0)
    features = [Feature(name=n, kind="number", nullable=False, seen=TrainingRange(min=0, max=10)) for n in ROW]
    schema = FeatureSchema(name="eight", task="regression", target="y", features=features)
    numbers = rng.uniform(0, 10, (300, 8))
    encoder = Encoder.fit(schema, Frame(numbers, np.empty((300, 0), np.int64)), numbers.sum(axis=1), bins=0)
    engine = NumpyEngine(build(Architecture(8, hidden=(32,)), rng), "test")
    settings = Settings()
    plane = DataPlane([TabularModel("1", schema, encoder, engine)], settings)
    plane.start()
    made = Application(ServerContext(plane, settings))
    made.context.state.mark_ready()
    return made


def test_cost_of_one_row_is_at_most_4_times_that_of_the_bare_function() -> None:
    """The cost is measured without the HTTP server, whose cost is the same for both; the measured ratio was 1.6."""

    async def send(message: Any) -> None:
        pass

    async def receive() -> Any:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def seconds(app: Any) -> float:
        started = time.process_time()
        for _ in range(500):
            scope = {"type": "http", "method": "POST", "path": "/predict/eight", "query_string": b"", "headers": []}
            await app(scope, receive, send)
        return time.process_time() - started

    ours = asgi_app()
    both = [[asyncio.run(seconds(app)) for app in (ours, bare_asgi.app)] for _ in range(7)]
    mine, bare = (min(times) for times in zip(*both, strict=True))
    assert mine < 4 * bare  # CPU time of the fastest of seven rounds
    ours.plane.close()


def test_read_log_returns_the_decisions_for_each_model(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ready = [
        {"message": "model ready", "model": f"{name}:1", "inline_rows": rows}
        for name, rows in [("a", 7), ("a", 9), ("b", 0)]
    ]
    lines = [json.dumps(record, separators=(",", ":")) for record in [{"message": "else"}, *ready]]
    log.write_text("\n".join(["no JSON", *lines]))
    assert starts.read_log(log) == {"a": [7, 9], "b": [0]}


def test_bench_starts_compares_decisions_with_a_quiet_start() -> None:
    def decisions(*rows: int) -> starts.Decisions:
        return {model: [*rows] for model in starts.MODELS}

    quiet = decisions(100, 100)
    lines, missed = starts.compare_decisions(quiet, [quiet, decisions(60, 150)])
    assert not missed
    assert lines[1] == ["eight", "100", "60", "150", "0.60", "1.50", "1"]
    assert starts.compare_decisions(quiet, [decisions(0, 100)])[1]
    assert starts.compare_decisions(quiet, [decisions(100, 201)])[1]
