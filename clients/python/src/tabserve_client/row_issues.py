"""Errors and warnings of single rows, as objects and as the texts in table formats."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAME = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
QUOTED = re.compile(NAME)
PLACE = rf"(?=row \d+[,:]|feature (?:{NAME}):)(?:row \d+)?(?:,? ?(?:feature|field) (?P<name>{NAME}))?"
START = re.compile(rf"(?P<code>[a-z_]+): {PLACE}")
ROW = re.compile(r"^row (\d+)(?=[,:])")
"""The start of each error and warning in the text of a row, such as `wrong_type: row 3, feature 'age': …`."""


@dataclass(frozen=True)
class RowError:
    """An error of an invalid row. `row` counts from 0 in the data of the call, and is None for an error of all rows."""

    row: int | None
    field: str | None
    code: str
    message: str

    def moved(self, rows: int) -> "RowError":
        """The error of the same row when `rows` rows precede it."""
        if self.row is None or not rows:
            return self
        row = self.row + rows
        return RowError(row, self.field, self.code, ROW.sub(f"row {row}", self.message))


@dataclass(frozen=True)
class RowWarning:
    """A value of a valid row that does not occur in the training data. `row` counts from 0 in the data of the call."""

    row: int
    field: str | None
    code: str
    message: str


def error_of(document: Mapping[str, Any]) -> RowError:
    """An entry of `errors` in a response or a problem document."""
    row, field = document.get("row"), document.get("field")
    return RowError(
        row if isinstance(row, int) else None,
        None if field is None else str(field),
        str(document.get("code", "")),
        str(document.get("message", "")),
    )


def warning_of(document: Mapping[str, Any], row: int) -> RowWarning:
    """An entry of `warnings` in a prediction."""
    field = document.get("field")
    return RowWarning(
        row, None if field is None else str(field), str(document.get("code", "")), str(document.get("message", ""))
    )


def errors_in(text: str, row: int) -> list[RowError]:
    """The errors in the column `error` of a table. row: the position of the row in the data of the call."""
    moved = ROW.sub
    return [RowError(row, field, code, moved(f"row {row}", message)) for field, code, message in split_issues(text)]


def warnings_in(text: str, row: int) -> list[RowWarning]:
    """The warnings in the column `warnings` of a table."""
    return [RowWarning(row, field, code, message) for field, code, message in split_issues(text)]


def split_issues(text: str) -> list[tuple[str | None, str, str]]:
    """Field, code and message of each error or warning in a text. Quoted values may look like a start."""
    found: list[tuple[str | None, str, str]] = []
    for part in split_parts(text):
        match = START.match(part)
        if match is None:
            found.append((None, "", part))
            continue
        name = match["name"]
        field = None if name is None else str(ast.literal_eval(name))
        found.append((field, str(match["code"]), part[match.end("code") + 2 :]))
    return found


def split_parts(text: str) -> list[str]:
    """The text, split at each `; ` outside of quotes that is followed by a code and a place."""
    parts, begin, at = [], 0, 0
    while at < len(text):
        quoted = QUOTED.match(text, at) if text[at] in "'\"" else None
        if quoted:
            at = quoted.end()
        elif text.startswith("; ", at) and START.match(text, at + 2):
            parts.append(text[begin:at])
            begin = at = at + 2
        else:
            at += 1
    return [*parts, text[begin:]]


def joined(issues: Sequence[RowError | RowWarning]) -> str | None:
    """The text for one row in table formats; None without errors or warnings."""
    return "; ".join(f"{issue.code}: {issue.message}" for issue in issues) or None
