"""The servers of two checkouts are measured alternately, and the interval of their ratios is statistically correct."""

import contextlib
import dataclasses
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from loadtest import __main__ as command
from loadtest.bench import checkouts, cpu_affinity, fixed_count_client, paired_ratios, process_usage, server_scenarios
from loadtest.bench.checkouts import PairedRound, ServerFigures
from loadtest.bench.clients import JSON
from loadtest.bench.server_scenarios import SCENARIOS
from models import text_tables

BODY = b'{"rows": []}'


def test_the_interval_of_a_median_follows_from_the_binomial_distribution() -> None:
    # By hand: C(15, 0) + C(15, 1) + C(15, 2) + C(15, 3) = 1 + 15 + 105 + 455 = 576; plus C(15, 4) = 1,365 is 1,941.
    assert paired_ratios.coverage(15, 4) == 1 - 2 * 576 / 32768  # 96.5 %
    assert paired_ratios.coverage(15, 5) == 1 - 2 * 1941 / 32768  # 88.2 %
    assert paired_ratios.rank_of(15) == 4
    assert (paired_ratios.rank_of(6), paired_ratios.coverage(6, 1)) == (1, 1 - 2 / 64)
    assert (paired_ratios.rank_of(5), paired_ratios.coverage(5, 1)) == (1, 1 - 2 / 32)  # 93.8 %, the widest interval
    assert (paired_ratios.rank_of(1), paired_ratios.coverage(1, 1)) == (1, 0)


def test_ratios_are_computed_for_each_pair() -> None:
    new = [1.07, 2.10, 2.97, 4.04, 5.0, 5.94, 7.14, 8.16]
    # The ratios: 1.07, 1.05, 0.99, 1.01, 1.00, 0.99, 1.02, 1.02. Without the smallest and the largest of the 8 the
    # interval would have only 1 - 2 (C(8, 0) + C(8, 1)) / 2^8 = 93.0 %, so it includes them.
    found = paired_ratios.ratio([1, 2, 3, 4, 5, 6, 7, 8], new)
    assert found == pytest.approx((1.015, 0.99, 1.07, 1, 1 - 2 / 256))


def test_ratios_depend_on_the_pairing_and_not_on_the_order_of_rounds() -> None:
    assert paired_ratios.ratio([1, 10, 100], [1.1, 11, 110]).median == pytest.approx(1.1)
    assert paired_ratios.ratio([1, 10, 100], [110, 11, 1.1]).median == pytest.approx(1.1)
    assert paired_ratios.ratio([1, 10, 100], [11, 110, 1.1]).median == pytest.approx(11)


def measured(cpu_us: float, errors: int = 0) -> ServerFigures:
    return ServerFigures(cpu_us, 2 * cpu_us, 1.5, 100, 110, 200, errors)


def test_rounds_are_reported_as_a_table_with_ratios_and_intervals() -> None:
    rounds = [
        PairedRound(measured(50), measured(51)),
        PairedRound(measured(100, 1), measured(97)),
        PairedRound(measured(40), measured(40)),
    ]
    lines = checkouts.table(rounds)
    assert lines[1] == ["CPU µs / request", "50.0", "51.0", "1.000", "0.970 to 1.020"]
    assert lines[3] == ["ready s", "1.50", "1.50", "1.000", "1.000 to 1.000"]
    assert lines[-1] == ["errors", "1", "0", "", ""]
    assert len(text_tables.aligned(lines).splitlines()) == len(lines)
    text = checkouts.explanation(rounds)
    assert "rank 1 to that of rank 3 of 3 (order statistics, 75.0 %; 95 % needs at least 6 rounds)" in text
    assert text.endswith("CPU ratios by round: 1.020 0.970 1.000")
    assert "order statistics, 96.5 %)" in checkouts.explanation(rounds * 5)


def test_processor_time_and_peak_memory_of_a_process_are_measured() -> None:
    process = psutil.Process()
    times = process.cpu_times()
    assert process_usage.cpu_seconds(process) == pytest.approx(times.user + times.system, abs=0.1)
    assert process_usage.peak_mb(process) >= 0.99 * process.memory_info().rss / 1e6


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not let a process choose its cores")
def test_client_has_a_separate_core_during_a_measurement() -> None:
    before = os.sched_getaffinity(0)
    client, others = cpu_affinity.client_and_server_cores()
    assert client | others in (before, set())
    with cpu_affinity.pinned_to(client):
        assert os.sched_getaffinity(0) == (client or before)
        with cpu_affinity.pinned_to(others):
            assert os.sched_getaffinity(0) == (others or before)
    assert os.sched_getaffinity(0) == before


