"""The bodies of `/feedback/{model}`: rows with their truth, or ids of captured rows with their truth."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from models.feature import Scalar
from models.rows import MAX_LISTED_ERRORS, RowError, validate_rows
from models.schema import FeatureSchema
from models.text import did_you_mean, render, truncate
from service.errors import RowsNotValid, TooManyRows
from service.protocols.parsing import error_entry, invalid_request, parse_json

ROWS, FEEDBACK = "rows", "feedback"
ID, TRUTH = "id", "truth"
MAX_ID = 256  # characters
EXPECTED = 'expected {"rows": [...]} or {"feedback": [{"id": ..., "truth": ...}]}'


class RowFeedback(NamedTuple):
    """Valid rows and the truth about each."""

    rows: Sequence[dict[str, Any]]
    truths: Sequence[Scalar]


class IdFeedback(NamedTuple):
    """Ids of rows and the truth about each."""

    ids: Sequence[str]
    truths: Sequence[Scalar]


def read_feedback(schema: FeatureSchema, body: bytes, max_rows: int) -> RowFeedback | IdFeedback:
    """Raises BadJson, RequestNotValid, TooManyRows or RowsNotValid."""
    key, entries = read_entries(parse_json(body), max_rows)
    return read_rows(schema, entries) if key == ROWS else read_ids(schema, entries)


def read_entries(document: object, max_rows: int) -> tuple[str, list[Any]]:
    """The key that the body uses (rows or feedback), and the list under this key."""
    if not isinstance(document, dict):
        raise invalid_request([error_entry("wrong_type", f"the body is not an object, {EXPECTED}")])
    for name in document:
        if name not in (ROWS, FEEDBACK):
            message = f"unknown key {truncate(name)!r}{did_you_mean(name, (ROWS, FEEDBACK))}"
            raise invalid_request([error_entry("unknown_key", message, truncate(name))])
    if len(document) != 1:
        code = "two_forms" if document else "missing_rows"
        raise invalid_request(
            [error_entry(code, f"the body has {'both forms' if document else 'no rows'}, {EXPECTED}")]
        )
    key, entries = next(iter(document.items()))
    if not isinstance(entries, list):
        raise invalid_request([error_entry("wrong_type", f"{key!r} is not an array", key)])
    if not entries:
        raise invalid_request([error_entry("empty_rows", f"{key!r} is empty, expected one row or more", key)])
    if len(entries) > max_rows:
        raise TooManyRows(len(entries), max_rows)
    return key, entries


def read_rows(schema: FeatureSchema, rows: list[Any]) -> RowFeedback:
    validated = validate_rows(schema, rows)
    target = schema.target
    errors = [*validated.errors]
    invalid = set() if validated.valid is None else set(range(len(rows))).difference(validated.valid)
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            found = problem(schema, row[target]) if target in row else ("missing_truth", "is missing")
            errors += truth_errors(number, target, found)
    check(len(rows), errors, validated.omitted, invalid)
    return RowFeedback(rows, [row[target] for row in rows])


def read_ids(schema: FeatureSchema, entries: list[Any]) -> IdFeedback:
    errors: list[RowError] = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            message = f"row {number}: {render(entry)} is not an object with 'id' and 'truth'"
            errors.append(RowError(number, None, "wrong_type", message))
            continue
        errors += id_errors(number, entry)
        found = problem(schema, entry[TRUTH]) if TRUTH in entry else ("missing_truth", "is missing")
        errors += truth_errors(number, TRUTH, found)
    check(len(entries), errors)
    return IdFeedback([entry[ID] for entry in entries], [entry[TRUTH] for entry in entries])


def id_errors(number: int, entry: dict[str, Any]) -> Iterator[RowError]:
    for name in entry:
        if name not in (ID, TRUTH):
            message = f"row {number}, field {truncate(name)!r}: unknown field{did_you_mean(name, (ID, TRUTH))}"
            yield RowError(number, truncate(name), "unknown_field", message)
    found = entry.get(ID)
    if not isinstance(found, str) or not 0 < len(found) <= MAX_ID or not is_unicode(found):
        what = "is missing" if ID not in entry else f"{render(found)} is not valid"
        message = f"row {number}, field 'id': {what}, expected the X-Request-ID of a response, a colon and the row"
        yield RowError(number, ID, "bad_id", message)


def is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def truth_errors(number: int, field: str, found: tuple[str, str] | None) -> Iterator[RowError]:
    if found is not None:
        code, message = found
        yield RowError(number, truncate(field), code, f"row {number}, field {truncate(field)!r}: {message}")


def problem(schema: FeatureSchema, truth: object) -> tuple[str, str] | None:
    """The code and message of the reason why a value cannot be the truth; None for a valid value."""
    if schema.classes is None:
        if isinstance(truth, bool) or not isinstance(truth, int | float):
            return "wrong_type", f"{render(truth)} is not a number"
        return None if is_finite(truth) else ("out_of_range", f"{render(truth)} is too large")
    if any(label == truth and isinstance(label, bool) == isinstance(truth, bool) for label in schema.classes):
        return None
    texts = [label for label in schema.classes if isinstance(label, str)]
    hint = did_you_mean(truth, texts) if isinstance(truth, str) else ""
    listed = ", ".join(render(label) for label in schema.classes[:10]) + (", …" if len(schema.classes) > 10 else "")
    return "unknown_class", f"{render(truth)} is not a class of the model{hint}; classes: {listed}"


def is_finite(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def check(rows: int, errors: Iterable[RowError], omitted: int = 0, invalid: Iterable[int] = ()) -> None:
    """Raises RowsNotValid if there are errors. invalid: the invalid rows, some of whose errors may be omitted."""
    found = sorted(errors, key=lambda error: -1 if error.row is None else error.row)
    if found:
        listed = found[:MAX_LISTED_ERRORS]
        count = len({error.row for error in found}.union(invalid))
        raise RowsNotValid(rows, count, listed, omitted + len(found) - len(listed))
