"""A result to look at: one HTML page that needs nothing else, Markdown, JSON, and a picture."""

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest import charts, table_format
from loadtest.charts import Point, Series
from loadtest.results import FINENESS, LEAST_MS, QUANTILES, Result, SecondSummary, Slo

STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: clamp(14px, 3vw, 36px); }
h1 { font-size: clamp(1.4rem, 4vw, 2rem); margin: 0 0 .2rem; line-height: 1.2; }
h2 { font-size: 1rem; margin: 0 0 .1rem; }
p { margin: .2rem 0 .6rem; }
.quiet { color: var(--quiet); font-size: .9rem; overflow-wrap: anywhere; }
.verdict { border-left: 6px solid var(--good); background: var(--card); border-radius: 8px; }
.verdict { padding: .8rem 1rem; margin: 1rem 0; }
.verdict.missed { border-color: var(--bad); }
.verdict b { color: var(--good); } .verdict.missed b { color: var(--bad); }
.verdict ul { margin: .2rem 0 0; padding-left: 1.2rem; }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(135px, 1fr)); margin: 1rem 0; }
.tile, .card { background: var(--card); border-radius: 10px; padding: .8rem 1rem; }
.tile .quiet { display: block; line-height: 1.3; }
.tile strong { display: block; font-size: 1.55rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.grid2 { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .1rem 0 .3rem; }
.keys { font-size: .85rem; color: var(--quiet); }
.keys i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--quiet); font-weight: 500; }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
section { margin-top: 14px; }
"""

OPEN, CLOSED = "from when it was due", "as waiting users see it"


def write(result: Result, out: Path) -> Path:
    """All files of a report; the path of the page."""
    (out / "result.json").write_bytes(result.to_json())
    (out / "report.md").write_text(markdown(result), encoding="utf-8")
    (out / "picture.svg").write_text(picture(result), encoding="utf-8")
    path = out / "report.html"
    path.write_text(page(result), encoding="utf-8")
    return path


# Words


def title(result: Result) -> str:
    if result.saturation:
        return "How much the server bears"
    load = f"{result.load:g} requests a second" if result.loop == "open" else f"{result.load:g} users who wait"
    return f"{result.scenario.capitalize()}: {load}"


def verdict(result: Result) -> str:
    return f"Meets its goal ({result.slo})" if result.passed else f"Does not meet its goal ({result.slo})"


def headline(result: Result) -> list[tuple[str, str]]:
    """The figures that one reads first."""
    latency = result.latency
    tiles = [
        ("good answers a second", f"{result.throughput:,.0f}"),
        ("half of the answers within", ms(latency["p50"])),
        ("99 % within", ms(latency["p99"])),
        ("longest", ms(latency["max"])),
        (f"faults in {result.requests:,} requests", f"{sum(result.errors.values()):,}"),
    ]
    memory = [entry["memory"] for entry in result.server if "memory" in entry]
    if result.scenario == "soak" and memory:
        tiles.append(("more memory at the end than at the start", f"{(memory[-1] - memory[0]) / 1e6:+,.0f} MB"))
    if cost := cpu_per_request(result):
        tiles.append(("of the server's processor for a request", f"{cost:,.0f} µs"))
    if result.saturation:
        rates = result.saturation.rates
        spread = f"{min(rates):,.0f} to {max(rates):,.0f} in {len(rates)} repeats"
        bound = "at least " if result.saturation.limited else ""
        tiles.insert(0, (f"requests a second borne, {spread}", f"{bound}{result.saturation.rate:,.0f}"))
    return tiles


def cpu_per_request(result: Result) -> float | None:
    """Microseconds of processor time, of all processes of the server: what company on the machine disturbs least."""
    used = [entry["cpu"] for entry in result.server if "cpu" in entry and entry["moment"] <= result.seconds]
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
        [name, f"{each['requests']:,.0f}", f"{each['faults']:,.0f}", ms(each["p50"]), ms(each["p99"])]
        for name, each in result.by_name.items()
    ]
    return [["model and kind", "requests", "faults", "p50", "p99"], *body]


def error_table(result: Result) -> list[list[str]]:
    return [["fault", "requests"], *[[kind, f"{count:,}"] for kind, count in result.errors.items()]]


def generator_line(result: Result) -> str:
    generator = result.generator
    busy = f"kept {generator.cpu:.0%} of a core busy at most"
    if result.loop == "closed":
        return f"The generator {busy}."
    return (
        f"The generator {busy}; {generator.missed:.2%} of its requests left more than 10 ms late"
        f" (99 % within {generator.lag_p99_ms:.1f} ms)."
    )


def text(result: Result) -> str:
    """For a terminal."""
    figures = "\n".join(f"  {value:>18}  {name}" for name, value in headline(result))
    parts = [f"{title(result)}\n\n{figures}", table_format.text(latency_table(result))]
    if result.errors:
        parts.append(table_format.text(error_table(result)))
    parts.append(generator_line(result))
    parts.append("\n".join([verdict(result), *(f"- {reason}" for reason in result.reasons)]))
    return "\n\n".join(parts)


def markdown(result: Result) -> str:
    parts = [
        f"# {title(result)}",
        f"**{verdict(result)}**" + "".join(f"\n- {reason}" for reason in result.reasons),
        "\n".join(f"- {name}: {value}" for name, value in headline(result)),
        table_format.markdown(latency_table(result)),
        table_format.markdown(name_table(result)),
    ]
    if result.errors:
        parts.append(table_format.markdown(error_table(result)))
    if result.saturation:
        parts.append(table_format.markdown(probe_table(result)))
    parts += [generator_line(result), f"`{result.command}`", surroundings(result)]
    return "\n\n".join(parts) + "\n"


def probe_table(result: Result) -> list[list[str]]:
    assert result.saturation is not None
    body = [
        [f"{p.repeat + 1}", f"{p.rate:,.0f}", "-" if p.p99 is None else ms(p.p99), "yes" if p.passed else "no"]
        for p in result.saturation.probes
    ]
    return [["repeat", "requests a second", "p99", "holds"], *body]


def surroundings(result: Result) -> str:
    models = ", ".join(f"{m['name']}:{m['version']} ({m['engine']})" for m in result.models)
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    mix = ", ".join(f"{name} {value}" for name, value in result.mix.items() if value not in ((), []))
    return f"{result.started}, {result.url}; {models}; mix: {mix}; {machine}"


# Pictures


def over_time(moments: Sequence[SecondSummary], name: str) -> list[Point]:
    values = [(moment.moment, getattr(moment, name)) for moment in moments]
    return [(at, float(value)) for at, value in values if value is not None]


def throughput(result: Result) -> str:
    moments = result.timeline[: math.ceil(result.seconds)]
    series = [Series("answered", over_time(moments, "answered"), "good", filled=True)]
    if result.loop == "open":
        series.append(Series("due", over_time(moments, "due"), "due", dashed=True))
    if result.errors:
        series.append(Series("faults", over_time(moments, "faults"), "bad"))
    return charts.lines(series, label="Requests due and answered each second", unit="a second")


def latency_over_time(result: Result) -> str:
    series = [
        Series("p99", over_time(result.timeline, "p99"), "open"),
        Series("p50", over_time(result.timeline, "p50"), "good"),
    ]
    return charts.lines(
        series, label="Latency of the requests due in each second", unit="ms", log_y=True, goal=goal(result)
    )


def goal(result: Result) -> float | None:
    return Slo.parse(result.slo).latencies.get("p99")


def distribution(result: Result) -> str:
    """Latency against the share of the answers, stretched where the slow ones are."""
    colours = {"open": "open", "closed": "closed"}
    series = [
        Series(name, [(-math.log10(1 - share), max(value, LEAST_MS)) for share, value in points], colours[name])
        for name, points in result.curve.items()
    ]
    most = max((x for one in series for x, _ in one.points), default=1.0)
    shares = [(0.0, "0"), (0.301, "50"), (1.0, "90"), (2.0, "99"), (3.0, "99.9"), (4.0, "99.99"), (5.0, "99.999")]
    ticks = [(place, name) for place, name in shares if place <= most]
    return charts.lines(
        series,
        label="Latency by the share of answers that it covers",
        unit="ms",
        x_unit="% of the answers",
        log_y=True,
        x_ticks=ticks,
    )


def histogram(result: Result) -> str:
    wide = FINENESS // 5  # five bars for each factor of e
    counts: dict[int, int] = {}
    for block in result.blocks:
        for number, count in block.latencies.items():
            counts[number // wide] = counts.get(number // wide, 0) + count
    if not counts:
        return charts.nothing("How often each latency was seen")
    ends = [LEAST_MS * math.exp(place * wide / FINENESS) for place in range(min(counts), max(counts) + 2)]
    heights = [
        (low, high, float(counts.get(place, 0)))
        for place, (low, high) in enumerate(itertools.pairwise(ends), start=min(counts))
    ]
    return charts.bars(heights, label="How often each latency was seen", unit="requests", x_unit="ms", colour="open")


def saturation(result: Result) -> str:
    assert result.saturation is not None
    good = [(p.rate, p.p99) for p in result.saturation.probes if p.passed and p.p99 is not None]
    bad = [(p.rate, p.p99) for p in result.saturation.probes if not p.passed and p.p99 is not None]
    return charts.dots(
        good,
        bad,
        label="99 % latency of each rate that was tried",
        unit="ms",
        x_unit="requests a second",
        goal=goal(result),
        mark=result.saturation.rate,
    )


def picture(result: Result) -> str:
    """What a README shows: the tries of a saturation, or latencies open loop and closed."""
    if result.saturation:
        name = f"p99 latency by rate: {result.saturation.rate:,.0f} requests a second hold"
        return charts.standalone(saturation(result), name, [("holds", "good"), ("does not", "bad")])
    keys = [(OPEN, "open"), (CLOSED, "closed")] if result.loop == "open" else [(CLOSED, "closed")]
    return charts.standalone(distribution(result), "Latency by share of the answers", keys)


def server_charts(result: Result) -> list[str]:
    """The server's own figures, those that it gave."""
    wanted = {
        "cpu": ("Processor of the server", "cores", 1.0, "open"),
        "memory": ("Memory of the server", "MB", 1e-6, "other"),
        "batch_rows": ("Rows predicted together, on average", "rows", 1.0, "good"),
        "queue_ms": ("Wait for the engine, on average", "ms", 1.0, "closed"),
        "queue_rows": ("Rows that wait", "rows", 1.0, "closed"),
        "engine_ms": ("One call of the engine", "ms", 1.0, "other"),
    }
    found = []
    for key, (name, unit, factor, colour) in wanted.items():
        points = [(entry["moment"], entry[key] * factor) for entry in result.server if key in entry]
        if points:
            drawn = charts.lines([Series(name, points, colour, filled=True)], label=name, unit=unit)
            found.append(card(name, "", drawn))
    return found


