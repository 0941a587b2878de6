"""The files of recorded responses: JSON lines, one response per line."""

import fnmatch
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.recorded.case import Case
from tests.recorded.client import Response

FOLDER = Path(__file__).resolve().parent
RECORDED, CHANGED = FOLDER / "answers.jsonl", FOLDER / "changed.jsonl"


def read_responses(path: Path) -> dict[str, Response]:
    if not path.exists():
        return {}
    responses = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {response["name"]: response for response in responses}


def write_responses(path: Path, responses: Iterable[Response]) -> None:
    lines = [json.dumps(response, ensure_ascii=False, allow_nan=False) + "\n" for response in responses]
    path.write_text("".join(with_escaped_line_ends(line) for line in lines), encoding="utf-8")


def with_escaped_line_ends(line: str) -> str:
    """The line with escapes for all characters, except the newline, at which Python's `splitlines` ends a line."""
    return line.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def declared_change(name: str, changes: Mapping[str, str]) -> str | None:
    """The name or pattern in `changes` that declares a change of this response, if any."""
    return next((pattern for pattern in changes if fnmatch.fnmatchcase(name, pattern)), None)


def problems_of_changes(
    changes: Mapping[str, str], cases: Iterable[Case], changed: Mapping[str, Response]
) -> list[str]:
    """Problems of the declared changes: names without a request, missing reasons, and missing or undeclared new
    responses.
    """
    names = [case.name for case in cases]
    found = [f"{pattern!r} matches no request" for pattern in changes if not fnmatch.filter(names, pattern)]
    found += [f"{pattern!r} has no reason" for pattern, reason in changes.items() if not reason.strip()]
    declared = {name for name in names if declared_change(name, changes) is not None}
    found += [f"{name}: its new response is not in changed.jsonl" for name in sorted(declared - changed.keys())]
    found += [
        f"{name}: changed.jsonl contains a response, but no change is declared"
        for name in sorted(changed.keys() - declared)
    ]
    return found
