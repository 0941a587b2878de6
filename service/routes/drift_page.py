"""`GET /drift`: how the rows and predictions of a version differ from those at training."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from models.json_text import dumps
from models.text import did_you_mean, truncate
from service.data_plane import DataPlane
from service.exchange import unknown_option
from service.http.http_exchange import HttpExchange, Response
from service.registry import Snapshot, normal_version
from service.routes.page import Page
from service.routes.route import Route
from service.served_model import ServedModel
from service.window_counters import DAY, HOUR, MINUTE, WEEK

PATH = "/drift"
OPTIONS = ("model", "version", "window", "histograms")
WINDOW = re.compile(r"([1-9][0-9]{0,5})([mhd])")
UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}


class DriftOptions(NamedTuple):
    """The query. version: empty for the champion. seconds: the length of the window; None for the default."""

    model: str
    version: str
    seconds: float | None
    histograms: bool


class DriftPage(Page):
    """The drift of one version."""

    access = "metrics"
    always = False

    async def handle(self, exchange: HttpExchange) -> Response:
        options = parse_options(exchange.query, exchange.caller.visible(self.plane.snapshot.names))
        exchange.check_model(options.model)
        served = find_version(self.plane.snapshot, options)
        await self.plane.drift.flush()
        report = self.plane.drift.report
        return Response(dumps(await asyncio.to_thread(report, served, options.seconds, options.histograms)))


class DriftRoutes:
    """The route `/drift`."""

    def common_routes(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        return {PATH: DriftPage(plane)}

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        return None


def parse_options(query: bytes, names: Sequence[str]) -> DriftOptions:
    """The options in a query. names: the models that the caller may see. Raises RequestNotValid."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"):
        if name not in OPTIONS:
            hint = did_you_mean(name, OPTIONS) or f", expected {', '.join(OPTIONS)}"
            raise unknown_option(f"unknown option {truncate(name)!r}{hint}")
        if name in values:
            raise unknown_option(f"the option {name!r} occurs more than once")
        values[name] = value
    if "model" not in values and len(names) != 1:
        raise unknown_option(f"the option 'model' is missing; served models: {', '.join(names)}")
    window = values.get("window")  # empty is the default in the OpenAPI document, which some clients send
    seconds = parse_window(window) if window else None
    model = values.get("model", names[0] if names else "")
    return DriftOptions(
        model, values.get("version", ""), seconds, parse_flag("histograms", values.get("histograms", ""))
    )


def parse_window(text: str) -> float:
    """The seconds of a window such as 15m, 24h or 7d. Raises RequestNotValid."""
    found = WINDOW.fullmatch(text)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not MINUTE <= seconds <= WEEK:
        raise unknown_option(f"window={truncate(text)!r} is not valid, expected 1m to 7d, such as 15m, 24h or 7d")
    return float(seconds)


def parse_flag(name: str, text: str) -> bool:
    """The value of a boolean option. An empty value is the same as no value. Raises RequestNotValid."""
    if text not in ("", "true", "false"):
        raise unknown_option(f"{name}={truncate(text)!r} is not valid, expected true or false")
    return text == "true"


def find_version(snapshot: Snapshot, options: DriftOptions) -> ServedModel:
    """A version by number or alias; by default the champion. Raises NotFound or NotReady."""
    if options.version.isdecimal() or not options.version:
        return snapshot.find(options.model, options.version and normal_version(options.version))
    return snapshot.find(options.model, alias=options.version)
