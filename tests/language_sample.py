"""`python -m tests.language_sample OLD NEW`: a blind sample of sentences and names from two checkouts.

Writes build/language/sample.txt, numbered texts in random order, and build/language/key.txt, the checkout and place of
each. Judge the sample first, then read the key: no text of the new checkout should need a second reading.
"""

import argparse
import ast
import io
import random
import re
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("docs", "loadtest", "models", "requirements", "scoring", "service", "tabserve", "tests", "training")
# Generated files, recorded data, and examples of refused phrases
EXCLUDED = ("build", ".venv", "tests/recorded/messages.py", "tests/recorded/store", "tests/test_language.py")
MIN_WORDS = 4
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def main(words: Sequence[str] | None = None) -> None:
    """Draw the sample and write both files."""
    parser = argparse.ArgumentParser("python -m tests.language_sample", description=__doc__)
    parser.add_argument("old", type=Path, help="a checkout of the earlier commit")
    parser.add_argument("new", type=Path, help="a checkout of the later commit")
    parser.add_argument("--sentences", type=int, default=30, help="sentences of each checkout (default: 30)")
    parser.add_argument("--names", type=int, default=10, help="names of each checkout (default: 10)")
    parser.add_argument("--seed", type=int, required=True, help="seed of the random choice")
    parser.add_argument("--out", type=Path, default=ROOT / "build/language")
    arguments = parser.parse_args(words)
    rng = random.Random(arguments.seed)
    drawn = []
    for checkout in (arguments.old, arguments.new):
        files = source_files(checkout)
        for texts, count in ((sentences(files), arguments.sentences), (names(files), arguments.names)):
            drawn += [(checkout, *text) for text in rng.sample(sorted(set(texts)), count)]
    rng.shuffle(drawn)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sample = [f"{number}. {text}" for number, (_, _, text) in enumerate(drawn, 1)]
    key = [f"{number}. {checkout} {place}" for number, (checkout, place, _) in enumerate(drawn, 1)]
    (arguments.out / "sample.txt").write_text("\n".join(sample) + "\n", "utf-8")
    (arguments.out / "key.txt").write_text("\n".join(key) + "\n", "utf-8")
    print(f"{len(drawn)} texts: {arguments.out}/sample.txt; afterwards read {arguments.out}/key.txt")


def source_files(checkout: Path) -> list[tuple[str, str]]:
    """Path and content of each Python and Markdown file."""
    paths = [*checkout.glob("*.md")]
    for folder in FOLDERS:
        paths += [path for kind in ("*.py", "*.md") for path in (checkout / folder).rglob(kind)]
    relative = sorted(str(path.relative_to(checkout)) for path in paths)
    return [(path, (checkout / path).read_text("utf-8")) for path in relative if not path.startswith(EXCLUDED)]


def sentences(files: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Place and text of each sentence in prose, docstrings, comments and messages."""
    for path, content in files:
        for line, text in markdown_texts(content) if path.endswith(".md") else python_texts(content):
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z`*])", " ".join(text.split())):
                if len(re.findall(r"[A-Za-z]{2,}", sentence)) >= MIN_WORDS:
                    yield f"{path}:{line}", sentence


def markdown_texts(content: str) -> Iterator[tuple[int, str]]:
    """First line and text of each paragraph, list item and title."""
    prose = re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), content, flags=re.M | re.S)
    line = 1
    for block in re.split(r"(\n\s*\n|\n(?=[-*|#] ?))", prose):
        if block.strip():
            yield line, block
        line += block.count("\n")


def python_texts(content: str) -> Iterator[tuple[int, str]]:
    """First line and text of each docstring, comment and message."""
    comment: list[str] = []
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type == tokenize.COMMENT and not re.match(r"# (type|noqa|fmt)\b", token.string):
            start = token.start[0] if not comment else start
            comment.append(token.string.lstrip("# "))
        elif comment and token.type not in (tokenize.NL, tokenize.NEWLINE):
            yield start, " ".join(comment)
            comment = []
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield node.lineno, ast.unparse(node)


def names(files: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Place and name of each class, function and argument."""
    for path, content in files:
        if path.endswith(".py"):
            for node in ast.walk(ast.parse(content)):
                if isinstance(node, Definition) and not node.name.startswith("__"):
                    yield f"{path}:{node.lineno}", f"name `{node.name}`"
                    if not isinstance(node, ast.ClassDef):
                        for each in (*node.args.args, *node.args.kwonlyargs):
                            if each.arg in ("self", "cls"):
                                continue
                            yield f"{path}:{node.lineno}", f"argument `{each.arg}` of `{node.name}`"


if __name__ == "__main__":
    main()