# The page


def page(result: Result) -> str:
    cards = []
    if result.saturation:
        keys = legend({"holds": "good", "does not": "bad"})
        cards.append(card("99 % latency of each rate tried", keys, saturation(result)))
    cards += [
        card("Requests a second", legend(keys_of_throughput(result)), throughput(result)),
        card("Latency over time", legend({"99 %": "open", "50 %": "good", "goal": "bad"}), latency_over_time(result)),
        card("Latency by share of the answers", legend(keys_of_curve(result)), distribution(result)),
        card("How often each latency was seen", "", histogram(result)),
    ]
    tiles = "".join(
        f'<div class="tile"><strong>{html.escape(value)}</strong><span class="quiet">{html.escape(name)}</span></div>'
        for name, value in headline(result)
    )
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in result.reasons)
    watched = server_charts(result)
    server = (
        f'<section><h2>The server itself</h2></section><div class="grid2">{"".join(watched)}</div>' if watched else ""
    )
    steady = (
        f'<p class="quiet">All but the first picture: {result.load:g} requests a second, 70 % of what it bears.</p>'
        if result.saturation
        else ""
    )
    errors = table_card("Faults by kind", error_table(result)) if result.errors else ""
    probes = table_card("Every try", probe_table(result)) if result.saturation else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title(result))}</title><style>{charts.COLOURS}{STYLE}{charts.STYLE}</style></head><body><main>
