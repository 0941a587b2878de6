"""The parts of a load test that need no server."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest import compare, random_rows, report, response_check, results, saturate, server_monitor, server_under_test
from loadtest.request_records import RequestRecords
from loadtest.results import Result, Slo
from loadtest.saturate import RateSearch
from loadtest.scenarios import SCENARIOS, arrivals
from models.feature import Feature, TrainingRange
from models.row_warnings import find_warnings
from models.rows import validate_rows
from models.schema import FeatureSchema

DAYS = TrainingRange(min="04.01.1999", max="31.05.2024")
TIMES = TrainingRange(min="1999-01-04T10:00:00", max="2024-05-31T12:00:00")
ODD = FeatureSchema(
    name="odd",
    task="regression",
    target="y",
    features=[
        Feature(
            name="whole", kind="number", nullable=False, minimum=18, seen=TrainingRange(min=17, max=90), example=38
        ),
        Feature(name="tiny", kind="number", nullable=True, seen=TrainingRange(min=1e-9, max=1.1e-9)),
        Feature(name="level", kind="category", nullable=False, unseen="error", seen=TrainingRange(levels=["a", "b"])),
        Feature(
            name="hashed", kind="category", nullable=False, seen=TrainingRange(hashed=64, count=20_000), example="x"
        ),
        Feature(name="day", kind="date", nullable=False, date_format="%d.%m.%Y", seen=DAYS),
        Feature(name="time", kind="date", nullable=False, seen=TIMES),
        Feature(name="flag", kind="boolean", nullable=False),
    ],
)
EXAMPLE = {
    "whole": 20,
    "tiny": None,
    "level": "b",
    "hashed": "y",
    "day": "05.01.1999",
    "time": "1999-01-05",
    "flag": True,
}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_generated_rows_are_valid_or_invalid_as_intended(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row, bad = random_rows.valid_row(ODD, [EXAMPLE], rng), random_rows.invalid_row(ODD, [EXAMPLE], rng)
    assert not validate_rows(ODD, [json.loads(json.dumps(row))]).errors
    assert validate_rows(ODD, [json.loads(json.dumps(bad))]).errors
    assert not find_warnings(ODD, ODD.frames.from_rows([row]))


def response(*predictions: Any, **more: Any) -> bytes:
    return json.dumps({"model": "m", "version": "1", "predictions": predictions, **more}).encode()


LIKELY = {"label": "a", "probabilities": {"a": 0.7, "b": 0.3}}


@pytest.mark.parametrize(
    ("actual", "right", "same"),
    [
        (response({"value": 2.0}), response({"value": 2.000019}), True),
        (response({"value": 2.0}), response({"value": 2.00003}), False),
        (response({"value": 1e-7}), response({"value": 0.0}), True),  # small compared with the spread of the target
        (response({"value": float("nan")}), response({"value": float("nan")}), True),  # identical bytes
        (response({"value": float("nan")}), response({"value": 2.0}), False),
        (response({"value": 2.0}, {"value": 1.0}), response({"value": 2.0}), False),
        (response({"value": 2.0}), response({"value": 2.0}, version="2"), False),
        (response({"value": 2.0, "warnings": []}), response({"value": 2.0}), False),
        (response(None), response(None, errors=[]), False),
        (response(LIKELY), response({**LIKELY, "probabilities": {"a": 0.700001, "b": 0.299999}}), True),
        (response({**LIKELY, "label": "b"}), response(LIKELY), False),
        (
            response({"label": "a", "probabilities": {"a": 0.500001, "b": 0.499999}}),
            response({"label": "b", "probabilities": {"a": 0.499999, "b": 0.500001}}),
            True,
        ),
        (b"[]", response({"value": 2.0}), False),
        (b"no JSON", response({"value": 2.0}), False),
        (b'{"status": 422, "detail": "x"}', b'{"detail": "x", "status": 422}', True),
    ],
)
def test_predictions_are_equal_within_the_tolerance(actual: bytes, right: bytes, same: bool) -> None:
    assert response_check.equal_bodies(actual, right, scale=1.0) == same


def test_the_spread_of_the_target_follows_from_the_metrics() -> None:
    described = {"task": "regression", "metrics": {"network": {"rmse": 0.5, "r2": 0.75}}}
    assert response_check.scale_of(described, []) == pytest.approx(1.0)
    assert response_check.scale_of({"task": "binary"}, []) == 1.0
    assert response_check.scale_of({"task": "regression"}, [response({"value": 1.0}, {"value": 3.0})]) == 1.0


@pytest.mark.parametrize("name", SCENARIOS)
def test_number_of_due_requests_follows_from_the_rate(name: str) -> None:
    scenario = SCENARIOS[name]
    due = arrivals(scenario, 1000, 10, np.random.default_rng(0))
    assert np.all(np.diff(due) >= 0)
    start = 0.0
    for end, level in scenario.levels(10):
        here = int(((due >= start) & (due < end)).sum())
        assert here == pytest.approx(level * 1000 * (end - start), rel=0.1)
        start = end
    gaps = np.diff(arrivals(SCENARIOS["steady"], 1000, 10, np.random.default_rng(0)))
    # Gaps between independent requests are exponential, with a deviation equal to the mean.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)


def records(latency: Any, seconds: float = 10.0) -> RequestRecords:
    due = np.linspace(0, seconds, len(latency), endpoint=False)
    zeros = np.zeros(len(latency), dtype=np.int32)
    return RequestRecords(
        due, due, due, due + latency, zeros, zeros, zeros + 1, ["good"], ["m, one row"], [(10.0, 1.0)], seconds
    )


def result(latency: Any) -> Result:
    return Result(
        command="", started="", url="", machine={"cores": "2"}, scenario="steady", loop="open", load=100.0, mix={},
        models=[], slo="p99=50ms,errors=0.1%", **results.figures(records(latency), "open"),
    )  # fmt: skip


def test_closed_loop_hides_a_stall() -> None:
    latency = np.full(2000, 0.002)  # 200 a second
    latency[1000:1100] = np.linspace(
        0.5, 0.005, 100
    )  # a stall of half a second: requests that were due during the stall waited until it ended
    seen = records(latency)
    assert results.quantiles(seen.latency)["p99"] > 300
    assert results.quantiles(seen.closed_loop())["p99"] < 10


def test_compare_reports_better_worse_or_no_difference() -> None:
    rng = np.random.default_rng(0)
    before, again = (result(rng.lognormal(-6, 0.4, 4000)) for _ in range(2))
    slower = result(rng.lognormal(-6, 0.4, 4000) * 1.5)
    changes = {c.name: c.change for c in compare.compare(before, again, rng)}
    assert set(changes.values()) == {"no difference"}
    for a, b, word in ((before, slower, "worse"), (slower, before, "better")):
        changes = {c.name: c.change for c in compare.compare(a, b, rng)}
        assert changes["p50, ms"] == changes["p95, ms"] == word
        assert changes["responses per second"] == "no difference"
    p50 = next(c for c in compare.compare(before, slower, rng) if c.name == "p50, ms")
    assert p50.low < 1.5 * 1.02
    assert p50.high > 1.5 * 0.98


def test_result_file_is_read_and_other_files_are_refused(tmp_path: Any) -> None:
    one = result(np.full(100, 0.001))
    path = report.write(one, tmp_path)
    assert path.name == "report.html"
    assert results.read(tmp_path / "result.json") == one
    (tmp_path / "other.json").write_text('{"format": 1}')
    with pytest.raises(results.ResultError, match="is not the result of a load test"):
        results.read(tmp_path / "other.json")
    (tmp_path / "text.json").write_text("no JSON")
    with pytest.raises(results.ResultError, match="is not the result of a load test"):
        results.read(tmp_path / "text.json")
    with pytest.raises(results.ResultError, match="No such file"):
        results.read(tmp_path / "none.json")


def test_a_result_of_format_1_can_be_read(tmp_path: Any) -> None:
    one = result(np.full(100, 0.001))
    one.server = [{"time": 1.0, "cpu": 0.5}]
    old = json.loads(one.to_json())
    names = {"errors": "faults", "time": "moment", "late_share": "missed"}
    for entry in [*old["timeline"], *old["blocks"], *old["server"], *old["by_name"].values(), old["generator"]]:
        for new_name in entry.keys() & names.keys():
            entry[names[new_name]] = entry.pop(new_name)
    assert "faults" in old["timeline"][0]
    (tmp_path / "old.json").write_text(json.dumps({**old, "format": 1}))
    assert results.read(tmp_path / "old.json") == one


class ServerWithLimit(RateSearch):
    """A rate search without a server: probes succeed up to a given rate."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.rates: list[float] = []
        self.probes = []

    def probe(self, repeat: int, rate: float) -> bool:
        self.rates.append(rate)
        return rate <= self.limit


