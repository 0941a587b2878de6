"""The files of recorded responses: JSON lines, one response per line."""

import fnmatch
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.recorded.case import Case
from tests.recorded.client import Answer

FOLDER = Path(__file__).resolve().parent
ANSWERS, CHANGED = FOLDER / "answers.jsonl", FOLDER / "changed.jsonl"


def read_answers(path: Path) -> dict[str, Answer]:
    if not path.exists():
        return {}
    answers = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {answer["name"]: answer for answer in answers}


def write_answers(path: Path, answers: Iterable[Answer]) -> None:
    lines = [json.dumps(answer, ensure_ascii=False, allow_nan=False) + "\n" for answer in answers]
    path.write_text("".join(with_escaped_line_ends(line) for line in lines), encoding="utf-8")


def with_escaped_line_ends(line: str) -> str:
    """The line with escapes for all characters, except the newline, at which Python's `splitlines` ends a line."""
    return line.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def declared_change(name: str, changes: Mapping[str, str]) -> str | None:
    """The name or pattern in `changes` that declares a change of this answer, if any."""
    return next((pattern for pattern in changes if fnmatch.fnmatchcase(name, pattern)), None)


def problems_of_changes(changes: Mapping[str, str], cases: Iterable[Case], changed: Mapping[str, Answer]) -> list[str]:
    """Problems of the declared changes: names without a request, missing reasons, and missing or undeclared new
    answers.
    """
    names = [case.name for case in cases]
    found = [f"{pattern!r} matches no request" for pattern in changes if not fnmatch.filter(names, pattern)]
    found += [f"{pattern!r} has no reason" for pattern, reason in changes.items() if not reason.strip()]
    declared = {name for name in names if declared_change(name, changes) is not None}
    found += [f"{name}: its new answer is not in changed.jsonl" for name in sorted(declared - changed.keys())]
    found += [
        f"{name}: changed.jsonl contains an answer, but no change is declared"
        for name in sorted(changed.keys() - declared)
    ]
    return found
