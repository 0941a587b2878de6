"""The report of a result: a self-contained HTML page, Markdown, JSON and a chart."""

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest import charts
from loadtest.charts import Point, Series
from loadtest.results import BINS_PER_E, MIN_MS, QUANTILES, Result, SecondSummary, Slo
from models import text_tables
from models.html_page import single_file_page
from models.text import counted

STYLE = """
.outcome { border-left: 6px solid var(--good); } .outcome.missed { border-left-color: var(--error); }
.outcome b { color: var(--good); } .outcome.missed b { color: var(--error); } .outcome ul { margin: .2rem 0 0; }
.tiles { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); margin: 1rem 0; }
.tile .quiet { display: block; line-height: 1.3; font-size: .9rem; }
.tile strong { display: block; font-size: 1.55rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: 0 0 .3rem; font-size: .85rem; color: var(--quiet); }
.keys i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .35rem; }
.report td, .report th { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.report td:first-child, .report th:first-child { text-align: left; }
.report code, .report .quiet { overflow-wrap: anywhere; } .report section { margin-top: 1rem; }
"""

OPEN, CLOSED = "since the request was due", "as a closed loop measures it"


def write(result: Result, out: Path) -> Path:
    """Write all files of a report. Returns the path of the page."""
    (out / "result.json").write_bytes(result.to_json())
    (out / "report.md").write_text(markdown(result), encoding="utf-8")
    (out / "picture.svg").write_text(picture(result), encoding="utf-8")
    path = out / "report.html"
    path.write_text(page(result), encoding="utf-8")
    return path


# Text


def title(result: Result) -> str:
    if result.saturation:
        return "Sustainable throughput"
    one = ("request per second", "requests per second") if result.loop == "open" else ("waiting user", "waiting users")
    load = counted(result.load, *one, spec="g")
    return f"{result.scenario.capitalize()}: {load}"


def outcome(result: Result) -> str:
    return f"Passed (goal: {result.slo})" if result.passed else f"Failed (goal: {result.slo})"


def headline(result: Result) -> list[tuple[str, str]]:
    """The most important figures."""
    latency = result.latency
    tiles = [
        ("correct responses per second", f"{result.throughput:,.0f}"),
        ("median latency", ms(latency["p50"])),
        ("99 % latency", ms(latency["p99"])),
        ("maximum latency", ms(latency["max"])),
        (f"errors in {counted(result.requests, 'request', spec=',')}", f"{sum(result.errors.values()):,}"),
    ]
    memory = [entry["memory"] for entry in result.server if "memory" in entry]
    if result.scenario == "soak" and memory:
        tiles.append(("memory growth during the run", f"{(memory[-1] - memory[0]) / 1e6:+,.0f} MB"))
    if cost := cpu_per_request(result):
        tiles.append(("CPU time of the server per request", f"{cost:,.0f} µs"))
    if result.saturation:
        rates = result.saturation.rates
        spread = f"{min(rates):,.0f} to {max(rates):,.0f} in {counted(len(rates), 'repeat')}"
        bound = "at least " if result.saturation.limited else ""
        tiles.insert(0, (f"sustained requests per second, {spread}", f"{bound}{result.saturation.rate:,.0f}"))
    return tiles


def cpu_per_request(result: Result) -> float | None:
    """Microseconds of CPU time of all server processes, the figure that depends least on other programs."""
    used = [entry["cpu"] for entry in result.server if "cpu" in entry and entry["time"] <= result.seconds]
    return sum(used) / len(used) / result.throughput * 1e6 if used and result.throughput else None


def ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def latency_table(result: Result) -> list[list[str]]:
    rows = (
        {CLOSED: result.closed_loop} if result.loop == "closed" else {OPEN: result.latency, CLOSED: result.closed_loop}
    )
    return [["latency", *QUANTILES], *[[name, *(ms(each[q]) for q in QUANTILES)] for name, each in rows.items()]]


def name_table(result: Result) -> list[list[str]]:
    body = [
        [name, f"{each['requests']:,.0f}", f"{each['errors']:,.0f}", ms(each["p50"]), ms(each["p99"])]
        for name, each in result.by_name.items()
    ]
    return [["model and kind", "requests", "errors", "p50", "p99"], *body]


def error_table(result: Result) -> list[list[str]]:
    return [["error", "requests"], *[[kind, f"{count:,}"] for kind, count in result.errors.items()]]


def generator_line(result: Result) -> str:
    generator = result.generator
    busy = f"used at most {generator.cpu:.0%} of a core"
    if result.loop == "closed":
        return f"The load generator {busy}."
    return (
        f"The load generator {busy}; {generator.late_share:.2%} of its requests were sent more than 10 ms late"
        f" (99 % within {generator.lag_p99_ms:.1f} ms)."
    )


def text(result: Result) -> str:
    """The report for a terminal."""
    figures = "\n".join(f"  {value:>18}  {name}" for name, value in headline(result))
    parts = [f"{title(result)}\n\n{figures}", text_tables.aligned(latency_table(result))]
    if result.errors:
        parts.append(text_tables.aligned(error_table(result)))
    parts.append(generator_line(result))
    parts.append("\n".join([outcome(result), *(f"- {reason}" for reason in result.reasons)]))
    return "\n\n".join(parts)


