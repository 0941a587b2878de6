"""Runs against real servers: what is wrong with them is found, and what is wrong with the generator too."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from loadtest import load_run, open_loop, results, server_monitor, server_under_test
from loadtest.__main__ import main
from loadtest.answer_check import MISSING, MIXED_UP, WRONG
from loadtest.plan import INVALID, RequestPlan
from loadtest.scenarios import SCENARIOS, arrivals

STALL_S = 0.3
WARM_UP_S = 0.5
QUIET = 402  # requests of the quiet pass with this mix: two models, 200 each, and their examples
ONE_ROW = ["--mix", "one=1"]


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_run, "WARM_UP_S", WARM_UP_S)


def stall(pids: list[int], after: float) -> None:
    """Hold every process of a server for a moment."""
    time.sleep(after)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            os.kill(pid, number)
        time.sleep(STALL_S if number == signal.SIGSTOP else 0)


def naive_closed_loop(url: str, asked: RequestPlan, seconds: float) -> float:
    """What a user sees at the 99th percentile who asks, waits, and asks again."""
    ask = asked.asks[0]
    taken = []
    with httpx.Client(base_url=url) as client:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            started = time.monotonic()
            client.post(ask.path, content=ask.body, headers={"Content-Type": ask.content_type})
            taken.append(time.monotonic() - started)
    return float(np.quantile(taken, 0.99))


def test_a_stall_of_300_ms_is_in_the_open_loop_and_not_in_the_closed_one(url: str, asked: RequestPlan) -> None:
    pids = server_monitor.listeners(url)
    assert pids
    rng = np.random.default_rng(0)
    due = arrivals(SCENARIOS["steady"], 200, 3, rng)
    stalling = threading.Thread(target=stall, args=(pids, 1.5))
    stalling.start()
    records = open_loop.run(url, asked, due, 3, rng=rng)
    stalling.join()
    assert results.errors_of(records) == {}
    stalling = threading.Thread(target=stall, args=(pids, 1.5))
    stalling.start()
    closed = naive_closed_loop(url, asked, 3)
    stalling.join()

    open_p99 = results.quantiles(records.latency)["p99"]
    told_by_waiting = results.quantiles(records.closed_loop())["p99"]
    assert open_p99 > 150  # about 60 of 600 requests were due in the 300 ms
    assert closed * 1e3 < 150
    assert told_by_waiting < 150
    assert results.quantiles(records.closed_loop())["max"] > 150  # one user did wait


@pytest.mark.parametrize(("misdeed", "kind"), [("swap", MIXED_UP), ("alter", WRONG), ("drop", MISSING)])
def test_a_single_wrong_answer_fails_the_run(
    misdeed: str, kind: str, misbehaving: Callable[[str, int], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = misbehaving(misdeed, QUIET + 100 + 150)  # after 100 of the warm-up, about
    command = ["run", "--url", url, "--rate", "200", "--seconds", "2", "--out", str(tmp_path), *ONE_ROW]
    assert main([*command, "--slo", "errors=50%"]) == 1
    result = results.read(tmp_path / "result.json")
    wrong = {MIXED_UP: 2}.get(kind, 1)
    assert result.errors == {kind: wrong}
    assert f"- {wrong} of {kind}" in capsys.readouterr().out
    assert kind in (tmp_path / "report.html").read_text("utf-8")


def test_an_overloaded_generator_says_so_and_claims_nothing(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--url", url, "--rate", "500000", "--seconds", "0.2", "--timeout", "0.5", "--out", str(tmp_path)]
    assert main(command) == 1
    result = results.read(tmp_path / "result.json")
    assert result.generator.limit
    assert "these are no figures of the server" in capsys.readouterr().out
    assert "these are no figures of the server" in (tmp_path / "report.html").read_text("utf-8")


def test_a_spike_over_all_kinds_of_rows_is_answered_right_and_reported(url: str, tmp_path: Path) -> None:
    command = ["run", "--url", url, "--scenario", "spike", "--rate", "100", "--seconds", "3", "--out", str(tmp_path)]
    code = main([*command, "--slo", "p99=5s", "--models", "odd,small"])
    result = results.read(tmp_path / "result.json")
    assert result.errors == {}
    assert code == (1 if result.generator.limit else 0)  # on a busy machine it may rightly refuse its own figure
    assert {name.split(", ")[1] for name in result.by_name} == {"one row", "many rows", "invalid row"}
    assert any(entry.get("cpu", 0) > 0 for entry in result.server)
    assert any(entry.get("batch_rows", 0) >= 1 for entry in result.server)
    assert any(entry.get("memory", 0) > 1e6 for entry in result.server)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r"""(src|href)=|url\(|@import|https?://(?!127\.0\.0\.1|www\.w3\.org/2000/svg)""", page)
    Balanced().feed(page)
    assert "| p99 |" in (tmp_path / "report.md").read_text("utf-8")
    assert (tmp_path / "picture.svg").read_text("utf-8").startswith("<svg")


def test_a_goal_that_is_missed_is_exit_code_1(url: str, tmp_path: Path) -> None:
    command = ["run", "--url", url, "--rate", "50", "--seconds", "1", "--out", str(tmp_path), "--slo", "p50=0.001ms"]
    assert main(command) == 1
    assert results.read(tmp_path / "result.json").reasons[0].startswith("p50 is ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "http://127.0.0.1:9"], "no server is ready at http://127.0.0.1:9"),
        (["--models", "nosuch"], "no model 'nosuch' is served; there are"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_exit_code_2(
    arguments: list[str],
    said: str,
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_under_test, "REACH_SECONDS", 0.3)
    assert main(["run", "--url", url, "--out", str(tmp_path), *arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last


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
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", *arguments])
    assert stopped.value.code == 2


def test_saturate_finds_a_rate_starts_its_own_server_and_compares_with_itself(
    store_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(store_home))
    monkeypatch.setenv("TABSERVE_DRAIN_S", "1")
    command = ["saturate", "--repeats", "1", "--seconds", "0.5", "--steady-seconds", "1", "--out", str(tmp_path)]
    main([*command, "--workers", "1", "--slo", "p99=100ms", "--mix", "one=1"])
    result = results.read(tmp_path / "result.json")
    assert result.saturation is not None
    assert result.saturation.rate >= 100
    assert {probe.passed for probe in result.saturation.probes} == {True, False}
    capsys.readouterr()
    same = str(tmp_path / "result.json")
    assert main(["compare", same, same]) == 0
    assert capsys.readouterr().out.count("no difference") == 5


def test_the_answers_of_the_quiet_pass_are_those_of_the_contract(asked: RequestPlan) -> None:
    statuses = {(ask.kind == INVALID, ask.status) for ask in asked.asks}
    assert statuses == {(True, 422), (False, 200)}
    assert sum(asked.weights()) == pytest.approx(1)
    assert {ask.model for ask in asked.asks} == {"odd", "small"}
    assert RequestPlan.from_message(asked.to_message()).asks == asked.asks


class Balanced(HTMLParser):
    """Raises when a tag is closed that is not the one last opened."""

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


def test_a_master_and_two_workers_share_one_quiet_pass(url: str, tmp_path: Path) -> None:
    port = str(server_under_test.free_port())
    common = {"cwd": server_under_test.ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    record = ["--record", str(tmp_path / "seen")]
    load = ["--host", url, "--users", "4", "--spawn-rate", "100", "--run-time", "6s"]
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "2"]
    master = subprocess.Popen(
        [*LOCUST, "--master", *bind, *load, *record],
        **common,  # type: ignore[call-overload]
    )
    workers = [
        subprocess.Popen(
            [*LOCUST, "--worker", "--master-host", "127.0.0.1", "--master-port", port, *record],
            **common,  # type: ignore[call-overload]
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in (master, *workers)]
    assert master.returncode == 0, said
    assert "requests and their answers recorded" in said[0]
    assert all("requests and their answers recorded" not in text for text in said[1:])
    seen = [len(np.load(tmp_path / f"seen.{worker.pid}.npz")["start"]) for worker in workers]
    assert min(seen) > 10


def test_locust_sees_an_answer_that_is_wrong(misbehaving: Callable[[str, int], str]) -> None:
    url = misbehaving("alter", QUIET + 60)
    done = subprocess.run(
        [*LOCUST, "--host", url, "--users", "2", "--spawn-rate", "100", "--run-time", "6s", *ONE_ROW],
        cwd=server_under_test.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert WRONG in done.stdout + done.stderr


def test_users_who_wait_make_the_same_report(url: str, tmp_path: Path) -> None:
    command = ["run", "--url", url, "--users", "2", "--seconds", "2", "--out", str(tmp_path), "--slo", "p99=5s"]
    assert main(command) == 0
    result = results.read(tmp_path / "result.json")
    assert result.loop == "closed"
    assert result.requests > 20
    assert json.loads((tmp_path / "result.json").read_bytes())["generator"]["cpu"] > 0
