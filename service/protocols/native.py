"""The API's own JSON: a body to validated rows, answers to a body. Pure functions; no HTTP, no BentoML."""

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson

from models import json_text
from models.json_text import dumps, escaped, listed, numbers
from models.outputs import Answers
from models.rows import MAX_LISTED_ERRORS, RowError, ValidatedRows, from_valid_rows, validate_rows
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import class_key, did_you_mean, truncate
from service.errors import BadJson, RequestError, RequestNotValid, TooManyRows
from service.protocols import json_blocks
from service.validation import require_valid

OPTIONS = ("fail", "skip")
LARGE_BODY_BYTES = 4 * json_blocks.BLOCK_BYTES  # a larger body is read block by block
JSON_TYPE = b"application/json"


def read(schema: FeatureSchema, body: bytes, on_invalid: str, max_rows: int) -> ValidatedRows:
    """The body of a predict request. Raises BadJson, RequestNotValid, TooManyRows or RowsNotValid."""
    return require_valid(validate_body(schema, body, on_invalid, max_rows), skip=on_invalid == "skip")


def validate_body(schema: FeatureSchema, body: bytes, on_invalid: str, max_rows: int) -> ValidatedRows:
    """`read`, whatever the rows are. Raises BadJson, RequestNotValid or TooManyRows.

    The compiled validators recognise only valid rows. Whatever they do not is validated again by the rules themselves.
    """
    if on_invalid in OPTIONS:
        if len(body) > LARGE_BODY_BYTES and (blocks := json_blocks.validate(schema, body, max_rows)) is not None:
            return blocks
        valid = schema.validators.parse_body(body)
        if valid is not None:
            if len(valid) > max_rows:
                raise TooManyRows(len(valid), max_rows)
            return from_valid_rows(schema, valid)
    rows, faults = parse_document(body, on_invalid, max_rows)
    validated = validate_rows(schema, rows)
    if faults:
        raise refused([*faults, *validated.errors], validated.omitted)
    return validated


def parse_document(body: bytes, on_invalid: str, max_rows: int) -> tuple[list[Any], list[RowError]]:
    """The rows as JSON values, and the errors of the request around them."""
    document = parse(body)
    faults: list[RowError] = []
    if on_invalid not in OPTIONS:
        faults.append(fault("unknown_option", f"on_invalid={truncate(on_invalid)!r} is unknown, expected fail or skip"))
    if not isinstance(document, dict):
        kind = "an array" if isinstance(document, list) else "no object"
        raise refused([*faults, fault("wrong_type", f'the body is {kind}, expected {{"rows": [...]}}')])
    unknown = [key for key in document if key != "rows"]
    for key in unknown[:MAX_LISTED_ERRORS]:
        message = f"{truncate(key)!r} is no key of the body{did_you_mean(key, ['rows'])}"
        faults.append(fault("unknown_key", message, truncate(key)))
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
    """The JSON value of a body. constants: also NaN and Infinity, which are not JSON. Raises BadJson."""
    try:
        return json_text.parse(body, constants=constants)
    except json_text.JsonError as error:
        raise BadJson(str(error)) from None


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