@pytest.mark.parametrize("limit", [40, 130, 5000])
def test_the_search_finds_the_highest_rate_within_5_percent(limit: float) -> None:
    search = ServerWithLimit(limit)
    found = search.repeats(2)
    assert all(limit / saturate.PRECISION <= rate <= limit for rate in found.rates)
    assert search.rates[0] == saturate.FIRST_RATE
    failed = [rate for rate in search.rates if rate > limit]
    assert len(failed) == 2 * len(set(failed))  # each failure is repeated


@pytest.mark.parametrize("text", ["p98=1ms", "p99=50", "errors=1", "p99=-1ms", "p99=nanms", "what"])
def test_invalid_goal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid goal|is not a number|could not convert"):
        Slo.parse(text)


def test_failures_name_the_missed_goals() -> None:
    slo = Slo.parse("p99=0.05s,errors=0.1%")
    assert slo.failures({"p99": 50.0}, 1, 1000) == []
    assert slo.failures({"p99": 51.0}, 2, 1000) == [
        "p99 is 51.0 ms, more than 50 ms",
        "0.20% of the requests failed, more than 0.10%",
    ]


def test_page_of_metrics_is_converted_to_rates_and_means() -> None:
    page = (
        "# TYPE tabserve_batch_rows histogram\n"
        'tabserve_batch_rows_bucket{model="a",le="+Inf"} 4\n'
        'tabserve_batch_rows_count{model="a"} 4\ntabserve_batch_rows_sum{model="a"} 10\n'
        "# TYPE tabserve_queue_rows gauge\n"
        'tabserve_queue_rows{model="a"} 2\ntabserve_queue_rows{model="b"} 3\n# TYPE other gauge\nother 1\n'
    )
    totals = server_monitor.sums(page)
    assert totals == {"batch_rows_count": 4, "batch_rows_sum": 10, "queue_rows": 5}
    seen = server_monitor.changes({"time": 0, "batch_rows_count": 2, "batch_rows_sum": 4}, totals)
    assert seen == {"batch_rows": 3, "queue_rows": 5}


def test_only_the_locustfile_patches_the_standard_library() -> None:
    program = (
        "import sys, loadtest.__main__, loadtest.load_run, loadtest.saturate, loadtest.compare\n"
        "assert not {'gevent', 'locust'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=server_under_test.ROOT, check=True, timeout=300)
