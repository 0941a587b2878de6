"""The Live view: the counters of all workers, their changes over time, and drift."""

import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from prometheus_client.parser import text_string_to_metric_families

from tests.browser.conftest import KeyedServer
from tests.browser.test_versions import sign_in
from tests.browser.written_numbers import format_number, format_percent
from tests.service.conftest import Server

REQUESTS, ROWS = 60, 10


@pytest.fixture(scope="module")
def busy_server(start_server: Callable[..., Server]) -> Server:
    """A server whose two workers have answered requests: rows with incomes in another unit, and an invalid row."""
    server = start_server()
    row = example(server)
    for number in range(REQUESTS):  # a new connection for each request, so that both workers receive requests
        rows = [row | {"MedInc": 10_000.0 + number + place} for place in range(ROWS)]
        httpx.post(f"{server.url}/predict/housing", json={"rows": rows}, timeout=60).raise_for_status()
    assert httpx.post(f"{server.url}/predict/housing", json={"rows": [{}]}, timeout=60).status_code == 422
    return server


def example(server: Server) -> dict[str, Any]:
    row: dict[str, Any] = httpx.get(f"{server.url}/models/housing", timeout=60).json()["examples"][0]["row"]
    return row


def metric_total(server: Server, metric: str) -> float:
    text = httpx.get(f"{server.url}/metrics", timeout=60).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == metric)


