"""Five tasks that a new user completes on the page, each in at most ten actions."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_live import example
from tests.browser.test_try import model_metadata, prediction_of, prediction_value, write_table
from tests.browser.test_versions import champion
from tests.browser.written_numbers import format_number, format_percent
from tests.service.conftest import Server

MAX_ACTIONS = 10


class User:
    """A user of the page, whose actions are counted. Reading is not an action."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.actions = 0

    def click(self, element: Locator) -> None:
        self.actions += 1
        element.click()

    def choose_file(self, element: Locator, file: Path) -> None:
        self.actions += 2  # press the button, then choose the file in the dialog
        element.set_input_files(file)

    def open_try(self, model: str) -> None:
        card = self.page.get_by_role("listitem").filter(has=self.page.get_by_role("heading", name=model))
        self.click(card.get_by_role("link", name="Try", exact=True))
        expect(prediction_value(self.page)).to_be_visible()


@pytest.fixture(scope="module")
def separate_server(start_server: Callable[..., Server]) -> Server:
    return start_server()


@pytest.fixture
def user(separate_server: Server, open_page: Callable[..., Page]) -> Iterator[User]:
    new_user = User(open_page(f"{separate_server.url}/"))
    yield new_user
    assert 0 < new_user.actions <= MAX_ACTIONS


def test_a_user_finds_the_largest_contribution_to_a_price(user: User, separate_server: Server) -> None:
    user.open_try("housing")
    reasons = user.page.locator(".waterfall li")
    explanation = prediction_of(separate_server, "housing", example(separate_server), explain="true")["explanation"]
    name, value = max(explanation["contributions"].items(), key=lambda one: abs(one[1]))
    expect(reasons.nth(1)).to_contain_text(name)
    expect(reasons.nth(1)).to_contain_text(format_number(value))


def test_a_user_finds_where_the_predicted_label_changes(user: User, separate_server: Server) -> None:
    user.open_try("income")
    examples = model_metadata(separate_server, "income")["examples"]
    shares = [one["prediction"]["probabilities"][">50K"] for one in examples]
    closest = min(range(len(examples)), key=lambda number: abs(shares[number] - 0.5))
    row = examples[closest]["row"]
    for number in [*range(len(examples)), *([] if closest == len(examples) - 1 else [closest])]:
        user.click(user.page.get_by_role("button", name=f"Example {number + 1}"))
        expect(user.page.get_by_role("region", name="Prediction")).to_contain_text(format_percent(shares[number]))
    for name in ("capital-gain", "educational-num", "age", "hours-per-week", "capital-loss"):
        user.click(user.page.get_by_label(name, exact=True))
        expect(user.page.locator(".what-if h3")).to_contain_text(name)
        if user.page.locator(".flips li").count():
            break
    text = user.page.locator(".flips li").first.text_content() or ""
    between = re.match(r"between ([\d,.]+) and ([\d,.]+): (.*) → (.*)", text)
    assert between, text
    ends = [float(text.replace(",", "")) for text in between.groups()[:2]]
    labels = [prediction_of(separate_server, "income", row | {name: end})["label"] for end in ends]
    assert labels == [*between.groups()[2:]]


def test_a_user_scores_a_file(user: User, separate_server: Server, tmp_path: Path) -> None:
    rows = [one["row"] for one in model_metadata(separate_server, "penguins")["examples"]]
    user.open_try("penguins")
    user.choose_file(user.page.locator("#file"), write_table(tmp_path / "birds.csv", rows))
    expect(user.page.get_by_text(f"{len(rows)} rows predicted")).to_be_visible()
    with user.page.expect_download() as downloaded:
        user.click(user.page.get_by_role("link", name=re.compile("Download")))
    text = downloaded.value.path().read_text("utf-8")
    for row in rows:
        assert prediction_of(separate_server, "penguins", row)["label"] in text


def test_a_user_rolls_back_a_version(user: User, separate_server: Server) -> None:
    assert champion(separate_server) == "2"
    user.click(user.page.get_by_role("navigation").get_by_role("link", name="Versions"))
    rollback = "Roll back to version 1"
    user.click(user.page.get_by_role("button", name=rollback))
    user.click(user.page.get_by_role("dialog").get_by_role("button", name=rollback))
    expect(user.page.get_by_text("All workers have switched.")).to_be_visible()
    assert champion(separate_server) == "1"


def test_a_user_finds_a_drifting_column(user: User, separate_server: Server) -> None:
    row = example(separate_server)
    for number in range(60):
        rows = [row | {"MedInc": 1000.0 + number + place} for place in range(10)]
        httpx.post(f"{separate_server.url}/predict/housing", json={"rows": rows}, timeout=60).raise_for_status()
    user.click(user.page.get_by_role("navigation").get_by_role("link", name="Live"))
    panel = user.page.get_by_role("region", name="Drift of housing")
    expect(panel.locator('[data-status="alarm"]').first).to_be_visible()
    user.click(panel.get_by_role("button", name="MedInc"))
    expect(panel.get_by_role("table", name="Rows by MedInc")).to_be_visible()
