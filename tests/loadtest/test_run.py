"""Runs against real servers: errors of the server and an overloaded generator are detected."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from loadtest import commands, open_loop, open_loop_run, packages, results, saturate, server_monitor, server_under_test
from loadtest.__main__ import main
from loadtest.request_mix import INVALID
from loadtest.request_plan import RequestPlan
from loadtest.response_check import MISSING, MIXED_UP, WRONG
from loadtest.scenarios import SCENARIOS, arrivals
from models import command_line
from tests.child_processes import kill_at_exit
from tests.ports import free_port

STALL_S = 0.3
WARM_UP_S = 0.5
RECORDED = 402  # requests before the load: 200 per model and one with its example rows, for two models
ONE_ROW = ["--mix", "one=1"]


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop_run, "WARM_UP_S", WARM_UP_S)


def stall(pids: list[int]) -> None:
    """Stop all processes of a server for 300 ms."""
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            os.kill(pid, number)
        time.sleep(STALL_S if number == signal.SIGSTOP else 0)


def measure_waiting_user(
    url: str, plan: RequestPlan, seconds: float, halfway: Callable[[], None]
) -> npt.NDArray[np.float64]:
    """The latencies of a user who waits for each response before the next request. halfway: called after half of the
    time.
    """
    request = plan.requests[0]
    latencies = []
    with httpx.Client(base_url=url, timeout=60) as client:
        until, called = time.monotonic() + seconds, False
        while (started := time.monotonic()) < until:
            if not called and started > until - seconds / 2:
                halfway()
                called = True
            client.post(request.path, content=request.body, headers={"Content-Type": request.content_type})
            latencies.append(time.monotonic() - started)
    return np.array(latencies)


def slow_fraction(latencies: npt.NDArray[np.float64]) -> float:
    return float(np.mean(latencies > STALL_S / 2))


def slow_fractions_during_a_stall(url: str, plan: RequestPlan) -> tuple[float, float, float]:
    """The fractions of slow requests during a stall: in an open loop, in a closed loop computed from its records, and
    for a waiting user.
    """
    pids = server_monitor.listeners(url)
    assert pids
    rng = np.random.default_rng(0)
    due = arrivals(SCENARIOS["steady"], 200, 2, rng)
    with ThreadPoolExecutor() as threads:
        stalls: list[Future[None]] = []

        def stall_once(now: object = None) -> None:
            if not stalls:
                stalls.append(threads.submit(stall, pids))

        records = open_loop.run(url, plan, due, 2, rng=rng, progress=stall_once)  # called every second
        stalls.pop().result()
        assert results.errors_of(records) == {}
        closed = measure_waiting_user(url, plan, 2, stall_once)
        stalls.pop().result()
    return slow_fraction(records.latency), slow_fraction(records.closed_loop()), slow_fraction(closed)


def test_open_loop_measures_a_stall_that_a_closed_loop_hides(url: str, plan: RequestPlan) -> None:
    """About 30 of the 400 requests are due in the first half of the stall, but the stall delays a waiting user only
    once.
    """
    open_share, of_records, of_user = slow_fractions_during_a_stall(url, plan)
    assert open_share > 0.01
    assert of_records > 0
    assert open_share > 2 * of_records
    assert open_share > 2 * of_user


@pytest.mark.parametrize(("defect", "kind"), [("swap", MIXED_UP), ("alter", WRONG), ("drop", MISSING)])
def test_a_single_wrong_response_fails_the_run(
    defect: str, kind: str, defective_url: Callable[[str, int], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = defective_url(defect, RECORDED + 100 + 50)  # the warm-up sends about 100 requests
    command = ["run", "--url", url, "--rate", "200", "--seconds", "1", "--out", str(tmp_path), *ONE_ROW]
    assert main([*command, "--slo", "errors=50%"]) == 1
    result = results.read(tmp_path / "result.json")
    wrong = {MIXED_UP: 2}.get(kind, 1)
    assert result.errors == {kind: wrong}
    assert f"- {kind}: {wrong}" in capsys.readouterr().out
    assert kind in (tmp_path / "report.html").read_text("utf-8")


def test_an_overloaded_generator_fails_the_run_without_figures(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--url", url, "--rate", "500000", "--seconds", "0.2", "--timeout", "0.5", "--out", str(tmp_path)]
    assert main(command) == 1
    result = results.read(tmp_path / "result.json")
    assert result.generator.limit
    assert "these are not figures of the server" in capsys.readouterr().out
    assert "these are not figures of the server" in (tmp_path / "report.html").read_text("utf-8")


def test_a_spike_with_all_kinds_of_rows_is_answered_correctly_and_reported(url: str, tmp_path: Path) -> None:
    command = ["run", "--url", url, "--scenario", "spike", "--rate", "100", "--seconds", "3", "--out", str(tmp_path)]
    code = main([*command, "--slo", "p99=60s", "--models", "odd,small"])
    result = results.read(tmp_path / "result.json")
    assert result.errors == {}
    assert code == (1 if result.generator.limit else 0)  # on a busy machine the generator may be the bottleneck
    assert {name.split(", ")[1] for name in result.by_name} == {"one row", "many rows", "invalid row"}
    assert any(entry.get("cpu", 0) > 0 for entry in result.server)
    assert any(entry.get("batch_rows", 0) >= 1 for entry in result.server)
    assert any(entry.get("memory", 0) > 1e6 for entry in result.server)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r"""(src|href)=|url\(|@import|https?://(?!127\.0\.0\.1|www\.w3\.org/2000/svg)""", page)
    BalancedTagParser().feed(page)
    assert "| p99 |" in (tmp_path / "report.md").read_text("utf-8")
    assert (tmp_path / "picture.svg").read_text("utf-8").startswith("<svg")


def test_missed_goal_has_exit_code_1(url: str, tmp_path: Path) -> None:
    command = ["run", "--url", url, "--rate", "50", "--seconds", "1", "--out", str(tmp_path), "--slo", "p50=0.001ms"]
    assert main(command) == 1
    assert results.read(tmp_path / "result.json").reasons[0].startswith("p50 is ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "http://127.0.0.1:9"], "no server is ready at http://127.0.0.1:9"),
        (["--models", "nosuch"], "the server has no model 'nosuch', only"),
    ],
)
def test_invalid_arguments_give_a_one_line_error_and_exit_code_2(
    arguments: list[str],
    message: str,
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_under_test, "REACH_SECONDS", 0.3)
    assert main(["run", "--url", url, "--out", str(tmp_path), *arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "0"],
        ["--slo", "p98=1ms"],
        ["--url", "localhost:3000"],
        ["--rate", "1", "--users", "1"],
        ["--mix", "x=1"],
        ["--many-rows", "0"],
        ["--hot", "2"],
        ["--seed", "-1"],
    ],
)
def test_usage_error_has_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", *arguments])
    assert stopped.value.code == 2


