"""`/`: the page for people, and its static files. They contain no data of models, so they need no key."""

import asyncio
from collections.abc import Mapping

from models.text import truncate
from service.access.caller import Access
from service.data_plane import DataPlane
from service.errors import NotFound
from service.http.asgi_types import Header
from service.http.browser_files import PREFIX, BrowserContent, browser_files
from service.http.compression import preferred_coding
from service.http.http_exchange import HttpExchange, Response
from service.http.negotiation import JSON, parse_accept, prefers
from service.http.page_headers import browser_page_headers
from service.registry import Snapshot
from service.routes.page import Page
from service.routes.route import Route

ALIVE = b'{"status":"alive"}'
HTML = b"text/html"
VARY: Header = (b"vary", b"accept, accept-encoding")
IMMUTABLE: Header = (b"cache-control", b"public, max-age=31536000, immutable")
NO_CACHE: Header = (b"cache-control", b"no-cache")
NO_SNIFFING: Header = (b"x-content-type-options", b"nosniff")


class BrowserPage(Page):
    """`/`: the page if Accept names HTML, else the liveness response that KServe's client expects there."""

    access: Access = "open"

    async def handle(self, exchange: HttpExchange) -> Response:
        accept = exchange.headers.get(b"accept", b"")
        if HTML not in parse_accept(accept) or not prefers(accept, HTML, JSON):
            return Response(ALIVE)
        files = await asyncio.to_thread(browser_files)
        return file_response(exchange, files.index, [VARY, NO_CACHE, *browser_page_headers(files.style_hash)])


class BrowserFile(Page):
    """A static file of the page."""

    access: Access = "open"

    def __init__(self, plane: DataPlane, address: str) -> None:
        super().__init__(plane)
        self._address = address

    async def handle(self, exchange: HttpExchange) -> Response:
        files = await asyncio.to_thread(browser_files)
        digest, _, name = self._address.partition("/")
        if digest != files.digest or name not in files.files:
            raise NotFound(f"there is no file {truncate(self._address)!r}; the page is at /")
        return file_response(exchange, files.files[name], [VARY, IMMUTABLE, NO_SNIFFING])


def file_response(exchange: HttpExchange, file: BrowserContent, headers: list[Header]) -> Response:
    if preferred_coding(exchange.headers.get(b"accept-encoding", b"")):
        return Response(file.compressed, file.content_type, headers=[*headers, (b"content-encoding", b"gzip")])
    return Response(file.content, file.content_type, headers=headers)


class BrowserPageRoutes:
    """`/` and `/page/`."""

    def common_routes(self, plane: DataPlane, snapshot: Snapshot) -> Mapping[str, Route]:
        return {"/": BrowserPage(plane)}

    def find(self, plane: DataPlane, snapshot: Snapshot, path: str) -> Route | None:
        if not path.startswith(f"/{PREFIX}"):
            return None
        return BrowserFile(plane, path.removeprefix(f"/{PREFIX}"))
