"""Errors of the package `models` are translated into request errors."""

import json

import pytest

from models.formats.errors import EmptyTable, FormatError, TooLarge, UnsupportedType
from models.rows import validate_rows
from service.error_mapping import request_error, require_valid, translate_format_errors
from service.errors import RequestError, RowsNotValid
from tests.models.income import GOOD, SCHEMA


@pytest.mark.parametrize(
    ("error", "status", "title", "code", "field", "detail"),
    [
        (
            FormatError("it is not CSV"),
            *(400, "Body not readable", "bad_body", None),
            "the body cannot be read: it is not CSV",
        ),
        (TooLarge(9), 413, "Body too large", "body_too_large", None, "the body is larger than 9 bytes"),
        (
            TooLarge(9, expanded=True, what="a batch"),
            *(413, "Body too large", "body_too_large", None),
            "a batch is larger than 9 bytes when decompressed",
        ),
        (
            EmptyTable(),
            *(422, "Request not valid", "empty_rows", None),
            "the body has no rows, expected one or more",
        ),
        (UnsupportedType("not supported", "age"), 422, "Request not valid", "wrong_type", "age", "not supported"),
    ],
)
def test_a_format_error_becomes_a_problem_document(
    error: FormatError, status: int, title: str, code: str, field: str | None, detail: str
) -> None:
    document = json.loads(request_error(error).document())
    assert (document["status"], document["title"], document["detail"]) == (status, title, detail)
    assert document["errors"] == [{"row": None, "field": field, "code": code, "message": detail}]


def test_format_errors_are_translated_where_they_leave_the_decoder() -> None:
    with pytest.raises(RequestError, match="cannot be read: it is cut off"), translate_format_errors():
        raise FormatError("it is cut off")


def test_invalid_rows_are_refused_or_skipped() -> None:
    validated = validate_rows(SCHEMA, [GOOD, {}])
    assert require_valid(validated, skip=True) is validated
    with pytest.raises(RowsNotValid, match="1 of 2 rows is not valid") as refused:
        require_valid(validated)
    assert (refused.value.valid, refused.value.invalid, len(refused.value.errors)) == (1, 1, 2)
    good = validate_rows(SCHEMA, [GOOD])
    assert require_valid(good) is good