def test_saturate_starts_a_server_and_writes_a_comparable_result(
    store_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(store_home))
    monkeypatch.setenv("TABSERVE_DRAIN_S", "0")
    monkeypatch.setattr(saturate, "MAX_RATE", 300)
    command = ["saturate", "--repeats", "1", "--seconds", "0.5", "--steady-seconds", "1", "--out", str(tmp_path)]
    main([*command, "--workers", "1", "--slo", "p99=30s", "--mix", "one=1"])
    result = results.read(tmp_path / "result.json")
    assert result.saturation is not None
    assert result.saturation.probes[0].throughput > 0
    assert "all probes" in (tmp_path / "report.html").read_text("utf-8").lower()
    capsys.readouterr()
    same = str(tmp_path / "result.json")
    assert main(["compare", same, same]) == 0
    assert capsys.readouterr().out.count("no difference") == 5


def test_recorded_responses_have_the_expected_statuses(plan: RequestPlan) -> None:
    statuses = {(request.kind == INVALID, request.status) for request in plan.requests}
    assert statuses == {(True, 422), (False, 200)}
    assert sum(plan.weights()) == pytest.approx(1)
    assert {request.model for request in plan.requests} == {"odd", "small"}
    assert RequestPlan.from_message(plan.to_message()).requests == plan.requests


