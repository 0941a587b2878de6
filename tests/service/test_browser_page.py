"""The page at `/` and its files: content negotiation, caching, compression and Content-Security-Policy."""

import asyncio
import base64
import gzip
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bentoml
import pytest

from models.tabular_model import TabularModel
from service.http.browser_files import FOLDER, INDEX, BrowserFiles, browser_files
from service.http.compression import MIN_COMPRESSED_BYTES
from service.routes.browser_page import ALIVE
from service.settings import Settings

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
MAX_BYTES = 200_000  # all files in total, compressed
SECURITY = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer"}
Send = Callable[..., Any]


@pytest.fixture
def get(make_app: Callable[..., Any], tabular_models: list[TabularModel], asgi: Send) -> Send:
    """get(path, headers, method) sends a request to an application that wraps BentoML's page."""

    async def bentoml(scope: Any, receive: Any, send: Any) -> None:
        assert (scope["method"], scope["path"]) == ("GET", "/")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": bento_page()})

    application = make_app(tabular_models, Settings()).wrap(bentoml)

    def send(path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
        return asyncio.run(asgi(application, method, path, b"", "", headers or {}))

    return send


def bento_page() -> bytes:
    """The page of the installed BentoML version."""
    package = Path(bentoml.__file__).resolve().parents[1] / "_bentoml_impl"
    return (package / "server/main-openapi.html").read_bytes()


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "", "text/*", "text/html;q=0.5,application/json", "text/html;q=0"]
)
def test_the_root_returns_the_liveness_response_if_accept_does_not_list_html(get: Send, accept: str) -> None:
    reply = get("/", {"accept": accept})
    assert (reply.status, reply.content, reply.headers["content-type"]) == (200, ALIVE, "application/json")


def test_the_root_returns_the_page_to_browsers(get: Send) -> None:
    reply = get("/", BROWSER)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["vary"] == "accept, accept-encoding"
    assert f"page/{browser_files().digest}/router.js".encode() in reply.content
    assert SECURITY.items() <= reply.headers.items()


def test_the_policy_of_the_page_allows_its_own_files_only(get: Send) -> None:
    policy = dict(
        part.strip().split(" ", 1) for part in get("/", BROWSER).headers["content-security-policy"].split(";")
    )
    assert policy.pop("default-src") == "'none'"
    assert {policy.pop(name) for name in ("script-src", "img-src", "connect-src")} == {"'self'"}
    style = re.findall(r"<style>(.*)</style>", get("/", BROWSER).content.decode(), re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.pop("style-src") == f"'self' 'sha256-{digest}'"
    assert {policy.pop(name) for name in ("base-uri", "form-action", "frame-ancestors", "trusted-types")} == {"'none'"}
    assert policy == {"require-trusted-types-for": "'script'"}


def test_every_file_is_immutable_and_compressed(get: Send) -> None:
    files = browser_files()
    assert "router.js" in files.files
    for name, file in files.files.items():
        reply = get(f"/page/{files.digest}/{name}", {"accept-encoding": "gzip, deflate, br, zstd"})
        assert (reply.status, reply.headers["content-encoding"]) == (200, "gzip"), name
        assert gzip.decompress(reply.content) == (FOLDER / name).read_bytes() == file.content
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert len(file.compressed) < MIN_COMPRESSED_BYTES, "the response would be compressed twice"
    plain = get(f"/page/{files.digest}/router.js")
    assert plain.content == (FOLDER / "router.js").read_bytes()
    assert "content-encoding" not in plain.headers
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"


def test_head_has_the_headers_of_get(get: Send) -> None:
    files = browser_files()
    for path in ("/", f"/page/{files.digest}/operate.css"):
        got, head = get(path, BROWSER), get(path, BROWSER, "HEAD")
        assert (head.status, head.headers["content-length"]) == (200, got.headers["content-length"])


@pytest.mark.parametrize(
    "path",
    [
        "/page/0/router.js",
        "/page/{}/none.js",
        "/page/{}/../browser_files.py",
        "/page/{}",
        "/page/",
        "/page/{}/index.html",
    ],
)
def test_unknown_paths_of_the_page_return_404(get: Send, path: str) -> None:
    reply = get(path.format(browser_files().digest))
    assert (reply.status, reply.headers["content-type"]) == (404, "application/problem+json")
    assert "cache-control" not in reply.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/page/0/router.js", "/bentoml/"])
def test_the_page_allows_only_read_methods(get: Send, path: str, method: str) -> None:
    reply = get(path, method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_the_digest_depends_on_file_names_and_contents(tmp_path: Path) -> None:
    def digest(name: str, content: str) -> str:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / INDEX).write_text("<p>{files}</p>")
        (folder / name).write_text(content)
        return BrowserFiles(folder).digest

    first = digest("a.js", "one")
    assert digest("a.js", "one") == first
    assert len({first, digest("a.js", "two"), digest("b.js", "one")}) == 3


def test_all_files_of_the_page_are_small_in_total() -> None:
    files = browser_files()
    assert sum(len(file.compressed) for file in (files.index, *files.files.values())) < MAX_BYTES


def test_every_import_and_address_refers_to_a_file() -> None:
    files = browser_files()
    index = files.index.content.decode()
    for address in re.findall(rf'"page/{files.digest}/([^"]+)"', index):
        assert address in files.files
    for name, file in files.files.items():
        for address in re.findall(r'(?:from|import\() ?"(\.[^"]+)"', file.content.decode()):
            found = (FOLDER / name).parent.joinpath(address).resolve()
            assert found.is_file(), f"{name} imports {address}"


def test_the_style_sheets_of_every_view_exist() -> None:
    named = re.findall(r'styles: "([^"]+)"', browser_files().files["router.js"].content.decode())
    assert {*named} == {name for name in browser_files().files if name.endswith(".css")}


def test_no_file_of_the_page_refers_to_another_host() -> None:
    files = browser_files()
    for name, file in {INDEX: files.index, **files.files}.items():
        addresses = re.findall(r"(?:https?:)?//[a-z0-9][a-z0-9.-]+\.[a-z]+[^\"'` ]*", file.content.decode())
        assert {*addresses} <= {"http://www.w3.org/2000/svg"}, name


def test_bentomls_page_loads_nothing_from_another_host(get: Send) -> None:
    assert b"googletagmanager" in bento_page(), "BentoML's page has changed"
    for path in ("/bentoml/", "/bentoml"):
        reply = get(path)
        assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
        text = reply.content.decode()
        assert '<base href="../">' in text
        assert "swagger-ui-bundle.js" in text
        assert not re.findall(r'(?:src|href)="?\'?https?://(?!github\.com/bentoml/BentoML")', text)
        assert "googletagmanager" not in text
        assert SECURITY.items() <= reply.headers.items()
        assert "http" not in reply.headers["content-security-policy"]
