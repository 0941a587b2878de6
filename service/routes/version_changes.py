"""Routes that change the served versions, and the audit of these changes."""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from pydantic import ValidationError

from models import serving_changes
from models.aliases import ALIAS_PATTERN, CHALLENGER, CHAMPION
from models.json_text import dumps
from models.object_store import StoreUnreachable
from models.serving_state import ModelState, ServingStateError, Shadow, Traffic
from models.text import did_you_mean, truncate
from models.validation_problem import first_problem
from models.version_lifecycle import VersionStore
from service.data_plane import DataPlane
from service.errors import Conflict, NotReady, RequestNotValid
from service.exchange import Exchange, unknown_option
from service.http.http_exchange import HttpExchange, Response
from service.protocols.parsing import parse_json
from service.registry import Snapshot
from service.routes.route import Route
from service.routes.version_pages import version_list_response
from service.version_admin import RequestedChange

PATH = re.compile(r"/models/(?P<model>[^/]+)/(?:aliases/(?P<alias>[^/]+)|(?P<action>promote|rollback|traffic|shadow))")
ETAG = re.compile(rb'(?:W/)?"?(\d+)"?')
MAX_ENTRIES = 1000  # maximum number of audit entries in a response, which contains the newest entries
Change = Callable[[ModelState], ModelState]


class VersionChangeRoute(Route):
    """A change of one model. Responds with the versions of the model when all workers serve the change."""

    protocol = "admin"
    access = "admin"

    def __init__(self, plane: DataPlane, model: str) -> None:
        super().__init__(plane, model_name=model)
        self.model = model

    async def handle(self, exchange: HttpExchange) -> Response:
        exchange.context.access.check_admin(exchange)
        body = await exchange.read()
        change = self.requested(exchange, parse_body(body))
        await make_change(exchange, change)
        entry = self.plane.snapshot.entries.get(self.model)
        return Response(b"{}") if entry is None else await version_list_response(self.plane, entry)

    def requested(self, exchange: HttpExchange, body: Any) -> RequestedChange:
        """The requested change. Raises RequestNotValid."""
        raise NotImplementedError

    def change(self, exchange: HttpExchange, action: str, apply: Change, **more: Any) -> RequestedChange:
        return RequestedChange(
            self.model, action, apply, actor_of(exchange), expected=expected_generation(exchange.headers), **more
        )

    @property
    def champion(self) -> int | None:
        """The champion that is served now."""
        entry = self.plane.snapshot.entries.get(self.model)
        return int(entry.aliases[CHAMPION]) if entry else None

    def promotion(self, exchange: HttpExchange, body: Any) -> RequestedChange:
        version = parse_version(body)
        apply = partial(serving_changes.promote, version=version, by_person=True, before=self.champion)
        return self.change(exchange, "promote", apply, version=version, checks_schema=True)


class AliasRoute(VersionChangeRoute):
    """Sets (`PUT`) or deletes (`DELETE`) an alias of a version."""

    methods = ("PUT", "DELETE")

    def __init__(self, plane: DataPlane, model: str, alias: str) -> None:
        super().__init__(plane, model)
        self.alias = alias

    def requested(self, exchange: HttpExchange, body: Any) -> RequestedChange:
        if not re.fullmatch(ALIAS_PATTERN, self.alias):
            raise RequestNotValid(f"{truncate(self.alias)!r} is not a name for an alias, expected {ALIAS_PATTERN}")
        if exchange.method == "DELETE":
            return self.change(exchange, "delete_alias", partial(serving_changes.delete_alias, alias=self.alias))
        if self.alias == CHAMPION:
            return self.promotion(exchange, body)
        version = parse_version(body)
        apply = partial(serving_changes.set_alias, alias=self.alias, version=version)
        return self.change(exchange, "alias", apply, version=version)


class PromoteRoute(VersionChangeRoute):
    """Makes a version the champion."""

    def requested(self, exchange: HttpExchange, body: Any) -> RequestedChange:
        return self.promotion(exchange, body)


class RollbackRoute(VersionChangeRoute):
    """Returns to the previous champion."""

    def requested(self, exchange: HttpExchange, body: Any) -> RequestedChange:
        check_names(body, ())
        return self.change(exchange, "rollback", serving_changes.rollback)


