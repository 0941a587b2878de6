"""`/feedback/{model}`: receives the truth about predictions, and reports the live metrics."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from models.json_text import dumps
from models.text import did_you_mean, truncate
from service.data_plane import DataPlane
from service.errors import RequestError
from service.exchange import unknown_option
from service.feedback.live_report import report
from service.http import negotiation
from service.http.http_exchange import HttpExchange, Response
from service.http.negotiation import JSON
from service.protocols.feedback import read_feedback
from service.registry import ModelEntry, Snapshot
from service.routes.native import UnknownModelRoute
from service.routes.route import Route

if TYPE_CHECKING:  # imported at its first use
    from service.feedback.feedback_desk import FeedbackDesk

PREFIX = "/feedback/"
DAY_S = 86_400.0
WINDOWS = {"24h": DAY_S, "7d": 7 * DAY_S, "30d": 30 * DAY_S, "all": None}
"""The windows of the live metrics, in seconds; each begins at the beginning of an hour."""


class FeedbackRoute(Route):
    """Judges the served versions of a model."""

    protocol = "feedback"
    access = "predict"
    methods = ("GET", "HEAD", "POST")
    allow = ("GET", "HEAD", "POST", "OPTIONS")

    def __init__(self, plane: DataPlane, entry: ModelEntry) -> None:
        super().__init__(plane, model_name=entry.name)
        self._entry = entry

    async def handle(self, exchange: HttpExchange) -> Response:
        desk = self.plane.feedback
        since = parse_window(exchange.query)
        if exchange.method == "POST":
            return await self._accept(exchange, desk, since)
        return Response(dumps({"model": self._entry.name, **await self._report(desk, since)}))

    async def _accept(self, exchange: HttpExchange, desk: "FeedbackDesk", since: float) -> Response:
        negotiation.check_content_type(exchange.headers.get(b"content-type", b""), (JSON,), "application/json in UTF-8")
        body = await exchange.read()
        schema, limit = self._entry.champion.model.schema, self.plane.settings.max_rows

        def accept() -> Any:
            return desk.accept(self._entry, read_feedback(schema, body, limit))

        counts = await desk.run(accept)
        exchange.count_rows(sum(counts))
        return Response(dumps({"model": self._entry.name, **counts._asdict(), **await self._report(desk, since)}))

    async def _report(self, desk: "FeedbackDesk", since: float) -> dict[str, Any]:
        sums = await desk.run(desk.sums, self._entry.name, since)
        return {"versions": report(self._entry, sums)}


def parse_window(query: bytes) -> float:
    """The time in seconds since 1970 at which the window begins. Raises RequestNotValid."""
    window = "all"
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"):
        if name != "window":
            raise unknown_option(f"unknown option {truncate(name)!r}{did_you_mean(name, ['window'])}")
        if value not in WINDOWS:
            raise unknown_option(f"window={truncate(value)!r} is unknown, expected one of {', '.join(WINDOWS)}")
        window = value
    seconds = WINDOWS[window]
    return 0.0 if seconds is None else time.time() - seconds


class FeedbackRoutes:
    """The routes below `/feedback/`."""

    def common_routes(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        return {f"{PREFIX}{name}": FeedbackRoute(plane, entry) for name, entry in snapshot.entries.items()}

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        if not path.startswith(PREFIX):
            return None
        name = path.removeprefix(PREFIX)
        try:
            return FeedbackRoute(plane, snapshot.entry(name))
        except RequestError as error:
            return UnknownModelRoute(plane, name, error)