class BalancedTagParser(HTMLParser):
    """A parser that raises an error if a closing tag does not match the last open tag."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


# Locust


LOCUST = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless"]


def test_locust_master_records_the_responses_for_its_workers(url: str, tmp_path: Path) -> None:
    port = str(free_port())
    common = {"cwd": server_under_test.ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    record = ["--record", str(tmp_path / "seen")]
    load = ["--host", url, "--users", "4", "--spawn-rate", "100", "--run-time", "2s"]
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "2"]
    worker = ["--worker", "--master-host", "127.0.0.1", "--master-port", port, *record]
    with ExitStack() as stack:
        master, *workers = (
            stack.enter_context(kill_at_exit(subprocess.Popen([*LOCUST, *words], **common)))  # type: ignore[call-overload]
            for words in (["--master", *bind, *load, *record], worker, worker)
        )
        outputs = [process.communicate(timeout=300)[0] for process in (master, *workers)]
    assert master.returncode == 0, outputs
    assert "recorded the responses to" in outputs[0]
    assert all("recorded the responses to" not in text for text in outputs[1:])
    seen = [len(np.load(tmp_path / f"seen.{worker.pid}.npz")["start"]) for worker in workers]
    assert min(seen) > 0


def test_locust_reports_a_wrong_response(defective_url: Callable[[str, int], str]) -> None:
    url = defective_url("alter", RECORDED + 5)
    done = run_locust("--host", url, "--run-time", "2s", *ONE_ROW)
    assert done.returncode == 1, done.stdout + done.stderr
    assert WRONG in done.stdout + done.stderr


def test_closed_loop_run_writes_the_same_report(url: str, tmp_path: Path) -> None:
    command = ["run", "--url", url, "--users", "2", "--seconds", "1", "--out", str(tmp_path), "--slo", "p99=60s"]
    assert main(command) == 0
    result = results.read(tmp_path / "result.json")
    assert result.loop == "closed"
    assert result.requests > 0
    assert json.loads((tmp_path / "result.json").read_bytes())["generator"]["cpu"] > 0


def test_run_time_of_locust_starts_after_the_responses_are_recorded(defective_url: Callable[[str, int], str]) -> None:
    url = defective_url("slow", RECORDED)  # recording takes at least 4 s
    done = run_locust("--host", url, "--run-time", "1s", *ONE_ROW)
    assert done.returncode == 0, done.stderr
    assert done.stderr.index("recorded the responses") < done.stderr.index("Run time limit set to 1 seconds")
    assert "no request was sent" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--users", "0", "--models", "small"], 1, "no request was sent"),
        (["--models", "nosuch"], 2, "the server has no model 'nosuch', only odd, small"),
    ],
)
def test_locust_run_without_requests_fails(arguments: list[str], code: int, message: str, url: str) -> None:
    done = run_locust("--host", url, "--run-time", "1s", *ONE_ROW, *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr


def run_locust(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*LOCUST, "--only-summary", "--users", "1", *arguments]
    return subprocess.run(command, cwd=server_under_test.ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("package", "command"), [("locust", ["run", "--users", "1"]), ("onnxruntime", ["bench", "engines"])]
)
def test_missing_package_gives_a_one_line_error_with_the_install_command(
    package: str, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(command) == 2
    expected = f"error: the library {package} is not installed; install it with: make setup-development\n"
    assert capsys.readouterr().err == expected
    assert (server_under_test.ROOT / "requirements" / "development.lock").read_text().count(f"\n{package}==") == 1


@pytest.mark.parametrize(("library", "extra"), [("locust", "loadtest"), ("onnxruntime", "development")])
def test_missing_package_of_a_wheel_gives_a_one_line_error_with_the_extra(
    library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_line, "is_checkout", lambda: False)
    expected = f"the library {library} is not installed; install it with: pip install 'tabserve[{extra}]'"
    assert str(packages.MissingPackageError(library)) == expected


def test_libraries_of_the_extra_loadtest_match_pyproject() -> None:
    project = tomllib.loads((server_under_test.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requirements = project["optional-dependencies"]["loadtest"]
    assert {requirement.partition(">")[0] for requirement in requirements} == set(packages.LIBRARIES)


def test_missing_package_that_is_imported_later_gives_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "run_compare", lambda arguments: importlib.import_module("nosuch.part"))
    assert main(["compare", "a.json", "b.json"]) == 2
    assert capsys.readouterr().err.startswith("error: the library nosuch is not installed; install it with: ")