def markdown(result: Result) -> str:
    parts = [
        f"# {title(result)}",
        f"**{outcome(result)}**" + "".join(f"\n- {reason}" for reason in result.reasons),
        "\n".join(f"- {name}: {value}" for name, value in headline(result)),
        text_tables.markdown(latency_table(result), numbers=True),
        text_tables.markdown(name_table(result), numbers=True),
    ]
    if result.errors:
        parts.append(text_tables.markdown(error_table(result), numbers=True))
    if result.saturation:
        parts.append(text_tables.markdown(probe_table(result), numbers=True))
    parts += [generator_line(result), f"`{result.command}`", conditions(result)]
    return "\n\n".join(parts) + "\n"


def probe_table(result: Result) -> list[list[str]]:
    assert result.saturation is not None
    body = [
        [f"{p.repeat + 1}", f"{p.rate:,.0f}", "-" if p.p99 is None else ms(p.p99), "yes" if p.passed else "no"]
        for p in result.saturation.probes
    ]
    return [["repeat", "requests per second", "p99", "passed"], *body]


def conditions(result: Result) -> str:
    models = ", ".join(f"{m['name']}:{m['version']} ({m['engine']})" for m in result.models)
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    mix = ", ".join(f"{name} {value}" for name, value in result.mix.items() if value not in ((), []))
    return f"{result.started}, {result.url}; {models}; mix: {mix}; {machine}"


# Charts


def over_time(seconds: Sequence[SecondSummary], name: str) -> list[Point]:
    values = [(second.time, getattr(second, name)) for second in seconds]
    return [(time, float(value)) for time, value in values if value is not None]


def throughput(result: Result) -> str:
    seconds = result.timeline[: math.ceil(result.seconds)]
    series = [Series("answered", over_time(seconds, "answered"), "good", filled=True)]
    if result.loop == "open":
        series.append(Series("due", over_time(seconds, "due"), "quiet", dashed=True))
    if result.errors:
        series.append(Series("errors", over_time(seconds, "errors"), "error"))
    return charts.lines(series, label="Requests due and answered in each second", unit="per second")


def latency_over_time(result: Result) -> str:
    series = [
        Series("p99", over_time(result.timeline, "p99"), "accent"),
        Series("p50", over_time(result.timeline, "p50"), "good"),
    ]
    return charts.lines(
        series, label="Latency of the requests due in each second", unit="ms", log_y=True, goal=goal(result)
    )


def goal(result: Result) -> float | None:
    return Slo.parse(result.slo).latencies.get("p99")


def distribution(result: Result) -> str:
    """Latency percentiles, with a logarithmic axis that expands the slow responses."""
    colours = {"open": "accent", "closed": "up"}
    series = [
        Series(name, [(-math.log10(1 - share), max(value, MIN_MS)) for share, value in points], colours[name])
        for name, points in result.curve.items()
    ]
    highest = max((x for one in series for x, _ in one.points), default=1.0)
    shares = [(0.0, "0"), (0.301, "50"), (1.0, "90"), (2.0, "99"), (3.0, "99.9"), (4.0, "99.99"), (5.0, "99.999")]
    ticks = [(number, name) for number, name in shares if number <= highest]
    return charts.lines(
        series,
        label="Latency percentiles",
        unit="ms",
        x_unit="% of the responses",
        log_y=True,
        x_ticks=ticks,
    )