class PathStatusHandler(BaseHTTPRequestHandler):
    """Answers /right with 200 and other paths with 404, and keeps connections open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        content = b"x" * 300_000  # arrives in pieces
        self.send_response(200 if self.path == "/right" else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def large_response_url() -> Iterator[str]:
    """The URL of a server whose responses are large."""
    with ThreadingHTTPServer(("127.0.0.1", 0), PathStatusHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "error_rate"), [("/right", 0), ("/wrong", 1)])
def test_the_client_sends_a_fixed_number_of_requests_and_counts_errors(
    large_response_url: str, path: str, error_rate: int
) -> None:
    with contextlib.closing(
        fixed_count_client.FixedCountClient(large_response_url + path, BODY, JSON, connections=3)
    ) as client:
        for requests in (1, 3, 7):
            assert client.send(requests) == requests * error_rate


def test_idle_connections_that_the_server_closed_are_reopened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with contextlib.closing(fixed_count_client.FixedCountClient(url, BODY, JSON, connections=2)) as client:
            accepted = [listening.accept()[0] for _ in range(2)]
            accepted[0].close()
            client.reconnect()
            accepted[0], _ = listening.accept()
            client.reconnect()
            listening.setblocking(False)
            with pytest.raises(BlockingIOError):  # open connections stay open
                listening.accept()
            for connection in accepted:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            assert client.send(2) == 0
            for connection in accepted:
                connection.close()


def test_a_connection_that_is_closed_under_load_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def close_after_a_request() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-")

        thread = threading.Thread(target=close_after_a_request)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with (
            contextlib.closing(fixed_count_client.FixedCountClient(url, BODY, JSON, connections=1)) as client,
            pytest.raises(ConnectionError, match="closed a connection"),
        ):
            client.send(1)
        thread.join()


def test_a_checkout_is_compared_with_itself(
    tmp_path: Path, store_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = (server_scenarios.tabserve_server(server_scenarios.NUMPY, "small"),)
    monkeypatch.setitem(SCENARIOS, "row", dataclasses.replace(SCENARIOS["row"], model="small", contenders=small))
    monkeypatch.setattr(checkouts, "train", lambda home, models, checkout: store_home / "models")
    monkeypatch.setattr(checkouts, "TURNS", 4)
    monkeypatch.setattr(checkouts, "WARM_UP_TURNS", 2)
    file = tmp_path / "table.md"
    arguments = ["--beside", str(server_scenarios.ROOT), "--rounds", "1", "--seconds", "1", "--markdown", str(file)]
    assert command.main(["bench", "servers", "row", *arguments]) == 0
    out, err = capsys.readouterr()
    cells = {name: values for name, *values in (re.split(r"\s{2,}", line) for line in out.splitlines())}
    old, new = map(float, cells["CPU µs / request"][:2])
    assert old > 0
    assert new > 0
    assert cells["errors"] == ["0", "0"]
    assert "different responses" not in err
    assert "| CPU µs / request |" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beside", "{empty}"], "is not a checkout"),
        (["--beside", "{empty}/missing"], "is not a checkout"),
        (["--beside", ".", "--picture", "x.svg"], "--picture cannot be combined with --beside"),
    ],
)
def test_usage_error_of_a_bench_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(empty=tmp_path) for argument in arguments]
    assert command.main(["bench", "servers", *filled]) == 2
    assert message in capsys.readouterr().err


def test_every_scenario_has_servers_to_compare() -> None:
    for scenario in server_scenarios.SCENARIOS.values():
        found = checkouts.compared_servers(scenario)
        assert {contender.name for contender in found} == set(scenario.compared)
        for contender in found:
            assert contender.model
            started = checkouts.contender_in_checkout("old", contender, Path("."))
            assert started.settings == contender.settings
            assert started.folder == Path.cwd()


def test_latency_needs_another_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["bench", "latency", "--beside", str(tmp_path)]) == 2
    assert "is not a checkout" in capsys.readouterr().err
