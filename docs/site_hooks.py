"""MkDocs hooks (mkdocs.yml) for generated pages, formulas as MathML, and links to files outside docs/.

The pages about the command line and the HTTP API are generated from the code, so they cannot become outdated. Formulas
become MathML, which browsers render without a script. The site has no repository URL, so a link to a file outside docs/
becomes the path of the file.
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
import command_line_page  # noqa: E402 - docs/ is not a package
import openapi_page  # noqa: E402

GENERATED = {
    "reference/command-line.md": command_line_page.command_line_markdown,
    "reference/openapi.md": openapi_page.openapi_markdown,
}
os.environ["BENTOML_DO_NOT_TRACK"] = "True"


def on_config(config: Any) -> Any:
    """Add every decision to the navigation."""
    section = next(entry["Decisions"] for entry in config["nav"] if "Decisions" in entry)
    section += [f"decisions/{path.name}" for path in decision_pages()]
    return config


def on_files(files: Files, config: Any) -> Files:
    for path, page in GENERATED.items():
        files.append(File.generated(config, path, content=page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    if page.file.src_uri == "decisions/index.md":
        markdown += decision_table()
    return formulas_as_mathml(replace_outside_links(markdown, page.file.src_uri))


def decision_pages() -> list[Path]:
    return sorted((HERE / "decisions").glob("[0-9]*.md"))


def decision_table() -> str:
    """A table of all decisions with number, title, date and status, which are read from the pages."""
    lines = ["", "| | decision | date | status |", "|---:|---|---|---|"]
    for path in decision_pages():
        title, _, facts = path.read_text("utf-8").split("\n")[:3]
        number, name = title.removeprefix("# ").split(". ", 1)
        date, _, status = facts.removeprefix("Date: ").partition(" · Status: ")
        lines.append(f"| {number} | [{name}]({path.name}) | {date} | {status} |")
    return "\n".join(lines) + "\n"


def replace_outside_links(markdown: str, page: str) -> str:
    """Replace each link to a file outside docs/ with its text and the file's path."""

    def text_and_path(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        if "://" in target or not (HERE / PurePosixPath(page).parent / target).resolve().is_relative_to(HERE):
            path = target.lstrip("./")
            if "://" in target:
                return link[0]
            return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"
        return link[0]

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)\)", text_and_path, markdown)


def formulas_as_mathml(markdown: str) -> str:
    """Convert formulas between double dollars to MathML."""

    def mathml_span(formula: re.Match[str]) -> str:
        math = latex2mathml.converter.convert(formula[1].replace(r"\_", "_"), display="block")
        return f'<span class="formula">{math}</span>'  # scrolls on narrow screens, see site.css

    return re.sub(r"\$\$(.+?)\$\$", mathml_span, markdown)