def histogram(result: Result) -> str:
    bins_per_bar = BINS_PER_E // 5  # five bars per factor of e
    counts: dict[int, int] = {}
    for block in result.blocks:
        for number, count in block.latencies.items():
            counts[number // bins_per_bar] = counts.get(number // bins_per_bar, 0) + count
    if not counts:
        return charts.empty("Number of responses per latency")
    ends = [MIN_MS * math.exp(number * bins_per_bar / BINS_PER_E) for number in range(min(counts), max(counts) + 2)]
    heights = [
        (low, high, float(counts.get(number, 0)))
        for number, (low, high) in enumerate(itertools.pairwise(ends), start=min(counts))
    ]
    return charts.bars(heights, label="Number of responses per latency", unit="requests", x_unit="ms", colour="accent")


def saturation(result: Result) -> str:
    assert result.saturation is not None
    good = [(p.rate, p.p99) for p in result.saturation.probes if p.passed and p.p99 is not None]
    bad = [(p.rate, p.p99) for p in result.saturation.probes if not p.passed and p.p99 is not None]
    return charts.scatter(
        good,
        bad,
        label="99th percentile of the latency at each rate",
        unit="ms",
        x_unit="requests per second",
        goal=goal(result),
        mark=result.saturation.rate,
    )


def picture(result: Result) -> str:
    """The chart for a README: the probes of `saturate`, or the latencies of an open and a closed loop."""
    if result.saturation:
        name = f"p99 latency by rate: {result.saturation.rate:,.0f} requests per second passed"
        return charts.standalone(saturation(result), name, [("passed", "good"), ("failed", "error")])
    keys = [(OPEN, "accent"), (CLOSED, "up")] if result.loop == "open" else [(CLOSED, "up")]
    return charts.standalone(distribution(result), "Latency percentiles", keys)


def server_charts(result: Result) -> list[str]:
    """Charts of the known figures that the server itself reports."""
    wanted = {
        "cpu": ("CPU of the server", "cores", 1.0, "accent"),
        "memory": ("Memory of the server", "MB", 1e-6, "quiet"),
        "batch_rows": ("Rows per batch, on average", "rows", 1.0, "good"),
        "queue_ms": ("Waiting time for the engine, on average", "ms", 1.0, "up"),
        "queue_rows": ("Waiting rows", "rows", 1.0, "up"),
        "engine_ms": ("Duration of an engine call", "ms", 1.0, "quiet"),
    }
    found = []
    for key, (name, unit, factor, colour) in wanted.items():
        points = [(entry["time"], entry[key] * factor) for entry in result.server if key in entry]
        if points:
            drawn = charts.lines([Series(name, points, colour, filled=True)], label=name, unit=unit)
            found.append(card(name, "", drawn))
    return found


# The page


def page(result: Result) -> str:
    cards = []
    if result.saturation:
        keys = legend({"passed": "good", "failed": "error"})
        cards.append(card("99th percentile of the latency at each rate", keys, saturation(result)))
    cards += [
        card("Requests per second", legend(throughput_keys(result)), throughput(result)),
        card(
            "Latency over time", legend({"99 %": "accent", "50 %": "good", "goal": "error"}), latency_over_time(result)
        ),
        card("Latency percentiles", legend(curve_keys(result)), distribution(result)),
        card("Number of responses per latency", "", histogram(result)),
    ]
    tiles = "".join(
        f'<div class="panel tile"><strong>{html.escape(value)}</strong>'
        f'<span class="quiet">{html.escape(name)}</span></div>'
        for name, value in headline(result)
    )
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in result.reasons)
    cards_of_server = server_charts(result)
    server = (
        f'<section><h2>Server</h2></section><div class="charts">{"".join(cards_of_server)}</div>'
        if cards_of_server
        else ""
    )
    steady = (
        f'<p class="quiet">Other charts: {counted(result.load, "request", spec="g")} per second, '
        "70 % of the sustainable rate.</p>"
        if result.saturation
        else ""
    )
    errors = table_card("Errors by kind", error_table(result)) if result.errors else ""
    probes = table_card("All probes", probe_table(result)) if result.saturation else ""
    content = f"""<div class="report"><h1>{html.escape(title(result))}</h1>
<p class="quiet">{html.escape(conditions(result))}</p>
<div class="panel outcome{"" if result.passed else " missed"}"><b>{html.escape(outcome(result))}</b><ul>{reasons}</ul>
<span class="quiet">{html.escape(generator_line(result))}</span></div>
<div class="tiles">{tiles}</div>{steady}<div class="charts">{"".join(cards)}</div>
{table_card("Latency", latency_table(result))}{errors}{table_card("By model and kind of request", name_table(result))}
{server}{probes}<section class="quiet">{explanation(result)}<p><code>{html.escape(result.command)}</code></p></section>
</div>"""
    return single_file_page(title(result), content, STYLE + charts.STYLE)


def explanation(result: Result) -> str:
    if result.loop == "closed":
        return (
            "<p>Closed loop: each user waits for a response before the next request, so a server that stalls gets fewer"
            " requests, and the figures hardly show the stall. Use --rate for figures that show it.</p>"
        )
    return (
        "<p>Open loop: requests are due at random times (Poisson) whether or not responses arrive, and latency is"
        " measured from the time at which a request was due. The second figure is what a closed loop would have"
        " measured from the same responses: it leaves out the requests that waiting users would not have sent.</p>"
    )


def throughput_keys(result: Result) -> Mapping[str, str]:
    keys = {"answered": "good"}
    if result.loop == "open":
        keys["due"] = "quiet"
    if result.errors:
        keys["errors"] = "error"
    return keys


def curve_keys(result: Result) -> Mapping[str, str]:
    return {OPEN: "accent", CLOSED: "up"} if result.loop == "open" else {CLOSED: "up"}


def legend(keys: Mapping[str, str]) -> str:
    spans = "".join(
        f'<span><i style="background:var(--{colour})"></i>{html.escape(name)}</span>' for name, colour in keys.items()
    )
    return f'<div class="keys">{spans}</div>'


def card(name: str, keys: str, drawn: str) -> str:
    return f'<div class="panel"><h2>{html.escape(name)}</h2>{keys}{drawn}</div>'


def table_card(name: str, table: Sequence[Sequence[str]]) -> str:
    head, *body = table
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    return (
        f'<section class="panel"><h2>{html.escape(name)}</h2><div class="scroll" tabindex="0">'
        f"<table><thead><tr>{cells}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )
