"""`python -m tests.language_check`: refuses words of the old private dialect in documentation and messages.

docs/glossary.md has the terms to use instead. Pages of docs/ and the other Markdown files are read without code; with
`--code` also texts in the source: messages (strings of several words) and docstrings of public definitions.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("loadtest", "models", "service", "tabserve", "training")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")

DIALECT = {
    r"(?<!there )\bis no (?!longer|more|less|worse|slower)\w+": "is not a …, unknown …",
    r"\b(?:is|are|was|were) told\b|\btold (?:by|in)\b|\btells (?:of|that|when|how|what|every)\b": "reported, says",
    r"\b(?:can|may|models|servers?) bears?\b|\bbears out\b": "sustains, capacity",
    r"\bby (?:its|their) rank\b|\bin waves\b": "quantile-encoded, periodic features",
    r"\bshort ways?\b|\blong way\b": "fast path, general way",
    r"\bthe lane\b": "ASGI application, fast path",
    r"\bbeside the (?:event )?loop\b": "in a thread",
    r"\b(?:to learn from|to choose by|to judge by)\b": "train, validation and test sets",
    r"\bmade to hurt\b": "malicious, hostile",
    r"\bverdicts?\b": "result",
    r"\ba thousand faults\b|\bfaults\b": "errors",
    r"\bis liked best\b|\blikes best\b": "has the highest quality",
    r"\bwhat (?:is|was) (?:told|asked|given|gone)\b": "what is reported, requested, supplied, missing",
    r"\bpacked by\b": "compressed, decompressed",
    r"\boverrules?\b": "overrides",
}
"""What is refused, and what to write instead."""


def main(arguments: list[str]) -> int:
    """Print every refused phrase with its place; the exit code is 1 if there is one."""
    texts = list(pages())
    if "--code" in arguments:
        texts += source_texts()
    found = [line for path, number, text in texts for line in refused(path, number, text)]
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


def pages() -> Iterator[tuple[Path, int, str]]:
    """The prose of Markdown files, line by line: no code blocks, no code in a line, no quotations."""
    for path in [*(ROOT / name for name in PAGES), *sorted((ROOT / "docs").rglob("*.md"))]:
        text = re.sub(
            r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), path.read_text("utf-8"), flags=re.M | re.S
        )
        for number, line in enumerate(text.splitlines(), 1):
            yield path, number, re.sub(r"`[^`]*`|\"[^\"]*\"", "", line)


def source_texts() -> Iterator[tuple[Path, int, str]]:
    """Messages and docstrings of public modules, classes and functions."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text("utf-8"))
            private = {
                id(node.body[0].value)
                for node in ast.walk(tree)
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name.startswith("_")
                and isinstance(node.body[0], ast.Expr)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                    yield from [] if id(node) in private else [(path, node.lineno, node.value)]


def refused(path: Path, number: int, text: str) -> Iterator[str]:
    for pattern, instead in DIALECT.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            yield f"{path.relative_to(ROOT)}:{number}: {match[0]!r}; write: {instead}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
