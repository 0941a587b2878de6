"""Charts as SVG. Colours are CSS variables of the page, so that the page decides between light and dark."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.html_page import colours

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 26, 38
Point = tuple[float, float]

STYLE = """
svg.chart { width: 100%; height: auto; display: block; font: 12.5px system-ui, sans-serif; }
.chart text { fill: var(--quiet); }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .axis { stroke: var(--quiet); stroke-width: 1; }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.chart .area { stroke: none; opacity: .15; }
.chart .goal { stroke: var(--error); stroke-width: 1.5; stroke-dasharray: 5 4; }
.chart .dashed { stroke-dasharray: 5 4; }
"""


@dataclass(frozen=True)
class Series:
    """A line of a chart. colour: the name of a CSS variable of the page."""

    name: str
    points: Sequence[Point]
    colour: str
    filled: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class AxisScale:
    """Maps values to coordinates. forward: the logarithm for a logarithmic axis, otherwise the identity."""

    low: float
    high: float
    start: float
    end: float
    forward: Callable[[float], float] = lambda value: value

    def __call__(self, value: float) -> float:
        low, high = self.forward(self.low), self.forward(self.high)
        fraction = (self.forward(value) - low) / (high - low) if high > low else 0.5
        return self.start + min(max(fraction, 0.0), 1.0) * (self.end - self.start)


def log(value: float) -> float:
    return math.log10(max(value, 1e-9))


def lines(
    series: Sequence[Series],
    *,
    label: str,
    unit: str,
    x_unit: str = "s",
    log_y: bool = False,
    goal: float | None = None,
    x_ticks: Sequence[tuple[float, str]] | None = None,
) -> str:
    """A line chart. label: alternative text for screen readers. goal: an upper limit, drawn as a line."""
    points = [point for line in series for point in line.points]
    if not points:
        return empty(label)
    ys = [y for _, y in points] + ([goal] if goal else [])
    x = AxisScale(min(a for a, _ in points), max(a for a, _ in points), LEFT, WIDTH - RIGHT)
    y, y_ticks = y_axis(ys, log_y)
    ticks = (
        x_ticks if x_ticks is not None else [(tick, format_number(tick)) for tick in round_numbers(x.low, x.high, 6)]
    )
    parts = frame(x, y, ticks, y_ticks, x_unit, unit)
    if goal is not None:
        parts.append(f'<line class="goal" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(goal):.1f}" y2="{y(goal):.1f}"/>')
    for line in series:
        parts.append(polyline(line, x, y))
    return svg(label, parts)


def y_axis(values: Sequence[float], log_y: bool) -> tuple[AxisScale, list[float]]:
    top = max(values, default=1.0) or 1.0
    if not log_y:
        ticks = round_numbers(0.0, top, 5)
        return AxisScale(0.0, max(top * 1.05, ticks[-1]), HEIGHT - BOTTOM, TOP), ticks
    low = min((value for value in values if value > 0), default=0.1) * 0.8
    decades = range(math.floor(log(low)), math.ceil(log(top)) + 1)
    every = [base * 10.0**decade for decade in decades for base in ((1, 2, 5) if len(decades) < 4 else (1,))]
    return AxisScale(low, top * 1.2, HEIGHT - BOTTOM, TOP, log), [tick for tick in every if low <= tick <= top * 1.2]


def round_numbers(low: float, high: float, about: int) -> list[float]:
    """Round numbers for the ticks of an axis from low to high."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * base for base in (1, 2, 5, 10) if power * base >= rough)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def frame(
    x: AxisScale, y: AxisScale, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[float], x_unit: str, y_unit: str
) -> list[str]:
    parts = []
    for tick in y_ticks:
        position = y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{position:.1f}" y2="{position:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{position + 4:.1f}" text-anchor="end">{format_number(tick)}</text>')
    base = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    for value, text in x_ticks:
        parts.append(f'<text x="{x(value):.1f}" y="{base + 17}" text-anchor="middle">{html.escape(text)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{html.escape(x_unit)}</text>')
    parts.append(f'<text x="4" y="12">{html.escape(y_unit)}</text>')
    return parts


def polyline(line: Series, x: AxisScale, y: AxisScale) -> str:
    if not line.points:
        return ""
    coordinates = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line.points)
    style = f'style="stroke:var(--{line.colour})"'
    drawn = f'<polyline class="line{" dashed" if line.dashed else ""}" {style} points="{coordinates}"/>'
    if line.filled:
        base = HEIGHT - BOTTOM
        around = f"{x(line.points[0][0]):.1f},{base} {coordinates} {x(line.points[-1][0]):.1f},{base}"
        drawn = f'<polygon class="area" style="fill:var(--{line.colour})" points="{around}"/>' + drawn
    return f"<g><title>{html.escape(line.name)}</title>{drawn}</g>"


