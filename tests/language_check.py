"""`python -m tests.language_check`: refuses words of the old private dialect in documentation and messages.

docs/glossary.md has the terms to use instead. The check reads pages of docs/ and the other Markdown files without their
code, and with `--code` also texts in the source: messages (strings of several words), docstrings of public definitions,
and names.
"""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("clients/python/src", "loadtest", "models", "scoring", "service", "tabserve", "training")
TOOLS = ("docs", "requirements", "tests")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "clients/python/README.md")

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

DIALECT = {
    r"(?<!there )\bis no (?!longer|more|less|better|worse|slower|faster)\w+": "is not a …, unknown …",
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
    r"\boverrul(?:e|es|ed)\b": "overrides",
    r"\b(?:not|are|is) spoken\b": "supported",
    r"\b[Hh]eld by\b": "Tests, checked by",
    r"\bnoisy way\b": "trial for noisy tables",
    r"\bfor ever\b": "forever, permanently",
    r"\bwithout a word\b": "silently",
    r"\bso (?:many|long) (?:seconds|rows|bytes|times|epochs|models|processes)\b": "this number of",
    r"\bbut for\b": "except for",
    r"\bodd cells?\b": "isolated cell",
    r"\bmend(?:s|ed)?\b": "fix",
    r"\bunder way\b": "in progress",
    r"\b(?:goes|go) before\b|\bgives? way to\b": "takes precedence over",
    r"\bas (?:told|said)\b": "as requested",
    r"\bstands? (?:in the|in two|in one|beside|behind|at these|where)\b": "is in, is next to",
    r"\bwhat (?:waits|stands|lies)\b|\bwhat is no (?!longer)\w+": "the waiting …, the position of …, an invalid …",
    r"\btells? (?:a|the|its|his) (?:user|client|caller|server|reader)s? (?!apart)\w+": "reports, requests",
    r"\bhow much it bears\b|\bbears? (?:a|the|its) load\b": "sustainable throughput",
    r"\bnobody (?:asks|waits|looks|knows|tuned|chose)\b": "name the subject",
    r"\bin the eyes of\b|\bgone wrong\b": "for, failed",
}
"""The refused phrases, and the words to use instead."""


def main(arguments: list[str]) -> int:
    """Print every refused phrase with its location; the exit code is 1 if a phrase was found."""
    texts = list(pages())
    if "--code" in arguments:
        texts += source_texts()
    found = [line for path, number, text in texts for line in refused(path, number, text)]
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


def pages() -> Iterator[tuple[Path, int, str]]:
    """The prose of Markdown files, line by line, without code blocks, inline code and quotations."""
    for path in [*(ROOT / name for name in PAGES), *sorted((ROOT / "docs").rglob("*.md"))]:
        text = re.sub(
            r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), path.read_text("utf-8"), flags=re.M | re.S
        )
        for number, line in enumerate(text.splitlines(), 1):
            yield path, number, re.sub(r"`[^`]*`|\"[^\"]*\"", "", line)


def source_texts() -> Iterator[tuple[Path, int, str]]:
    """The messages, docstrings and names of public definitions; in tests and tools only docstrings and names."""
    for package in (*PACKAGES, *TOOLS):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text("utf-8"))
            definitions = [node for node in ast.walk(tree) if isinstance(node, Definition)]
            yield from ((path, node.lineno, node.name.replace("_", " ")) for node in definitions)
            documented = [tree, *(node for node in definitions if not node.name.startswith("_"))]
            docstrings = {id(node.body[0].value) for node in documented if is_docstring(node.body)}
            private = {id(node.body[0].value) for node in definitions if is_docstring(node.body)} - docstrings
            for node in ast.walk(tree):
                if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value):
                    continue
                if id(node) in docstrings or (package in PACKAGES and id(node) not in private):
                    yield path, node.lineno, node.value


def is_docstring(body: Sequence[ast.stmt]) -> TypeGuard[Sequence[ast.Expr]]:
    return bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)


def refused(path: Path, number: int, text: str) -> Iterator[str]:
    for pattern, instead in DIALECT.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            yield f"{path.relative_to(ROOT)}:{number}: {match[0]!r}; write: {instead}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