def test_counters_include_all_workers(busy_server: Server, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{busy_server.url}/#/live/housing")
    expect(page.locator('[data-total="requests"]')).to_have_text(format_number(REQUESTS + 1))
    expect(page.locator('[data-total="rows"]')).to_have_text(format_number(REQUESTS * ROWS + 1))
    expect(page.locator('[data-total="refused"]')).to_have_text("1")
    assert metric_total(busy_server, "tabserve_requests_total") == REQUESTS + 1
    expect(page.locator("[data-worker]")).to_have_count(2)


def test_the_request_rate_rises_during_requests_and_returns_to_zero(
    busy_server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{busy_server.url}/#/live/housing")
    rate = page.locator('[data-line="requests"]')
    expect(rate).to_have_text("0")
    row = example(busy_server)
    for _ in range(20):
        httpx.post(f"{busy_server.url}/predict/housing", json={"rows": [row]}, timeout=60).raise_for_status()
    expect(rate).not_to_have_text("0")
    expect(rate).to_have_text("0")


def test_the_live_view_recovers_after_a_temporary_error(busy_server: Server, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{busy_server.url}/#/live/housing")
    expect(page.locator('[data-total="requests"]')).to_be_visible()
    refusal = {"title": "Not ready", "detail": "the models are loading"}
    page.route("**/metrics", lambda route: route.fulfill(status=503, json=refusal))
    expect(page.get_by_text("the models are loading")).to_be_visible()
    page.unroute("**/metrics")
    expect(page.get_by_text("the models are loading")).to_have_count(0)


def test_the_drift_panel_equals_the_drift_report_of_the_api(
    busy_server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{busy_server.url}/#/live/housing")
    panel = page.get_by_role("region", name="Drift of housing")
    panel.get_by_role("button", name="MedInc").click()
    expect(panel.locator('[data-status="alarm"]').first).to_be_visible()
    report = httpx.get(f"{busy_server.url}/drift?model=housing&histograms=true", timeout=60).json()
    assert report["status"] == "alarm"
    income = next(column for column in report["columns"] if column["name"] == "MedInc")
    row = panel.get_by_role("row", name="MedInc").first
    assert row.locator("td").all_text_contents()[1:] == [
        format_number(income["psi"]),
        format_percent(income["missing"]["current"]),
        format_percent(income["outside"]),
    ]
    bars = panel.get_by_role("table", name="Rows by MedInc").locator("tbody tr")
    cells = [cell for cell in income["histogram"] if "group" not in cell or cell["reference"] or cell["current"]]
    assert bars.locator(".bar-value").all_text_contents() == [
        format_percent(cell[sample]) for cell in cells for sample in ("reference", "current")
    ]


def test_refused_rows_are_shown_by_column(busy_server: Server, open_page: Callable[..., Page]) -> None:
    page = open_page("about:blank")
    errors = {"": 7, "MedInc": 1200, **{f"column {number}": 1 for number in range(9)}}
    report = httpx.get(f"{busy_server.url}/drift?model=housing&histograms=true", timeout=60).json()
    changed = report | {"refused": {"rows": 1207, "errors": errors}}
    page.route("**/drift?*", lambda route: route.fulfill(json=changed))
    page.goto(f"{busy_server.url}/#/live/housing")
    refused = page.get_by_role("region", name="Drift of housing").locator(".refused")
    expect(refused).to_contain_text("1,207 rows refused. Errors by column: MedInc 1,200, no known column 7, column 0 1")
    expect(refused).to_contain_text("and 3 more columns.")


def test_a_key_for_one_model_can_read_its_drift(keyed: KeyedServer, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{keyed.server.url}/#/live")
    sign_in(page, keyed.keys.texts["penguins"])
    expect(page.get_by_role("region", name="Drift of penguins")).to_be_visible()
    expect(page.get_by_text("The counters of the server are not shown.")).to_be_visible()


def test_a_key_without_the_metrics_scope_gets_an_error_text(keyed: KeyedServer, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{keyed.server.url}/#/live")
    sign_in(page, keyed.keys.texts["predict"])
    expect(page.get_by_text("This is not allowed.")).to_be_visible()
    sign_in(page, keyed.keys.texts["metrics"])
    expect(page.locator('[data-total="requests"]')).to_be_visible()


def module_url(page: Page, name: str) -> str:
    """The URL of a JavaScript module of the page."""
    script = page.locator("script[type=module]").get_attribute("src")
    assert script
    return f"{page.url.partition('#')[0]}{script.rpartition('/')[0]}/{name}"


def test_quantiles_of_histogram_buckets_equal_those_of_prometheus(
    server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{server.url}/")
    cases: list[tuple[list[tuple[float, int]], float, float | None]] = [
        ([(0.001, 0), (0.01, 10), (0.1, 20)], 0.5, 0.01),
        ([(0.001, 0), (0.01, 10), (0.1, 20)], 0.75, 0.055),
        ([(0.001, 4)], 0.5, 0.0005),
        ([(0.001, 0), (math.inf, 3)], 0.5, 0.001),
        ([(0.001, 0), (math.inf, 0)], 0.5, None),
    ]
    for buckets, share, expected in cases:
        sent = [[None if math.isinf(limit) else limit, count] for limit, count in buckets]
        script = """async ([address, buckets, share]) => {
            const { quantile } = await import(address);
            return quantile(buckets.map(([limit, count]) => [limit ?? Infinity, count]), share);
        }"""
        found = page.evaluate(script, [module_url(page, "live/history.js"), sent, share])
        assert found == (None if expected is None else pytest.approx(expected))


def test_metrics_with_unusual_labels_are_parsed(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{server.url}/")
    text = '# HELP a b\na_total{x="1\\"2\\\\n\\n,}",y="{z=\\"1\\"}"} 3.0\nb 1\na_total{x="+"} +Inf\na_total 2e-05\n'
    script = "async ([address, text]) => (await import(address)).parseMetrics(text, new Set(['a_total']))"
    found = page.evaluate(script, [module_url(page, "live/metrics_text.js"), text])
    assert found == [
        {"name": "a_total", "labels": {"x": '1"2\\n\n,}', "y": '{z="1"}'}, "value": 3},
        {"name": "a_total", "labels": {"x": "+"}, "value": math.inf},
        {"name": "a_total", "labels": {}, "value": 2e-05},
    ]


def test_rates_are_computed_over_time_and_restart_with_the_worker(
    server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{server.url}/")
    script = """async ([history, counts]) => {
        const { History } = await import(history);
        const { readCounts } = await import(counts);
        const kept = new History();
        const requests = (worker, ok, failed) => readCounts(
            `tabserve_requests_total{model="m",version="1",protocol="json",status="200"} ${ok}\\n` +
            `tabserve_requests_total{model="m",version="1",protocol="json",status="500"} ${failed}\\n` +
            `process_cpu_seconds_total{worker="${worker}"} ${ok / 100}\\n`);
        kept.add(100, requests(1, 10, 0));
        kept.add(102, requests(1, 30, 10));
        const points = kept.points();
        const share = kept.processorShares().get("1");
        kept.add(104, requests(2, 5, 0));
        const afterRestart = kept.points().length;
        kept.add(106, requests(2, 5, 0));
        for (let time = 108; time < 500; time += 2) kept.add(time, requests(2, 5, 0));
        return { points, share, afterRestart, moments: kept.moments.length };
    }"""
    found = page.evaluate(script, [module_url(page, "live/history.js"), module_url(page, "live/counts.js")])
    (point,) = found["points"]
    assert (point["requests"], point["failed"], point["time"]) == (15, 5, 102)
    assert found["share"] == pytest.approx(0.1)
    assert (found["afterRestart"], found["moments"]) == (0, 151)
