"""The route of requests that match no other route. BentoML's app serves its page and the schema for its client."""

import logging
import re

from models.text import truncate
from service.access.caller import Access
from service.data_plane import DataPlane
from service.errors import TITLES, InternalError, MethodNotAllowed, NotFound, RequestError
from service.http.asgi_types import App, Header, Message, Scope
from service.http.http_exchange import HttpExchange, Response
from service.http.page_headers import BENTO_PAGE_HEADERS
from service.routes.page import Page
from service.routes.route import Route

SCHEMA = "/schema.json"
"""The path of the description of all models for BentoML's client."""
STATIC = ("/static_content/", "/assets/")
HEALTH = "/healthz"
PAGE = "/bentoml"
HTML = b"text/html; charset=utf-8"
EXTERNAL_SCRIPTS = re.compile(rb"<!-- Google Tag Manager.*?<!-- End Google Tag Manager[^>]*-->\s*", re.DOTALL)
BASE = b'<head>\n    <base href="../">'
"""The base of relative addresses: the page's path is one level below the files that it loads."""
log = logging.getLogger("tabserve.http")


class BentoPassthrough(Route):
    """Passes the request to BentoML's app and turns its errors and redirects into problem documents."""

    protocol = "bentoml"
    access: Access = "predict"
    methods = ()  # BentoML's app checks the method
    always = True

    def __init__(self, plane: DataPlane, app: App) -> None:
        super().__init__(plane)
        self._app = app

    async def handle_other_method(self, exchange: HttpExchange) -> Response | None:
        if exchange.path == SCHEMA:
            exchange.check_all_models()
        failure: RequestError | None = None

        async def intercept(message: Message) -> None:
            nonlocal failure
            if message["type"] == "http.response.start":
                if message["status"] >= 300:
                    failure = translated_error(message, exchange.scope)
                    return
                exchange.begun = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", exchange.request_id)]
            if failure is None:
                await exchange.send(message)

        try:
            await self._app(exchange.scope, exchange.receive, intercept)
        except Exception:
            log.exception("BentoML's app failed", extra={"request_id": exchange.id_text})
            if exchange.begun:
                raise
            failure = InternalError()
        try:
            if failure is not None:
                raise failure
            return None
        finally:
            failure = None  # breaks a reference cycle: the error's traceback refers to this frame


class StaticFile(BentoPassthrough):
    """A file of BentoML's page, or its liveness probe. Both are independent of the models."""

    access = "open"


class BentoPage(Page):
    """BentoML's page, which shows `/docs.json` in Swagger UI, without the parts that are loaded from another host."""

    access = "open"

    def __init__(self, plane: DataPlane, app: App) -> None:
        super().__init__(plane)
        self._app = app

    async def handle(self, exchange: HttpExchange) -> Response:
        body = bytearray()

        async def collect(message: Message) -> None:
            body.extend(message.get("body", b""))

        await self._app({**exchange.scope, "method": "GET", "path": "/", "raw_path": b"/"}, exchange.receive, collect)
        page = EXTERNAL_SCRIPTS.sub(b"", bytes(body)).replace(b"<head>", BASE, 1)
        return Response(page, HTML, headers=BENTO_PAGE_HEADERS)


def passthrough_for(plane: DataPlane, app: App, path: str) -> Route:
    """The route of a path that has no other route."""
    if path.rstrip("/") == PAGE:
        return BentoPage(plane, app)
    return (StaticFile if path == HEALTH or path.startswith(STATIC) else BentoPassthrough)(plane, app)


class BentoError(RequestError):
    """An error response of BentoML's app as a problem document."""

    def __init__(self, status: int, headers: list[Header]) -> None:
        super().__init__("the request failed")
        self.status = status  # type: ignore[misc]  # differs by response
        self.title = TITLES.get(status, "Request failed")  # type: ignore[misc]
        self._headers = headers

    @property
    def headers(self) -> list[Header]:
        return self._headers


def translated_error(message: Message, scope: Scope) -> RequestError:
    status, path = message["status"], scope["path"]
    headers = {bytes(key).lower(): bytes(value) for key, value in message.get("headers", ())}
    if status == 404 or status < 400:  # a redirect would point to the host in the client's Host header
        return NotFound(f"there is no route {truncate(path)!r}; /docs.json lists all routes")
    if status == 405:
        return MethodNotAllowed(scope["method"], headers.get(b"allow", b"GET, HEAD").decode("latin-1"))
    if status == 500:
        return InternalError()
    return BentoError(status, [(b"retry-after", b"1")] if status in (429, 503) else [])
