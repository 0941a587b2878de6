"""The Versions view shows the versions of the API; a change needs a confirmation and is recorded in the audit."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import KeyedServer
from tests.browser.written_numbers import format_number, format_percent
from tests.service.conftest import Server


@pytest.fixture(scope="module")
def changed_server(start_server: Callable[..., Server]) -> Server:
    return start_server()


def versions_of(server: Server, model: str = "housing") -> dict[str, Any]:
    response = httpx.get(f"{server.url}/models/{model}/versions", timeout=60)
    found: dict[str, Any] = response.raise_for_status().json()
    return found


def champion(server: Server) -> str:
    return next(str(one["version"]) for one in versions_of(server)["versions"] if "champion" in one["aliases"])


def open_versions(server: Server, open_page: Callable[..., Page], model: str = "housing") -> Page:
    page = open_page(f"{server.url}/#/versions/{model}")
    expect(page.get_by_role("region", name="Versions side by side")).to_be_visible()
    return page


def confirm(page: Page, button: str, **options: Any) -> None:
    """Press a button and confirm in the dialog."""
    page.get_by_role("button", name=button, **options).click()
    page.get_by_role("dialog").get_by_role("button", name=button, **options).click()
    expect(page.get_by_text(f"Done: {button.lower()}.")).to_be_visible()


def test_the_version_metrics_equal_those_of_the_api(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_versions(server, open_page)
    versions = versions_of(server)["versions"]
    assert len(versions) == 2
    for version in versions:
        for name, value in version["metrics"]["network"].items():
            cell = page.get_by_role("row", name=name).locator(f'[data-version="{version["version"]}"]').first
            assert (cell.text_content() or "").removesuffix(" (best)") == format_number(value)
        traffic = page.get_by_role("row", name="Requests").locator(f'[data-version="{version["version"]}"]')
        assert traffic.text_content() == format_percent(version["traffic"] / 100)


def test_the_model_card_of_a_version_is_shown_and_focused(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_versions(server, open_page)
    page.get_by_role("button", name="Card of version 1").click()
    card = page.get_by_role("region", name="Card of version 1")
    expect(card.get_by_role("heading", name="Importance of the columns")).to_be_visible()
    expect(card).to_be_focused()


def test_a_rollback_requires_a_confirmation(changed_server: Server, open_page: Callable[..., Page]) -> None:
    before = versions_of(changed_server)
    assert (champion(changed_server), before["previous"]) == ("2", "1")
    page = open_versions(changed_server, open_page)
    page.get_by_role("button", name="Roll back to version 1").click()
    dialog = page.get_by_role("dialog", name="Roll back housing to version 1?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert versions_of(changed_server) == before
    confirm(page, "Roll back to version 1")
    assert champion(changed_server) == "1"
    expect(page.get_by_role("region", name="Audit").get_by_role("row", name="rollback")).to_have_count(1)
    row = httpx.get(f"{changed_server.url}/models/housing", timeout=60).json()["examples"][0]["row"]
    content = httpx.post(f"{changed_server.url}/predict/housing", json={"rows": [row]}, timeout=60).json()
    assert content["version"] == "1"
    confirm(page, "Promote version 2")
    assert champion(changed_server) == "2"


def test_a_canary_and_a_shadow_start_and_end(changed_server: Server, open_page: Callable[..., Page]) -> None:
    page = open_versions(changed_server, open_page)
    page.get_by_label("Version", exact=True).select_option("1")
    confirm(page, "Set alias")
    page.get_by_label("Share of requests in %").fill("20")
    confirm(page, "Split traffic")
    found = versions_of(changed_server)
    assert {one["version"]: one["traffic"] for one in found["versions"]} == {"1": 20, "2": 80}
    assert found["rollback"] == {"after_rows": 500}
    page.get_by_label("Copies of requests in %").fill("50")
    confirm(page, "Start shadow")
    assert versions_of(changed_server)["shadow"] == {"alias": "challenger", "share": 0.5}
    confirm(page, "Stop shadow")
    confirm(page, "All to the champion")
    page.get_by_role("button", name="Delete the alias challenger").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete alias").click()
    expect(page.get_by_text("Done: delete alias.")).to_be_visible()
    found = versions_of(changed_server)
    assert {one["version"]: (one["traffic"], one["aliases"]) for one in found["versions"]} == {
        "1": (0, []),
        "2": (100, ["champion"]),
    }


def test_a_change_on_an_outdated_page_is_refused(changed_server: Server, open_page: Callable[..., Page]) -> None:
    page = open_versions(changed_server, open_page)
    aliases = f"{changed_server.url}/models/housing/aliases/other"
    httpx.put(aliases, json={"version": 1}, timeout=60).raise_for_status()
    page.get_by_role("button", name="Promote version 1").click()
    page.get_by_role("dialog").get_by_role("button", name="Promote version 1").click()
    expect(page.get_by_role("alert")).to_contain_text("the generation is")
    expect(page.get_by_text("other", exact=True).first).to_be_visible()
    assert champion(changed_server) == "2"


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_only_a_key_with_the_admin_scope_can_change_versions(
    keyed: KeyedServer, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{keyed.server.url}/#/versions/housing")
    sign_in(page, keyed.keys.texts["predict"])
    expect(page.get_by_role("region", name="Versions side by side")).to_be_visible()
    expect(page.get_by_role("heading", name="Changes")).to_be_visible()
    expect(page.get_by_role("button", name="Promote version 1")).to_have_count(0)
    sign_in(page, keyed.keys.texts["all"])
    expect(page.get_by_role("button", name="Promote version 1")).to_be_visible()


def test_a_key_is_stored_only_in_memory(keyed: KeyedServer, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{keyed.server.url}/#/versions/housing")
    key = keyed.keys.texts["all"]
    sign_in(page, key)
    expect(page.get_by_role("region", name="Versions side by side")).to_be_visible()
    stored = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, history.state])"
    assert page.evaluate(stored) == f'[{{}},{{}},"","{keyed.server.url}/#/versions/housing",null]'
    assert page.evaluate("indexedDB.databases().then((all) => all.length)") == 0
    assert key not in page.content()
    page.reload()
    expect(page.get_by_label("API key")).to_have_value("")
