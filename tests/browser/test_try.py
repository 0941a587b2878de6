"""The Try view of the default models and of unusual tables shows the same predictions as single requests."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import DEFAULT_MODELS, MODELS
from tests.browser.tables import HEBREW, LONG_NAME, WIDE_COLUMNS
from tests.browser.written_numbers import format_number, format_percent
from tests.service.conftest import Server

SHOWN_CONTRIBUTIONS = 10


def model_metadata(server: Server, model: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/models/{model}", timeout=60).raise_for_status().json()
    return found


def prediction_of(server: Server, model: str, row: dict[str, Any], **query: str) -> dict[str, Any]:
    """The prediction from a request with one row."""
    url = f"{server.url}/predict/{model}"
    response = httpx.post(url, params=query, json={"rows": [row]}, timeout=60).raise_for_status()
    found: dict[str, Any] = response.json()["predictions"][0]
    return found


def open_try(server: Server, open_page: Callable[..., Page], model: str, **options: Any) -> Page:
    page = open_page(f"{server.url}/#/try/{model}", **options)
    expect(prediction_value(page)).to_be_visible()
    return page


def prediction_value(page: Page) -> Locator:
    return page.get_by_role("region", name="Prediction").locator(".value")


@pytest.mark.parametrize("model", MODELS)
def test_the_try_view_shows_the_prediction_of_the_first_example(
    server: Server, open_page: Callable[..., Page], model: str
) -> None:
    page = open_page(f"{server.url}/")
    card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=model))
    card.get_by_role("link", name="Try", exact=True).click()
    expect(prediction_value(page)).to_be_visible()
    about = model_metadata(server, model)
    regression = about["task"] == "regression"
    query = {"interval" if regression else "set": "0.9"} if about["metrics"].get("uncertainty") else {}
    expected = prediction_of(server, model, about["examples"][0]["row"], **query)
    prediction = page.get_by_role("region", name="Prediction")
    if regression:
        expect(prediction_value(page)).to_have_text(format_number(expected["value"]))
        ends = expected["interval"]
        expect(prediction).to_contain_text(
            f"90 % interval: {format_number(ends['low'])} to {format_number(ends['high'])}"
        )
    else:
        expect(prediction_value(page)).to_have_text(str(expected["label"]))
        shares = sorted(expected["probabilities"].values(), reverse=True)
        expect(prediction.locator(".bar-value")).to_have_text([format_percent(share) for share in shares])


@pytest.mark.parametrize("model", DEFAULT_MODELS)
def test_contributions_equal_those_of_the_api(server: Server, open_page: Callable[..., Page], model: str) -> None:
    page = open_try(server, open_page, model)
    row = model_metadata(server, model)["examples"][0]["row"]
    explanation = prediction_of(server, model, row, explain="true")["explanation"]
    largest = sorted(explanation["contributions"].values(), key=abs, reverse=True)[:SHOWN_CONTRIBUTIONS]
    expected = [f"{'+' if one > 0 else ''}{format_number(one)}" for one in largest if one]
    bars = page.locator(".waterfall .bar-value")
    expect(bars.first).to_have_text(format_number(explanation["baseline"]))
    assert bars.all_text_contents()[1 : len(expected) + 1] == expected


@pytest.mark.parametrize("model", DEFAULT_MODELS)
def test_the_what_if_curve_equals_single_requests(server: Server, open_page: Callable[..., Page], model: str) -> None:
    page = open_try(server, open_page, model)
    about = model_metadata(server, model)
    first = about["metrics"]["importance"][0]["name"]  # the curve of this column is shown first
    numbers = [one for one in about["schema"]["features"] if one["kind"] == "number"]
    feature = next(one for one in numbers if one["name"] != first)
    expect(page.locator(".what-if")).to_be_visible()
    with page.expect_response(lambda response: "on_invalid=skip" in response.url) as received:
        page.get_by_label(feature["name"], exact=True).focus()
    expect(page.locator(".what-if h3")).to_contain_text(feature["name"])
    rows = json.loads(received.value.request.post_data or "")["rows"]
    predictions = received.value.json()["predictions"]
    assert len(rows) > 20
    assert len({row[feature["name"]] for row in rows}) == len(rows)
    for row, prediction in zip(rows[::8], predictions[::8], strict=True):
        alone = prediction_of(server, model, row)
        for key in ("value", "label", "probabilities"):
            if key in alone:
                assert prediction[key] == (
                    pytest.approx(alone[key], rel=1e-5, abs=1e-5) if key != "label" else alone[key]
                )
    outputs = [one.get("value") for one in predictions]
    curve = page.locator(".what-if svg").first
    text = curve.get_attribute("aria-label") or ""
    if outputs[0] is not None:
        assert f"From {format_number(outputs[0])} at" in text
        assert f"to {format_number(outputs[-1])} at" in text


def test_a_changed_value_is_predicted_and_part_of_the_url(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_try(server, open_page, "housing")
    row = model_metadata(server, "housing")["examples"][0]["row"]
    page.get_by_label("MedInc", exact=True).fill("12.5")
    changed = row | {"MedInc": 12.5}
    expect(prediction_value(page)).to_have_text(format_number(prediction_of(server, "housing", changed)["value"]))
    page.wait_for_url(re.compile("12.5"))
    linked = open_try(server, open_page, "housing")
    linked.goto(page.url)
    linked.reload()
    expect(linked.get_by_label("MedInc", exact=True)).to_have_value("12.5")
    expect(prediction_value(linked)).to_have_text(prediction_value(page).text_content() or "")


def test_an_invalid_value_is_reported_next_to_its_field(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_try(server, open_page, "housing")
    field = page.get_by_label("MedInc", exact=True)
    field.fill("much")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#" + (field.get_attribute("id") or "") + "-problem")).to_contain_text("not a number")
    field.fill("500")
    expect(field).to_have_attribute("aria-invalid", "false")
    expect(
        page.locator("#" + (field.get_attribute("id") or "") + "-problem")
    ).not_to_be_empty()  # a warning: never seen


def test_a_retried_request_also_updates_the_explanation(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_try(server, open_page, "housing")
    expect(page.locator(".waterfall")).to_be_visible()
    page.route("**/predict/**", lambda route: route.abort())
    page.get_by_label("MedInc", exact=True).fill("12.5")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.wait_for_timeout(1000)  # so that the explanation is requested, too; on a slow machine the test checks less
    page.unroute("**/predict/**")
    page.get_by_role("button", name="Try again").click()
    row = model_metadata(server, "housing")["examples"][0]["row"] | {"MedInc": 12.5}
    contributions = prediction_of(server, "housing", row, explain="true")["explanation"]["contributions"]
    expect(page.locator(".waterfall li").filter(has_text="MedInc")).to_contain_text(
        format_number(contributions["MedInc"])
    )


def test_a_form_of_200_columns_is_filtered_by_name(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_try(server, open_page, "wide")
    assert page.locator(".row-form .field").count() == WIDE_COLUMNS
    page.get_by_label("Find a column").fill("valve 006")
    field = page.get_by_label("valve 006", exact=True)
    expect(page.locator(".row-form .field:visible")).to_have_count(1)
    field.fill("1.25")
    page.get_by_label("Find a column").fill("")
    page.get_by_label("only changed").check()
    expect(page.locator(".row-form .field:visible")).to_have_count(1)
    expect(field).to_be_visible()


def test_a_field_with_10000_levels_suggests_matching_levels(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_try(server, open_page, "towns")
    field = page.get_by_role("combobox", name="town", exact=True)
    field.fill("4321")
    expect(page.get_by_role("listbox", name="Values").get_by_role("option")).to_have_text("town 04321")
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value("town 04321")
    size = page.get_by_label("size", exact=True)
    size.fill("")
    expect(size).to_have_attribute("aria-invalid", "false")  # `size` may be missing
    row = model_metadata(server, "towns")["examples"][0]["row"] | {"town": "town 04321", "size": None}
    expected = prediction_of(server, "towns", row)
    shares = sorted(expected["probabilities"].values(), reverse=True)
    bars = page.get_by_role("region", name="Prediction").locator(".bar-value")
    expect(bars).to_have_text([format_percent(share) for share in shares])


def test_unusual_names_are_shown_as_text(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_try(server, open_page, "names")
    for name in (HEBREW, LONG_NAME):
        expect(page.get_by_label(name, exact=True)).to_be_visible()
    assert page.locator("main b").count() == 0  # a level with <b> does not become an element


def test_the_try_view_works_with_only_the_keyboard(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{server.url}/")
    expect(page.get_by_role("link", name="Try", exact=True).first).to_be_visible()
    tab_to(page, 'a.button[href="#/try/penguins"]')
    page.keyboard.press("Enter")
    expect(prediction_value(page)).to_be_visible()
    body_mass = page.get_by_label("body_mass_g", exact=True)
    tab_to(page, f"#{body_mass.get_attribute('id')}")
    page.keyboard.press("Control+A")
    page.keyboard.type("5800")
    island = page.get_by_label("island", exact=True)
    tab_to(page, f"#{island.get_attribute('id')}", backwards=True)
    page.keyboard.type("Bis")
    row = model_metadata(server, "penguins")["examples"][0]["row"] | {"body_mass_g": 5800, "island": "Biscoe"}
    expected = prediction_of(server, "penguins", row)
    expect(prediction_value(page)).to_have_text(expected["label"])
    shares = sorted(expected["probabilities"].values(), reverse=True)
    bars = page.get_by_role("region", name="Prediction").locator(".bar-value")
    expect(bars).to_have_text([format_percent(share) for share in shares])


def tab_to(page: Page, selector: str, backwards: bool = False) -> None:
    """Press Tab until the element has the focus. The focus must be visible."""
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"the keyboard does not reach {selector}")


def test_a_file_is_scored(server: Server, open_page: Callable[..., Page], tmp_path: Path) -> None:
    page = open_try(server, open_page, "housing")
    examples = [one["row"] for one in model_metadata(server, "housing")["examples"]]
    file = write_table(tmp_path / "houses.csv", [*examples, examples[0] | {"MedInc": "much"}])
    page.locator("#file").set_input_files(file)
    expect(page.get_by_text(f"{len(examples)} rows predicted")).to_be_visible()
    problem = page.get_by_role("region", name="Rows that are not valid").get_by_role("row").last
    expect(problem).to_contain_text(str(len(examples) + 1))
    expect(problem).to_contain_text("MedInc")
    with page.expect_download() as downloaded:
        page.get_by_role("link", name=re.compile("Download")).click()
    lines = list(csv.DictReader(io.StringIO(downloaded.value.path().read_text("utf-8"))))
    assert [float(line["MedInc"]) for line in lines[:-1]] == [row["MedInc"] for row in examples]
    name = next(key for key in lines[0] if key not in examples[0])
    expected = [prediction_of(server, "housing", row)["value"] for row in examples]
    assert [float(line[name]) for line in lines[:-1]] == pytest.approx(expected, rel=1e-5)


def test_the_result_of_a_parquet_file_contains_the_input_columns(
    server: Server, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    """The file type is recognised by the first bytes of the file, not by its name."""
    page = open_try(server, open_page, "housing")
    examples = [one["row"] for one in model_metadata(server, "housing")["examples"]]
    table = pa.Table.from_pylist([*examples, examples[0] | {"MedInc": None}])
    file = tmp_path / "houses"
    pq.write_table(table, file)
    page.locator("#file").set_input_files(file)
    expect(page.get_by_text(f"{len(examples)} rows predicted")).to_be_visible()
    problem = page.get_by_role("region", name="Rows that are not valid").get_by_role("row").last
    expect(problem).to_contain_text("MedInc")
    with page.expect_download() as downloaded:
        page.get_by_role("link", name=re.compile("Download")).click()
    lines = list(csv.DictReader(io.StringIO(downloaded.value.path().read_text("utf-8"))))
    assert [*lines[0]][: table.num_columns] == table.column_names
    assert [float(line["MedInc"]) for line in lines[:-1]] == [row["MedInc"] for row in examples]
    expected = [prediction_of(server, "housing", row)["value"] for row in examples]
    assert [float(line["value"]) for line in lines[:-1]] == pytest.approx(expected, rel=1e-5)


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