class TrafficRoute(VersionChangeRoute):
    """Splits the requests without a version. The body null sends all requests to the champion."""

    methods = ("PUT",)

    def requested(self, exchange: HttpExchange, body: Any) -> RequestedChange:
        try:
            traffic = None if body is None else Traffic.model_validate(body)
        except ValidationError as error:
            raise RequestNotValid(first_problem(error)) from None
        return self.change(exchange, "traffic", partial(serving_changes.set_traffic, traffic=traffic))


class ShadowRoute(VersionChangeRoute):
    """Sends copies of a share of the requests to another version. The body null ends the shadow."""

    methods = ("PUT",)

    def requested(self, exchange: HttpExchange, body: Any) -> RequestedChange:
        try:
            shadow = None if body is None else Shadow.model_validate({"alias": CHALLENGER, **check_object(body)})
        except ValidationError as error:
            raise RequestNotValid(first_problem(error)) from None
        return self.change(exchange, "shadow", partial(serving_changes.set_shadow, shadow=shadow))


class AuditRoute(Route):
    """The newest changes in chronological order."""

    protocol = "admin"
    access = "admin"
    methods = ("GET",)

    async def handle(self, exchange: HttpExchange) -> Response:
        exchange.context.access.check_admin(exchange)
        may_use = exchange.caller.may_use
        versions = VersionStore(self.plane.settings.store)

        def newest() -> list[dict[str, Any]]:
            entries = versions.serving.entries(MAX_ENTRIES if versions.mirror else None)
            return [*deque((entry for entry in entries if may_use(str(entry.get("model")))), MAX_ENTRIES)]

        try:
            entries = await asyncio.to_thread(newest)
        except StoreUnreachable as error:
            raise NotReady(str(error)) from error
        except ServingStateError as error:
            raise Conflict(str(error)) from error
        return Response(dumps({"audit": entries}))


class VersionChangeRoutes:
    """The routes below `/models/` that change the served versions, and `/audit`."""

    ROUTES: ClassVar[Mapping[str, Callable[[DataPlane, str], Route]]] = {
        "promote": PromoteRoute,
        "rollback": RollbackRoute,
        "traffic": TrafficRoute,
        "shadow": ShadowRoute,
    }

    def common_routes(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        return {"/audit": AuditRoute(plane)}

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        found = PATH.fullmatch(path)
        if found is None:
            return None
        if found["alias"]:
            return AliasRoute(plane, found["model"], found["alias"])
        return self.ROUTES[found["action"]](plane, found["model"])


async def set_served(exchange: Exchange, model: str, *, served: bool) -> None:
    """Start or stop serving a model. Raises RequestError."""
    exchange.context.access.check_admin(exchange)
    apply = partial(serving_changes.set_served, served=served)
    change = RequestedChange(model, "load" if served else "unload", apply, actor_of(exchange))
    await make_change(exchange, change)


async def make_change(exchange: Exchange, change: RequestedChange) -> None:
    admin = exchange.context.admin
    if admin is None:
        raise NotReady("the models are not loaded yet")
    await admin.change(change)


def actor_of(exchange: Exchange) -> str:
    """The author of a change, for the audit."""
    name = exchange.caller.name
    return f"{exchange.protocol} {exchange.client}" + (f" key {name}" if name else "")


def expected_generation(headers: Mapping[bytes, bytes]) -> int | None:
    """The generation in If-Match. Raises RequestNotValid."""
    sent = headers.get(b"if-match", b"*").strip()
    if sent == b"*":
        return None
    found = ETAG.fullmatch(sent)
    if found is None:
        raise unknown_option(f'If-Match: {truncate(sent.decode("latin-1"))!r} is not a generation, such as "12"')
    return int(found[1])


def parse_body(body: bytes) -> Any:
    """Raises BadJson or RequestNotValid."""
    return parse_json(body) if body.strip() else {}


def check_object(body: Any) -> dict[str, Any]:
    """Raises RequestNotValid."""
    if not isinstance(body, dict):
        raise RequestNotValid("the body is not a JSON object")
    return body


def check_names(body: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Raises RequestNotValid if a field has none of these names."""
    document = check_object(body)
    for name in document:
        if name not in names:
            raise RequestNotValid(f"unknown field {truncate(name)!r}{did_you_mean(name, names)}")
    return document


def parse_version(body: Any) -> int:
    """The version in `{"version": 4}` or `{"version": "4"}`. Raises RequestNotValid."""
    version = check_names(body, ("version",)).get("version")
    if isinstance(version, str) and version.isascii() and version.isdecimal():
        version = int(version)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RequestNotValid('the field "version" is missing or not the number of a version')
    return version
