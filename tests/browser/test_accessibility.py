"""axe-core finds no serious or critical problem in any view, in both color schemes and at both window widths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NARROW, WIDE, KeyedServer
from tests.service.conftest import Server

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
SERIOUS = ("serious", "critical")
VIEWS = {
    "#/models": "h2",
    "#/try/housing": ".waterfall",
    "#/try/wide": ".prediction .value",
    "#/try/names": ".what-if",
    "#/versions/housing": "table.versions",
    "#/live/housing": ".drift-columns",
    "#/api": ".view.api",
}
"""The address of each view, and the selector of an element that appears when the view is complete."""


def serious_problems(page: Page) -> list[tuple[str, str]]:
    """The serious problems that axe finds, each with its element. The page must be opened by `open_with_axe`."""
    found: list[dict[str, Any]] = page.evaluate("axe.run(document).then((report) => report.violations)")
    return [
        (problem["id"], node["html"][:200])
        for problem in found
        if problem["impact"] in SERIOUS
        for node in problem["nodes"]
    ]


@pytest.fixture
def open_with_axe(open_page: Callable[..., Page]) -> Callable[..., Page]:
    return lambda address, **options: open_page(address, scripts=[AXE.read_text("utf-8")], **options)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_views_have_no_serious_problems_and_fit_the_window(
    server: Server, open_with_axe: Callable[..., Page], scheme: str, viewport: dict[str, int]
) -> None:
    page = open_with_axe(f"{server.url}/", color_scheme=scheme, viewport=viewport)
    problems = {}
    for view, selector in VIEWS.items():
        page.goto(f"{server.url}/{view}")
        expect(page.locator(selector).first).to_be_attached()
        if found := serious_problems(page):
            problems[view] = found
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= viewport["width"], f"{view} scrolls horizontally"
    assert problems == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dialogs_and_forms_have_no_serious_problems(
    server: Server, keyed: KeyedServer, open_with_axe: Callable[..., Page], scheme: str
) -> None:
    page = open_with_axe(f"{server.url}/#/versions/housing", color_scheme=scheme)
    page.get_by_role("button", name="Promote version 1").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert serious_problems(page) == []
    signed_out = open_with_axe(f"{keyed.server.url}/", color_scheme=scheme)
    expect(signed_out.get_by_label("API key")).to_be_visible()
    assert serious_problems(signed_out) == []


def test_axe_reports_an_image_and_an_input_without_a_label(server: Server, open_with_axe: Callable[..., Page]) -> None:
    page = open_with_axe(f"{server.url}/")
    expect(page.locator("h2").first).to_be_visible()
    page.evaluate(
        "document.getElementById('main').append(document.createElement('img'), document.createElement('input'))"
    )
    assert {name for name, _ in serious_problems(page)} >= {"image-alt", "label"}
