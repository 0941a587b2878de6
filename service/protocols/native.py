"""The API's own JSON: a body to checked rows, answers to a body. Pure functions; no HTTP, no BentoML."""

import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import orjson
from pydantic_core import from_json

from models.column_validation import check_columns
from models.columns import ColumnRows, Columns
from models.frame import Frame, Row
from models.json_text import dumps, escaped, listed, numbers
from models.outputs import Answers
from models.rows import MAX_LISTED_ERRORS, Checked, RowError, RowWarning, ValidatedRows
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import class_key, nearest, truncate
from service.errors import BadJson, RequestError, RequestNotValid, RowsNotValid, TooManyRows

OPTIONS = ("fail", "skip")
MOST_DIGITS = 4000
FEW = 1  # rows that are checked faster one by one than as columns
JSON_TYPE = b"application/json"
PIECE = 64 * 1024  # bytes that are read in half a millisecond or so
LARGE = 4 * PIECE  # bytes of a body above which it is read piece by piece
HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"rows"[ \t\r\n]*:[ \t\r\n]*\[')
TAIL = re.compile(rb"\][ \t\r\n]*\}[ \t\r\n]*\Z")
LONGEST_TAIL = 100
BETWEEN_ROWS = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*\{")
BETWEEN_LISTS = re.compile(rb"\][ \t\r\n]*,[ \t\r\n]*\[")  # no rows, but they have to be counted


def read(schema: FeatureSchema, body: bytes, on_invalid: str, max_rows: int) -> ValidatedRows:
    """The body of a predict request. Raises BadJson, RequestNotValid, TooManyRows or RowsNotValid.

    The compiled check knows only good rows. Whatever it does not accept is checked again by the schema's own words,
    which are the authority: where they find no fault, the rows are good.
    """
    if len(body) > LARGE and on_invalid in OPTIONS:
        accepted = read_in_pieces(schema, body, on_invalid == "skip", max_rows)
        if accepted is not None:
            return accepted
    if on_invalid in OPTIONS:
        rows = schema.accept_json(body)
        if rows is not None:
            if len(rows) > max_rows:
                raise TooManyRows(len(rows), max_rows)
            return accept(schema, rows)
    return accept_rows(schema, *read_slowly(body, on_invalid, max_rows), skip=on_invalid == "skip")


def read_in_pieces(schema: FeatureSchema, body: bytes, skip: bool, max_rows: int) -> ValidatedRows | None:
    """`read` piece by piece, between which Python's lock is free for others; None where the body cannot be cut so.

    Cuts are made where a row seems to end. One in a text or in a column that is itself a list leaves pieces that are no
    JSON, and no others can be read as rows: where all of them can, they are the rows of the body.
    """
    parts: list[ValidatedRows] = []
    count = listed_errors = 0
    for piece in pieces(body):
        rows: Sequence[Any] | None = schema.accept_piece(piece)
        good = rows is not None
        if rows is None and (rows := rows_of_piece(piece)) is None:
            return None
        if count + len(rows) <= max_rows:
            most = MAX_LISTED_ERRORS - listed_errors
            part = accept(schema, rows) if good else accept_rows(schema, rows, skip=True, first_row=count, most=most)
            parts.append(part)
            listed_errors += len(part.errors)
        count += len(rows)
        time.sleep(0)
    if count > max_rows:
        raise TooManyRows(count, max_rows)
    accepted = joined(parts) if parts else None
    if accepted is not None and accepted.errors and not skip:
        invalid = count - len(accepted.frame.numbers)
        raise RowsNotValid(count, invalid, accepted.errors, accepted.omitted)
    return accepted


def pieces(body: bytes) -> Iterator[bytes]:
    """Rows of `{"rows": [...]}` as `[[...]]`, PIECE bytes or a little more each; nothing where it does not look so."""
    head, tail = HEAD.match(body), TAIL.search(body, max(0, len(body) - LONGEST_TAIL))
    if head is None or tail is None or head.end() > tail.start():
        return
    start, end = head.end(), tail.start()
    between = BETWEEN_LISTS if body[start : start + LONGEST_TAIL].lstrip().startswith(b"[") else BETWEEN_ROWS
    while start <= end:
        cut = between.search(body, start + PIECE, end)
        stop = cut.start() + 1 if cut else end
        yield b"[[%b]]" % body[start:stop]
        start = body.index(b",", stop, end) + 1 if cut else end + 1


def rows_of_piece(piece: bytes) -> list[Any] | None:
    """Its rows, whatever they are; None where it is no list of them."""
    try:
        document = parse(piece)
    except BadJson:
        return None
    return document[0] or None if len(document) == 1 else None


def joined(parts: Sequence[ValidatedRows]) -> ValidatedRows:
    """The verdict on rows that were looked at one part after the other."""
    frame = Frame(*(np.concatenate(matrices) for matrices in zip(*(part.frame for part in parts), strict=True)))
    whole = ValidatedRows(frame, sum(part.count for part in parts))
    valid, warnings, first, place = list[int](), dict[int, Sequence[RowWarning]](), 0, 0
    for part in parts:
        valid += [first + row for row in (range(part.count) if part.valid is None else part.valid)]
        warnings |= {place + row: told for row, told in part.warnings.items()}
        first += part.count
        place += len(part.frame.numbers)
    whole.valid = valid if len(valid) < whole.count else None
    whole.errors = [error for part in parts for error in part.errors]
    whole.omitted = sum(part.omitted for part in parts)
    whole.warnings = warnings
    return whole


def read_slowly(body: bytes, on_invalid: str, max_rows: int) -> tuple[list[Any], list[RowError]]:
    """The rows as they came, and what is wrong with the request around them."""
    document = parse(body)
    faults: list[RowError] = []
    if on_invalid not in OPTIONS:
        faults.append(fault("unknown_option", f"on_invalid={truncate(on_invalid)!r} is unknown, expected fail or skip"))
    if not isinstance(document, dict):
        kind = "an array" if isinstance(document, list) else "no object"
        raise refused([*faults, fault("wrong_type", f'the body is {kind}, expected {{"rows": [...]}}')])
    unknown = [key for key in document if key != "rows"]
    for key in unknown[:MAX_LISTED_ERRORS]:
        hint = ", did you mean 'rows'?" if nearest(key, ["rows"]) else ""
        faults.append(fault("unknown_key", f"{truncate(key)!r} is no key of the body{hint}", truncate(key)))
    faults += faults[-1:] * len(unknown[MAX_LISTED_ERRORS:])  # no more are listed; they only count
    rows = document.get("rows")
    if "rows" not in document:
        faults.append(fault("missing_rows", "the body has no 'rows'", "rows"))
    elif not isinstance(rows, list):
        faults.append(fault("wrong_type", "'rows' is not an array of rows", "rows"))
    elif not rows:
        faults.append(fault("empty_rows", "'rows' is empty, expected one row or more", "rows"))
    elif len(rows) > max_rows:
        raise TooManyRows(len(rows), max_rows)
    else:
        return rows, faults
    raise refused(faults)


def parse(body: bytes, *, constants: bool = False) -> Any:
    """The JSON value of a body. `constants`: also NaN and Infinity, which are no JSON. Raises BadJson."""
    try:
        return from_json(body, allow_inf_nan=constants)
    except ValueError as error:
        reason = str(error)
    if "number out of range" in reason:  # valid JSON: an integer of thousands of digits, which is no finite float
        with contextlib.suppress(ValueError, RecursionError):
            constant = None if constants else no_constant
            document = json.loads(body.decode(), parse_int=integer, parse_constant=constant)
            json.dumps(document, ensure_ascii=False).encode()  # refuses lone surrogates, as above
            return document
    raise BadJson(reason)


def integer(digits: str) -> int | float:
    """Infinity for more digits than any float has, and than Python reads in reasonable time."""
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)


def no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def accept_rows(
    schema: FeatureSchema,
    rows: Sequence[object],
    faults: Sequence[RowError] = (),
    *,
    skip: bool = False,
    first_row: int = 0,
    most: int = MAX_LISTED_ERRORS,
) -> ValidatedRows:
    """Check rows that are JSON values, as `read` does. Raises RequestNotValid or RowsNotValid."""
    if rows and not faults and (good := schema.accept_rows(rows)) is not None:
        return accept(schema, good)
    checked = schema.check(rows, first_row=first_row, most=most)
    if faults:
        raise refused([*faults, *checked.errors], checked.omitted)
    if checked.errors and not skip:
        raise RowsNotValid(checked.count, checked.invalid_rows, checked.errors, checked.omitted)
    return accept(schema, checked.rows, checked)


def accept(schema: FeatureSchema, rows: Sequence[Row], checked: Checked | None = None) -> ValidatedRows:
    frame = schema.frame(rows)
    accepted = ValidatedRows(frame, len(rows), warnings=schema.warnings(frame, rows))
    if checked:
        accepted.count, accepted.valid = checked.count, checked.valid
        accepted.errors, accepted.omitted = checked.errors, checked.omitted
    return accepted


def accept_columns(
    schema: FeatureSchema,
    columns: Columns,
    count: int,
    *,
    skip: bool = False,
    first_row: int = 0,
    most: int = MAX_LISTED_ERRORS,
) -> ValidatedRows:
    """Check `count` rows that came as whole columns, by the same rules. Raises RowsNotValid."""
    if count <= FEW and not any(column.values.dtype.kind == "M" for column in columns.values()):
        return accept_rows(schema, [*ColumnRows(columns, count)], skip=skip, first_row=first_row, most=most)
    checked = check_columns(schema, columns, count, first_row=first_row, most=most)
    if checked.errors and not skip:
        raise RowsNotValid(count, checked.invalid_rows, checked.errors, checked.omitted)
    return ValidatedRows(checked.frame, count, checked.valid, checked.errors, checked.omitted, checked.warnings)


def fault(code: str, message: str, name: str | None = None) -> RowError:
    return RowError(None, name, code, message)


def refused(faults: list[RowError], omitted: int = 0) -> RequestNotValid:
    omitted += max(0, len(faults) - MAX_LISTED_ERRORS)
    return RequestNotValid(faults[0].message, faults[:MAX_LISTED_ERRORS], omitted)


class Writer:
    """The body of an answer, written from the matrix of answers without an object for each prediction."""

    def __init__(self, model: TabularModel) -> None:
        self.head = b'{"model":%s,"version":%s,"predictions":[' % (dumps(model.name), dumps(model.version))
        classes = model.schema.classes
        self._templates: list[bytes] | None = None
        if classes is not None:
            pairs = b",".join(escaped(class_key(label)) + b":%s" for label in classes)
            self._templates = [
                b'{"label":' + escaped(label) + b',"probabilities":{' + pairs + b"}}" for label in classes
            ]

    def write(self, accepted: ValidatedRows, answers: Answers, *, skip: bool = False) -> bytes:
        """answers: (valid rows, 1) values or (valid rows, classes) probabilities."""
        if not skip and not accepted.warnings:
            return self.plain(answers)
        entries = [b"null" if entry is None else entry for entry in self.entries(accepted, answers)]
        if not skip:
            return b"%s%s]}" % (self.head, b",".join(entries))
        errors = dumps(listed(accepted.errors))
        return b'%s%s],"errors":%s,"errors_omitted":%d}' % (
            self.head,
            b",".join(entries),
            errors,
            accepted.omitted,
        )

    def entries(self, accepted: ValidatedRows, answers: Answers) -> Sequence[bytes | None]:
        """The prediction of each row with its warnings, None for a row that is not valid."""
        entries = self._entries(answers)
        for row, warnings in accepted.warnings.items():
            told = [{"field": warning.field, "code": warning.code, "message": warning.message} for warning in warnings]
            entries[row] = b'%s,"warnings":%s}' % (entries[row][:-1], dumps(told))
        if accepted.valid is None:
            return entries
        all_entries: list[bytes | None] = [None] * accepted.count
        for row, entry in zip(accepted.valid, entries, strict=True):
            all_entries[row] = entry
        return all_entries

    def one(self, answer: float | Answers) -> bytes:
        """The answer to one good row: a value, or (1, classes) probabilities."""
        if isinstance(answer, float):
            return b'%s{"value":%s}]}' % (self.head, orjson.dumps(answer))
        assert self._templates is not None
        template = self._templates[answer.argmax()]
        return b"%s%s]}" % (self.head, template % tuple(numbers(answer)[1:-1].split(b",")))

    def plain(self, answers: Answers) -> bytes:
        """The answer to rows that are all valid, with nothing to be said of any."""
        if self._templates is None and len(answers):
            return b'%s{"value":%s}]}' % (self.head, numbers(answers).replace(b"],[", b'},{"value":')[1:-1])
        return b"%s%s]}" % (self.head, b",".join(self._entries(answers)))

    def _entries(self, answers: Answers) -> list[bytes]:
        if not len(answers):
            return []
        if self._templates is None:
            return [b'{"value":%s}' % value for value in numbers(answers.reshape(-1)).split(b",")]
        best = answers.argmax(axis=1).tolist()
        texts = numbers(answers)[1:-1].split(b"],[")
        templates = self._templates
        return [templates[winner] % tuple(text.split(b",")) for winner, text in zip(best, texts, strict=True)]


class Stream:
    """The same answer written block by block. Where it ends too early, `error` at its end is the problem document."""

    kind: ClassVar[bytes] = JSON_TYPE
    told: ClassVar[int] = MAX_LISTED_ERRORS

    def __init__(self, writer: Writer, *, skip: bool) -> None:
        self._writer = writer
        self._skip = skip
        self._begun = False
        self._errors: list[RowError] = []
        self._omitted = 0

    def head(self) -> bytes:
        return self._writer.head

    def block(self, accepted: ValidatedRows, answers: Answers, first_row: int) -> bytes:
        room = MAX_LISTED_ERRORS - len(self._errors)
        self._errors += accepted.errors[:room]
        self._omitted += accepted.omitted + len(accepted.errors[room:])
        entries = b",".join(b"null" if entry is None else entry for entry in self._writer.entries(accepted, answers))
        begun, self._begun = self._begun, True
        return b"," + entries if begun else entries

    def stop(self, error: RequestError) -> bytes:
        return b'],%s"error":%s}' % (self._told() + b"," if self._skip else b"", error.document())

    def end(self) -> bytes:
        return b"],%s}" % self._told() if self._skip else b"]}"

    def _told(self) -> bytes:
        return b'"errors":%s,"errors_omitted":%d' % (dumps(listed(self._errors)), self._omitted)
