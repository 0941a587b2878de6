"""Single-file HTML pages: the model card contains all parts of its Markdown, and loads no other file."""

import base64
import re
from html.parser import HTMLParser

from models.card_page import card_page
from models.html_page import colours, light_colours, single_file_page, style_sheet

PNG = b"\x89PNG\r\n\x1a\n picture"
CARD = r"""# houses

Predicts `price <$>` (regression) from **2** columns.

|  | RMSE | "R²" |
|---|---|---|
| this model | 0.5 | a \| b |

![a "curve"](learning.png)

![none](missing.png)

## Columns & more

- `a*b`: <script>alert(1)</script>
- second
"""


class PageElements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def test_page_of_a_card_has_all_parts_of_its_markdown() -> None:
    page = PageElements(card_page("houses", CARD, {"learning.png": PNG}))
    assert [page.count(tag) for tag in ("h1", "h2", "table", "th", "tr", "li", "code", "strong")] == [
        *(1, 1, 1, 2, 2, 2, 2, 1)
    ]
    text = "".join(page.texts)
    for part in ("price <$>", '"R²"', "a | b", "a*b", "<script>alert(1)</script>", "Columns & more"):
        assert part in text
    assert page.count("script") == 0
    [picture] = [attributes for name, attributes in page.tags if name == "img"]
    assert picture["alt"] == 'a "curve"'
    assert picture["src"] == "data:image/png;base64," + base64.b64encode(PNG).decode()


def test_a_single_file_page_loads_nothing() -> None:
    page = single_file_page("<title>", "<p>content</p>")
    assert "<title>&lt;title&gt;</title>" in page
    assert "default-src 'none'" in page
    assert not re.findall(r"url\(|@import|https?:|<link|<script", page)
    assert style_sheet() in page


def test_every_colour_has_a_light_and_a_dark_form() -> None:
    light, dark = colours().split("@media")
    names = re.compile(r"--([a-z-]+): #")
    assert {*names.findall(light)} == {*names.findall(dark)} == light_colours().keys()
    used = set(re.findall(r"var\(--([a-z-]+)\)", style_sheet()))
    assert used - light_colours().keys() == {"radius"}
