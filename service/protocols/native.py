"""The API's own JSON: a body to checked rows, answers to a body. Pure functions; no HTTP, no BentoML."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from pydantic_core import from_json

from models.features import MAX_LISTED_ERRORS, Checked, FeatureSchema, Frame, Row, RowError, RowWarning, nearest, short
from models.predictor import Answers, TabularModel, class_key
from service.errors import BadJson, RequestNotValid, RowsNotValid, TooManyRows, listed, repaired

OPTIONS = ("fail", "skip")
MOST_DIGITS = 4000


@dataclass
class Accepted:
    """The valid rows of a request, ready to be predicted, and what there is to say about all of them."""

    frame: Frame
    count: int  # rows of the request, valid or not
    valid: Sequence[int] | None = None  # where the valid ones stood; None: all are valid
    errors: Sequence[RowError] = ()
    omitted: int = 0
    warnings: Mapping[int, Sequence[RowWarning]] = field(default_factory=dict)  # by the row's place in `frame`


def read(schema: FeatureSchema, body: bytes, on_invalid: str, max_rows: int) -> Accepted:
    """The body of a predict request. Raises BadJson, RequestNotValid, TooManyRows or RowsNotValid.

    The compiled check knows only good rows. Whatever it does not accept is checked again by the schema's own words,
    which are the authority: where they find no fault, the rows are good.
    """
    if on_invalid in OPTIONS:
        rows = schema.accept_json(body)
        if rows is not None:
            if len(rows) > max_rows:
                raise TooManyRows(len(rows), max_rows)
            return accept(schema, rows)
    return accept_rows(schema, *read_slowly(body, on_invalid, max_rows), skip=on_invalid == "skip")


def read_slowly(body: bytes, on_invalid: str, max_rows: int) -> tuple[list[Any], list[RowError]]:
    """The rows as they came, and what is wrong with the request around them."""
    document = parse(body)
    faults: list[RowError] = []
    if on_invalid not in OPTIONS:
        faults.append(fault("unknown_option", f"on_invalid={short(on_invalid)!r} is unknown, expected fail or skip"))
    if not isinstance(document, dict):
        kind = "an array" if isinstance(document, list) else "no object"
        raise refused([*faults, fault("wrong_type", f'the body is {kind}, expected {{"rows": [...]}}')])
    for key in document:
        if key != "rows":
            hint = ", did you mean 'rows'?" if nearest(key, ["rows"]) else ""
            faults.append(fault("unknown_key", f"{short(key)!r} is no key of the body{hint}", short(key)))
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


def parse(body: bytes) -> Any:
    """The JSON value of a body. Raises BadJson."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        reason = str(error)
    if "number out of range" in reason:  # valid JSON: an integer of thousands of digits, which is no finite float
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(body.decode(), parse_int=integer, parse_constant=no_constant)
            json.dumps(document, ensure_ascii=False).encode()  # refuses lone surrogates, as above
            return document
    raise BadJson(reason)


def integer(digits: str) -> int | float:
    """Infinity for more digits than any float has, and than Python reads in reasonable time."""
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)


def no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def accept_rows(
    schema: FeatureSchema, rows: Sequence[object], faults: Sequence[RowError] = (), *, skip: bool = False
) -> Accepted:
    """Check rows by the schema's own words. Raises RequestNotValid or RowsNotValid."""
    checked = schema.check(rows)
    if faults:
        raise refused([*faults, *checked.errors], checked.omitted)
    if checked.errors and not skip:
        raise RowsNotValid(checked.count, checked.invalid_rows, checked.errors, checked.omitted)
    return accept(schema, checked.rows, checked)


def accept(schema: FeatureSchema, rows: Sequence[Row], checked: Checked | None = None) -> Accepted:
    frame = schema.frame(rows)
    accepted = Accepted(frame, len(rows), warnings=schema.warnings(frame, rows))
    if checked:
        accepted.count, accepted.valid = checked.count, checked.valid
        accepted.errors, accepted.omitted = checked.errors, checked.omitted
    return accepted


def fault(code: str, message: str, name: str | None = None) -> RowError:
    return RowError(None, name, code, message)


def refused(faults: list[RowError], omitted: int = 0) -> RequestNotValid:
    omitted += max(0, len(faults) - MAX_LISTED_ERRORS)
    return RequestNotValid(faults[0].message, faults[:MAX_LISTED_ERRORS], omitted)


class Writer:
    """The body of an answer, written from the matrix of answers without an object for each prediction."""

    def __init__(self, model: TabularModel) -> None:
        self._head = b'{"model":%s,"version":%s,"predictions":[' % (dumps(model.name), dumps(model.version))
        classes = model.schema.classes
        self._templates: list[bytes] | None = None
        if classes is not None:
            pairs = b",".join(escaped(class_key(label)) + b":%s" for label in classes)
            self._templates = [
                b'{"label":' + escaped(label) + b',"probabilities":{' + pairs + b"}}" for label in classes
            ]

    def write(self, accepted: Accepted, answers: Answers, *, skip: bool = False) -> bytes:
        """answers: (valid rows, 1) values or (valid rows, classes) probabilities."""
        if not skip and not accepted.warnings:
            return self.plain(answers)
        entries = self._entries(answers)
        for row, warnings in accepted.warnings.items():
            told = [{"field": warning.field, "code": warning.code, "message": warning.message} for warning in warnings]
            entries[row] = b'%s,"warnings":%s}' % (entries[row][:-1], dumps(told))
        if accepted.valid is not None:
            all_entries = [b"null"] * accepted.count
            for row, entry in zip(accepted.valid, entries, strict=True):
                all_entries[row] = entry
            entries = all_entries
        if not skip:
            return b"%s%s]}" % (self._head, b",".join(entries))
        errors = dumps(listed(accepted.errors))
        return b'%s%s],"errors":%s,"errors_omitted":%d}' % (
            self._head,
            b",".join(entries),
            errors,
            accepted.omitted,
        )

    def one(self, value: float) -> bytes:
        """The answer to one row of a regression."""
        return b'%s{"value":%s}]}' % (self._head, orjson.dumps(value))

    def plain(self, answers: Answers) -> bytes:
        """The answer to rows that are all valid, with nothing to be said of any."""
        if self._templates is None and len(answers):
            return b'%s{"value":%s}]}' % (self._head, numbers(answers).replace(b"],[", b'},{"value":')[1:-1])
        return b"%s%s]}" % (self._head, b",".join(self._entries(answers)))

    def _entries(self, answers: Answers) -> list[bytes]:
        if not len(answers):
            return []
        if self._templates is None:
            return [b'{"value":%s}' % value for value in numbers(answers.reshape(-1)).split(b",")]
        best = answers.argmax(axis=1).tolist()
        texts = numbers(answers)[1:-1].split(b"],[")
        templates = self._templates
        return [templates[winner] % tuple(text.split(b",")) for winner, text in zip(best, texts, strict=True)]


def numbers(array: Answers) -> bytes:
    """The JSON array of an array without its brackets, each number in the fewest digits of the array's precision."""
    return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # text that is not valid Unicode, or an integer of more than 64 bits
        return orjson.dumps(repaired(value), default=str)


def escaped(value: Any) -> bytes:
    """The JSON of a value as a part of a template."""
    return dumps(value).replace(b"%", b"%%")
