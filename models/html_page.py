"""The style of all pages: colours, a style sheet, and HTML pages in a single file."""

import functools
import html
import re
from collections.abc import Mapping
from pathlib import Path

STYLE = Path(__file__).with_suffix(".css")
COLOURS = STYLE.with_name("page_colours.css")


@functools.cache
def style_sheet() -> str:
    """The style sheet of the page at `/`, of reports and of model cards."""
    return colours() + STYLE.read_text("utf-8")


@functools.cache
def colours() -> str:
    """CSS variables such as `--text` and `--accent`, for light and dark mode."""
    return COLOURS.read_text("utf-8")


@functools.cache
def light_colours() -> Mapping[str, str]:
    """The colours of the light mode by name, for pictures."""
    light = colours().partition("@media")[0]
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", light))


def single_file_page(title: str, content: str, style: str = "") -> str:
    """An HTML page that loads no other files. content: the HTML in `main`. style: CSS rules in addition to the style
    sheet."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<style>{style_sheet()}{style}</style></head><body><main>\n{content}\n</main></body></html>\n"
    )