def bars(heights: Sequence[tuple[float, float, float]], *, label: str, unit: str, x_unit: str, colour: str) -> str:
    """A bar chart of (from, to, height) over a logarithmic axis."""
    if not heights:
        return empty(label)
    x = AxisScale(heights[0][0], heights[-1][1], LEFT, WIDTH - RIGHT, log)
    y, y_ticks = y_axis([height for _, _, height in heights], log_y=False)
    decades = range(math.floor(log(x.low)), math.ceil(log(x.high)) + 1)
    bases = (1, 2, 5) if len(decades) < 5 else (1,)
    ticks = [base * 10.0**decade for decade in decades for base in bases]
    parts = frame(x, y, [(t, format_number(t)) for t in ticks if x.low <= t <= x.high], y_ticks, x_unit, unit)
    for low, high, height in heights:
        if height:
            width, top = max(x(high) - x(low) - 1, 1.0), y(height)
            title = f"<title>{format_number(low)} to {format_number(high)} {x_unit}: {height:.0f}</title>"
            parts.append(
                f'<rect x="{x(low):.1f}" y="{top:.1f}" width="{width:.1f}" height="{HEIGHT - BOTTOM - top:.1f}"'
                f' style="fill:var(--{colour})">{title}</rect>'
            )
    return svg(label, parts)


def scatter(
    good: Sequence[Point], bad: Sequence[Point], *, label: str, unit: str, x_unit: str, goal: float | None, mark: float
) -> str:
    """A scatter chart with two logarithmic axes: good points as discs, bad points as crosses. mark: a vertical line."""
    points = [*good, *bad]
    if not points:
        return empty(label)
    x = AxisScale(min(a for a, _ in points) * 0.9, max(a for a, _ in points) * 1.1, LEFT, WIDTH - RIGHT, log)
    y, y_ticks = y_axis([b for _, b in points] + ([goal] if goal else []), log_y=True)
    decades = range(math.floor(log(x.low)), math.ceil(log(x.high)) + 1)
    ticks = [base * 10.0**decade for decade in decades for base in (1, 2, 5)]
    parts = frame(x, y, [(t, format_number(t)) for t in ticks if x.low <= t <= x.high], y_ticks, x_unit, unit)
    if goal:
        parts.append(f'<line class="goal" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(goal):.1f}" y2="{y(goal):.1f}"/>')
    if mark:
        colour = 'style="stroke:var(--good)"'
        parts.append(
            f'<line class="line dashed" {colour} x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{TOP}"'
            f' y2="{HEIGHT - BOTTOM}"/>'
        )
    for a, b in good:
        title = f"<title>{a:.0f}/s: {b:.1f} ms</title>"
        parts.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" style="fill:var(--good)">{title}</circle>')
    for a, b in bad:
        path = f"M{x(a) - 4:.1f} {y(b) - 4:.1f}l8 8m0 -8l-8 8"
        title = f"<title>{a:.0f}/s: {b:.1f} ms</title>"
        parts.append(f'<path class="line" style="stroke:var(--error)" d="{path}">{title}</path>')
    return svg(label, parts)


def svg(label: str, parts: Sequence[str]) -> str:
    inner = "".join(parts)
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{html.escape(label)}">{inner}</svg>'
    )


def empty(label: str) -> str:
    return svg(label, [f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no data</text>'])


def standalone(drawn: str, title: str, legend: Sequence[tuple[str, str]]) -> str:
    """A chart as a separate file with a title, a legend and both colour schemes."""
    inner = drawn[drawn.index(">") + 1 : -len("</svg>")]
    keys, left = [], 14
    for name, colour in legend:
        keys.append(f'<rect x="{left}" y="32" width="11" height="11" rx="2" style="fill:var(--{colour})"/>')
        keys.append(f'<text x="{left + 16}" y="42">{html.escape(name)}</text>')
        left += 30 + 7 * len(name)
    style = (
        colours().replace(":root", "svg")
        + STYLE
        + "svg.chart{width:auto}svg .title{fill:var(--text);font-weight:600;font-size:15px}"
    )
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 56}"'
        f' width="{WIDTH * 1.5:.0f}" role="img"><style>{style}</style>'
        '<rect width="100%" height="100%" rx="8" style="fill:var(--panel)"/>'
        f'<text class="title" x="14" y="23">{html.escape(title)}</text>{"".join(keys)}'
        f'<g transform="translate(0 52)">{inner}</g></svg>\n'
    )


def format_number(value: float) -> str:
    """Format a number briefly, for the labels of an axis."""
    for size, suffix in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            scale = 1e6 if suffix == "M" else 1e3
            return f"{value / scale:.3g}{suffix}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
