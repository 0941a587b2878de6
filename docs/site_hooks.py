"""Hooks of MkDocs (mkdocs.yml): generated pages, formulas as MathML, and links that leave docs/.

A page about the command line and one about the HTTP API are made from the code, so that they cannot be outdated.
Formulas become MathML, which browsers render without a script. The site does not know the address of the repository: a
link to a file outside of docs/ becomes the path of the file.
"""

import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import latex2mathml.converter
from mkdocs.structure.files import File, Files

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]
import command_line_page  # noqa: E402 - docs/ is no package
import openapi_page  # noqa: E402

GENERATED = {"reference/command-line.md": command_line_page.page, "reference/openapi.md": openapi_page.page}
os.environ["BENTOML_DO_NOT_TRACK"] = "True"


def on_config(config: Any) -> Any:
    """Put every decision into the navigation."""
    section = next(entry["Decisions"] for entry in config["nav"] if "Decisions" in entry)
    section += [f"decisions/{path.name}" for path in decisions()]
    return config


def on_files(files: Files, config: Any) -> Files:
    for path, page in GENERATED.items():
        files.append(File.generated(config, path, content=page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    if page.file.src_uri == "decisions/index.md":
        markdown += index_of_decisions()
    return mathml(links_inside_docs(markdown, page.file.src_uri))


def decisions() -> list[Path]:
    return sorted((HERE / "decisions").glob("[0-9]*.md"))


def index_of_decisions() -> str:
    """A table with number, title, date and status, read from the pages."""
    lines = ["", "| | decision | date | status |", "|---:|---|---|---|"]
    for path in decisions():
        title, _, facts = path.read_text("utf-8").split("\n")[:3]
        number, name = title.removeprefix("# ").split(". ", 1)
        date, _, status = facts.removeprefix("Date: ").partition(" · Status: ")
        lines.append(f"| {number} | [{name}]({path.name}) | {date} | {status} |")
    return "\n".join(lines) + "\n"


def links_inside_docs(markdown: str, page: str) -> str:
    """Replace each link to a file outside of docs/ by its text and the file's path."""

    def replaced(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        if "://" in target or not (HERE / PurePosixPath(page).parent / target).resolve().is_relative_to(HERE):
            path = target.lstrip("./")
            if "://" in target:
                return link[0]
            return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"
        return link[0]

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)\)", replaced, markdown)


def mathml(markdown: str) -> str:
    """Formulas between double dollars as MathML."""

    def converted(formula: re.Match[str]) -> str:
        math = latex2mathml.converter.convert(formula[1].replace(r"\_", "_"), display="block")
        return f'<span class="formula">{math}</span>'  # scrolls on narrow screens, see site.css

    return re.sub(r"\$\$(.+?)\$\$", converted, markdown)