<h1>{html.escape(title(result))}</h1><p class="quiet">{html.escape(surroundings(result))}</p>
<div class="verdict{"" if result.passed else " missed"}"><b>{html.escape(verdict(result))}</b><ul>{reasons}</ul>
<span class="quiet">{html.escape(generator_line(result))}</span></div>
<div class="tiles">{tiles}</div>{steady}<div class="grid2">{"".join(cards)}</div>
{table_card("Latency", latency_table(result))}{errors}{table_card("By model and kind of request", name_table(result))}
{server}{probes}<section class="quiet">{explanation(result)}<p><code>{html.escape(result.command)}</code></p></section>
</main></body></html>
"""


def explanation(result: Result) -> str:
    if result.loop == "closed":
        return (
            "<p>Closed loop: each user waits for an answer before asking again, so a server that stalls is asked"
            " less, and its stall is hardly seen. Use --rate for figures that show it.</p>"
        )
    return (
        "<p>Open loop: requests are due at random moments (Poisson) whether or not answers come, and latency counts"
        " from the moment a request was due. The other figure, as waiting users see it, is what the usual closed loop"
        " would have told of the same answers: it leaves out what nobody would have asked while they waited.</p>"
    )


def keys_of_throughput(result: Result) -> Mapping[str, str]:
    keys = {"answered": "good"}
    if result.loop == "open":
        keys["due"] = "due"
    if result.errors:
        keys["faults"] = "bad"
    return keys


def keys_of_curve(result: Result) -> Mapping[str, str]:
    return {OPEN: "open", CLOSED: "closed"} if result.loop == "open" else {CLOSED: "closed"}


def legend(keys: Mapping[str, str]) -> str:
    spans = "".join(
        f'<span><i style="background:var(--{colour})"></i>{html.escape(name)}</span>' for name, colour in keys.items()
    )
    return f'<div class="keys">{spans}</div>'


def card(name: str, keys: str, drawn: str) -> str:
    return f'<div class="card"><h2>{html.escape(name)}</h2>{keys}{drawn}</div>'


def table_card(name: str, table: Sequence[Sequence[str]]) -> str:
    head, *body = table
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    return (
        f'<section class="card"><h2>{html.escape(name)}</h2><div class="scroll"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )
