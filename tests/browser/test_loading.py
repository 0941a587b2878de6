"""The files that the page loads, and its messages when there is nothing to show."""

import re
from collections.abc import Callable

import httpx
from playwright.sync_api import Page, Response, Route, expect

from service.http.browser_files import browser_files
from tests.browser.conftest import MODELS, KeyedServer
from tests.browser.test_versions import sign_in
from tests.service.conftest import Server

MAX_TRANSFER = 200_000  # bytes of the page's files, compressed
VIEWS = ("models", "try/housing", "versions/housing", "live/housing", "api")


def test_all_files_of_the_page_are_compressed_and_small_in_total(
    server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page("about:blank")
    files: dict[str, Response] = {}
    page.on("response", lambda response: files.update({response.url: response}))
    for view in VIEWS:
        page.goto(f"{server.url}/#/{view}")
        expect(page.locator("h1")).to_be_visible()
    own = {url: response for url, response in files.items() if "/page/" in url or url == f"{server.url}/"}
    assert len(own) > 10
    for url, response in own.items():
        assert response.header_value("content-encoding") == "gzip", url
    assert sum(int(response.header_value("content-length") or MAX_TRANSFER) for response in own.values()) < MAX_TRANSFER


def test_the_first_view_needs_at_most_six_requests(server: Server, open_page: Callable[..., Page]) -> None:
    """Chromium opens at most six connections to a host. `/models` is requested once, together with the modules."""
    page = open_page("about:blank")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url.removeprefix(server.url)))
    page.goto(f"{server.url}/")
    expect(page.locator(".card").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    files = browser_files()
    preloaded = re.findall(r'preload" href="([^"]+)"', files.index.content.decode())
    module = f"page/{files.digest}/router.js"
    assert requested[0] == "/"
    assert {*requested[1:7]} == {f"/{address}" for address in [*preloaded, module]}
    assert requested.count("/models") == 1


def test_a_late_error_does_not_replace_a_newer_view(server: Server, open_page: Callable[..., Page]) -> None:
    """The module that shows errors is loaded after the first view, or earlier when an error occurs."""
    page = open_page("about:blank")
    blocked: list[Route] = []
    # A lambda, because playwright sets an attribute of its handlers
    page.route("**/components/notice.js", lambda route: blocked.append(route))
    page.route("**/models", lambda route: route.fulfill(status=503, json={"title": "Not ready"}))
    with page.expect_request("**/components/notice.js"):
        page.goto(f"{server.url}/")
    page.unroute("**/models")
    page.get_by_role("link", name="API").click()
    heading = page.get_by_role("heading", name="API", exact=True)
    expect(heading).to_be_visible()
    with page.expect_response("**/components/sign_in.js"):
        blocked[0].continue_()
    page.wait_for_load_state("networkidle")
    page.evaluate("() => new Promise((done) => setTimeout(done, 100))")  # time for the code that waits for the module
    expect(heading).to_be_visible()
    expect(page.get_by_text("Not ready")).to_have_count(0)


def test_every_view_requires_sign_in_on_a_server_with_keys(keyed: KeyedServer, open_page: Callable[..., Page]) -> None:
    for view in VIEWS:
        page = open_page(f"{keyed.server.url}/#/{view}")
        page.get_by_label("API key").fill("tsk_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("key")
        sign_in(page, keyed.keys.texts["all"])
        expect(page.locator("h1")).to_be_visible()
        expect(page.get_by_label("API key")).to_have_count(0)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()


def test_the_page_lists_only_the_model_of_the_key(keyed: KeyedServer, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{keyed.server.url}/")
    sign_in(page, keyed.keys.texts["penguins"])
    expect(page.get_by_role("link", name="penguins")).to_be_visible()
    assert "housing" not in page.content()
    page.goto(f"{keyed.server.url}/#/try/housing")
    expect(page.get_by_text("This is not allowed.")).to_be_visible()


def test_the_page_reports_a_stopped_server_and_recovers_after_its_restart(
    start_server: Callable[..., Server], open_page: Callable[..., Page]
) -> None:
    server = start_server()
    page = open_page(f"{server.url}/#/live/penguins")
    expect(page.locator('[data-total="requests"]')).to_be_visible()
    server.stop()
    expect(page.get_by_text("The server does not answer.").first).to_be_visible()
    expect(page.locator('[data-total="requests"]')).to_be_visible()  # known values stay visible
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    server.start(port=server.port)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name="penguins")).to_be_visible()


def test_every_view_reports_that_a_server_has_no_models(
    start_server: Callable[..., Server], open_page: Callable[..., Page]
) -> None:
    server = start_server(TABSERVE_WORKERS="1")
    for model in MODELS:
        unload = f"{server.url}/v2/repository/models/{model}/unload"
        httpx.post(unload, json={}, timeout=60).raise_for_status()
    assert httpx.get(f"{server.url}/models", timeout=60).json() == {"models": []}
    page = open_page(f"{server.url}/")
    for view in ("models", "try", "versions", "live"):
        page.goto(f"{server.url}/#/{view}")
        expect(page.get_by_text("There are no models here.")).to_be_visible()
    page.goto(f"{server.url}/#/api")
    expect(page.get_by_role("heading", name="API")).to_be_visible()
