"""The files of recorded responses: JSON lines, one response per line."""

import fnmatch
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.recorded.case import Case
from tests.recorded.client import Answer

FOLDER = Path(__file__).resolve().parent
ANSWERS, CHANGED = FOLDER / "answers.jsonl", FOLDER / "changed.jsonl"


def read(path: Path) -> dict[str, Answer]:
    if not path.exists():
        return {}
    answers = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {answer["name"]: answer for answer in answers}


def write(path: Path, answers: Iterable[Answer]) -> None:
    lines = [json.dumps(answer, ensure_ascii=False, allow_nan=False) + "\n" for answer in answers]
    path.write_text("".join(escaped(line) for line in lines), encoding="utf-8")


def escaped(line: str) -> str:
    """The text without the characters, except the newline, at which Python's `splitlines` ends a line."""
    return line.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def change_of(name: str, changes: Mapping[str, str]) -> str | None:
    """The name or pattern under which a change of this answer is declared."""
    return next((pattern for pattern in changes if fnmatch.fnmatchcase(name, pattern)), None)


def wrong_changes(changes: Mapping[str, str], cases: Iterable[Case], changed: Mapping[str, Answer]) -> list[str]:
    """Problems of the declared changes: names without a request, and new responses that are missing or unnecessary."""
    names = [case.name for case in cases]
    found = [f"{pattern!r} matches no request" for pattern in changes if not fnmatch.filter(names, pattern)]
    found += [f"{pattern!r} has no reason" for pattern, reason in changes.items() if not reason.strip()]
    declared = {name for name in names if change_of(name, changes) is not None}
    found += [f"{name}: its new answer is not in changed.jsonl" for name in sorted(declared - changed.keys())]
    found += [
        f"{name}: changed.jsonl answers it, and no change is declared" for name in sorted(changed.keys() - declared)
    ]
    return found
