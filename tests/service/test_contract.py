"""The contract of POST /predict/{model}, tested at every level (fixture `send_request`)."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.outputs import Outputs
from models.rows import validate_rows
from models.tabular_model import TabularModel

SendRequest = Callable[..., Any]
Row = dict[str, Any]

ABSENT = object()
VALID: dict[str, dict[str, Any]] = {
    "unchanged": {},
    "null where the training table had missing cells": {"class": None, "Outcome Type": None},
    "absent where the training table had missing cells": {"class": ABSENT, "Outcome Type": ABSENT},
    "an integer for a number": {"class": 3},
    "an integral decimal for an integer level": {"_u": 2.0},
    "at the declared limits": {"educational-num": 0},
    "a column that the model does not use": {"id": [1, {"any": "thing"}], "price": None},
    "a time with a zone": {"2nd": "2013-04-01T12:30:00+02:00"},
}
WARNED: dict[str, tuple[dict[str, Any], str, str]] = {
    "above the range seen": ({"class": 6.5}, "class", "outside_seen"),
    "below the range seen": ({"class": -1e300}, "class", "outside_seen"),
    "a level never seen": ({"Outcome Type": "Return to owner"}, "Outcome Type", "unseen_level"),
    "a date before training": ({"2nd": "1999-12-31"}, "2nd", "outside_seen"),
}
INVALID: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown column name": ({"educational num": 1}, "educational num", "unknown_field"),
    "absent where training had no missing cells": ({"model_x": ABSENT}, "model_x", "missing_field"),
    "null where training had no missing cells": ({"educational-num": None}, "educational-num", "null_not_allowed"),
    "a number written as text": ({"educational-num": "12"}, "educational-num", "wrong_type"),
    "a boolean for a number": ({"educational-num": True}, "educational-num", "wrong_type"),
    "a number for a boolean": ({"model_x": 1}, "model_x", "wrong_type"),
    "text for a boolean": ({"model_x": "true"}, "model_x", "wrong_type"),
    "an object for a number": ({"class": {}}, "class", "wrong_type"),
    "a number for text": ({"Outcome Type": 1}, "Outcome Type", "wrong_type"),
    "text for a level that is a number": ({"_u": "2"}, "_u", "wrong_type"),
    "a boolean for a level that is a number": ({"_u": True}, "_u", "wrong_type"),
    "a boolean for a date": ({"2nd": True}, "2nd", "wrong_type"),
    "a number too small for a date": ({"2nd": 20130401}, "2nd", "bad_date"),
    "text that is not a date": ({"2nd": "yesterday"}, "2nd", "bad_date"),
    "below a declared limit": ({"educational-num": -0.5}, "educational-num", "below_minimum"),
    "above a declared limit": ({"educational-num": 212.0}, "educational-num", "above_maximum"),
    "a date below a declared limit": ({"2nd": "1989-12-31"}, "2nd", "below_minimum"),
    "an unseen level that is declared an error": ({"_u": 4}, "_u", "unseen_level"),
    "an integer too large for a number": ({"class": 10**400}, "class", "not_finite"),
}


def with_changed_cells(row: Row, cells: dict[str, Any]) -> Row:
    return {key: value for key, value in {**row, **cells}.items() if value is not ABSENT}


@pytest.mark.parametrize("cells", VALID.values(), ids=VALID.keys())
def test_valid_rows_are_answered_without_warnings(
    send_request: SendRequest, home_row: Row, cells: dict[str, Any]
) -> None:
    reply = send_request("homes", {"rows": [with_changed_cells(home_row, cells)]})
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.body["model"] == "homes"
    assert reply.body["version"] == "1"
    (prediction,) = reply.body["predictions"]
    assert set(prediction) == {"value"}


@pytest.mark.parametrize(("cells", "name", "code"), WARNED.values(), ids=WARNED.keys())
def test_unusual_values_are_answered_with_a_warning(
    send_request: SendRequest, home_row: Row, cells: dict[str, Any], name: str, code: str
) -> None:
    reply = send_request("homes", {"rows": [home_row, with_changed_cells(home_row, cells)]})
    assert reply.status == 200
    common, unusual = reply.body["predictions"]
    assert "warnings" not in common
    (warning,) = unusual["warnings"]
    assert (warning["field"], warning["code"]) == (name, code)
    assert name in warning["message"]


@pytest.mark.parametrize(("cells", "name", "code"), INVALID.values(), ids=INVALID.keys())
def test_invalid_rows_are_refused_with_row_and_field(
    send_request: SendRequest, home_row: Row, cells: dict[str, Any], name: str, code: str
) -> None:
    reply = send_request("homes", {"rows": [home_row, with_changed_cells(home_row, cells)]})
    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.body
    assert problem["title"] == "Rows not valid"
    assert problem["status"] == 422
    assert problem["detail"] == "1 of 2 rows is not valid"
    (error,) = problem["errors"]
    assert (error["row"], error["field"], error["code"]) == (1, name, code)
    assert name in error["message"]
    assert problem["errors_omitted"] == 0


@pytest.mark.parametrize(("cells", "name", "code"), INVALID.values(), ids=INVALID.keys())
def test_on_invalid_skip_answers_the_valid_rows(
    send_request: SendRequest, home_row: Row, cells: dict[str, Any], name: str, code: str
) -> None:
    reply = send_request("homes", {"rows": [with_changed_cells(home_row, cells), home_row]}, "on_invalid=skip")
    assert reply.status == 200
    bad, good = reply.body["predictions"]
    assert bad is None
    assert good["value"]
    assert [(error["row"], error["field"], error["code"]) for error in reply.body["errors"]] == [(0, name, code)]


def test_a_json_number_beyond_the_float_range_is_not_finite(send_request: SendRequest, home_row: Row) -> None:
    body = json.dumps({"rows": [home_row]}).replace("1.5", "1e999").encode()
    reply = send_request("homes", body)
    assert (reply.status, reply.codes) == (422, ["not_finite"])


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_json_integer_of_thousands_of_digits_is_not_finite(
    send_request: SendRequest, home_row: Row, sign: str
) -> None:
    body = json.dumps({"rows": [home_row]}).replace("1.5", sign + "9" * 5000).encode()
    reply = send_request("homes", body)
    assert (reply.status, reply.codes) == (422, ["not_finite"])


NOT_JSON = [b"NaN", b"-Infinity", rb'"\ud800"', b'"\xff"', b"[" * 100_000 + b"]" * 100_000, b"{"]


@pytest.mark.parametrize("more", NOT_JSON, ids=lambda more: repr(more[:9]))
def test_invalid_json_with_a_long_integer_is_refused(send_request: SendRequest, more: bytes) -> None:
    reply = send_request("homes", b'{"rows": [{"class": ' + b"9" * 5000 + b', "id": ' + more + b"}]}")
    assert (reply.status, reply.codes) == (400, ["bad_json"])


BODIES: dict[str, tuple[Any, int, list[str]]] = {
    "nothing": (b"", 400, ["bad_json"]),
    "broken": (b'{"rows": [', 400, ["bad_json"]),
    "a bare NaN": (b'{"rows": [{"class": NaN}]}', 400, ["bad_json"]),
    "not UTF-8": (b'{"rows": [{"Outcome Type": "\xff"}]}', 400, ["bad_json"]),
    "a lone surrogate": (rb'{"rows": [{"Outcome Type": "\ud800"}]}', 400, ["bad_json"]),
    "too deep": (b'{"rows":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, ["bad_json"]),
    "an array": ([{"rows": []}], 422, ["wrong_type"]),
    "a number": (b"1", 422, ["wrong_type"]),
    "no rows": ({}, 422, ["missing_rows"]),
    "a misspelled key": ({"row": []}, 422, ["unknown_key", "missing_rows"]),
    "rows that are not objects": ({"rows": {"a": 1}}, 422, ["wrong_type"]),
    "empty rows": ({"rows": []}, 422, ["empty_rows"]),
    "a row that is not an object": ({"rows": [3]}, 422, ["wrong_type"]),
    "too many rows": ({"rows": [{}] * 2001}, 413, ["too_many_rows"]),
}


@pytest.mark.parametrize(("body", "status", "codes"), BODIES.values(), ids=BODIES.keys())
def test_malformed_bodies_are_refused(send_request: SendRequest, body: Any, status: int, codes: list[str]) -> None:
    reply = send_request("homes", body)
    assert (reply.status, reply.codes) == (status, codes)
    assert all(error["row"] is None or error["row"] == 0 for error in reply.body["errors"])


def test_an_unknown_key_is_reported_with_the_errors_of_rows(send_request: SendRequest, home_row: Row) -> None:
    reply = send_request("homes", {"rows": [home_row, {**home_row, "class": "x"}], "option": 1})
    assert (reply.status, reply.codes) == (422, ["unknown_key", "wrong_type"])


@pytest.mark.parametrize("query", ["on_invalid=maybe", "on_invalid=skip,fail", "on_invalid="])
def test_an_unknown_option_is_refused(send_request: SendRequest, home_row: Row, query: str) -> None:
    reply = send_request("homes", {"rows": [home_row]}, query)
    assert (reply.status, reply.codes) == (422, ["unknown_option"])


def test_an_unknown_model_returns_404_with_the_nearest_name(send_request: SendRequest, home_row: Row) -> None:
    reply = send_request("home", {"rows": [home_row]})
    assert reply.status == 404
    assert "homes" in reply.body["detail"]


def test_an_unknown_field_is_refused_with_the_nearest_name(send_request: SendRequest, home_row: Row) -> None:
    reply = send_request("homes", {"rows": [{**home_row, "Outcome_Type": "x"}]})
    assert "'Outcome Type'" in reply.body["errors"][0]["message"]


def test_all_errors_are_counted_and_the_first_hundred_are_returned(send_request: SendRequest, home_row: Row) -> None:
    reply = send_request("homes", {"rows": [{**home_row, "class": "x", "model_x": 0}] * 70})
    assert reply.status == 422
    assert reply.body["detail"] == "70 of 70 rows are not valid"
    assert len(reply.body["errors"]) == 100
    assert reply.body["errors_omitted"] == 40


def test_on_invalid_skip_answers_200_if_every_row_is_invalid(send_request: SendRequest) -> None:
    reply = send_request("homes", {"rows": [{}, 3]}, "on_invalid=skip")
    assert reply.status == 200
    assert reply.body["predictions"] == [None, None]
    assert {error["row"] for error in reply.body["errors"]} == {0, 1}


def test_a_classification_returns_label_and_probabilities_in_the_order_of_classes(send_request: SendRequest) -> None:
    reply = send_request("income", {"rows": [{"age": 30, "job": "100 %"}, {"age": 31}]})
    for prediction in reply.body["predictions"]:
        assert list(prediction["probabilities"]) == ["<=50K", "100 %s"]
        assert prediction["label"] == max(prediction["probabilities"], key=prediction["probabilities"].get)
        assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_a_label_has_the_type_of_the_training_table(send_request: SendRequest) -> None:
    (prediction,) = send_request("house_class", {"rows": [{"age": 30}]}).body["predictions"]
    assert type(prediction["label"]) is int
    assert list(prediction["probabilities"]) == ["1", "2", "5"]


def test_the_predictions_equal_the_golden_rows_of_the_model(
    send_request: SendRequest, tabular_models: list[TabularModel]
) -> None:
    for model in tabular_models:
        predictions = send_request(model.name, {"rows": model.golden.rows}).body["predictions"]
        expected = model.present(Outputs(np.array(model.golden.predictions)))
        for actual, expected_prediction in zip(predictions, expected, strict=True):
            assert_equal_predictions(model, actual, expected_prediction)


def assert_equal_predictions(model: TabularModel, actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """Assert that predictions are equal as docs/reference/models.md defines under "Equal predictions"."""
    pairs = (
        [(actual["value"], expected["value"])]
        if "value" in expected
        else [(actual["probabilities"][key], p) for key, p in expected["probabilities"].items()]
    )
    for a, b in pairs:
        assert abs(a - b) <= 1e-5 * max(abs(b), model.tolerance())


def test_the_prediction_of_a_row_does_not_depend_on_other_rows(
    send_request: SendRequest, tabular_models: list[TabularModel], random_rows: Callable[..., list[Row]]
) -> None:
    for model in tabular_models:
        rows = random_rows(model.schema, 1000, np.random.default_rng(1))
        together = send_request(model.name, {"rows": rows}).body["predictions"]
        mixed = [row if i % 2 else {"bad": i} for i, row in enumerate(rows)]
        among = send_request(model.name, {"rows": mixed}, "on_invalid=skip").body["predictions"]
        for i in range(1, 1000, 111):
            (alone,) = send_request(model.name, {"rows": [rows[i]]}).body["predictions"]
            assert_equal_predictions(model, together[i], alone)
            if i % 2:
                assert_equal_predictions(model, among[i], alone)
            else:
                assert among[i] is None


def test_the_contract_applies_to_bodies_that_are_read_in_a_thread(send_request: SendRequest, home_row: Row) -> None:
    row = {**home_row, "id": "x" * 300}
    assert len(send_request("homes", {"rows": [row] * 900}).body["predictions"]) == 900
    bad = send_request("homes", {"rows": [row] * 900 + [{**row, "class": "x"}]})
    assert (bad.status, bad.codes) == (422, ["wrong_type"])


# Arbitrary bodies

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.just(10**30)
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
)
CELLS = st.one_of(SCALARS, st.sampled_from(["Adoption", "2013-04-01", 1, 2, True, 12, None]), ANYTHING)
NAMES = ["educational-num", "Outcome Type", "class", "model_x", "2nd", "_u", "id", "price"]
ROWS = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, CELLS)) | st.dictionaries(st.text(max_size=6), CELLS)
REQUESTS = st.one_of(
    st.builds(lambda rows: json.dumps({"rows": rows}).encode("utf-8", "replace"), st.lists(ROWS | CELLS, max_size=4)),
    st.builds(lambda value: json.dumps(value).encode("utf-8", "replace"), ANYTHING),
    st.binary(max_size=40),
    st.builds(lambda junk: b'{"rows": [' + junk + b"]}", st.binary(max_size=40)),
)


@given(body=REQUESTS, query=st.sampled_from(["", "on_invalid=skip"]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_random_bodies_are_answered_with_predictions_or_problem_documents(
    send_request: SendRequest, body: bytes, query: str
) -> None:
    reply = send_request("homes", body, query)
    assert reply.status in (200, 400, 413, 422)
    if reply.status == 200:
        assert reply.body["predictions"]
    else:
        assert reply.headers["content-type"] == "application/problem+json"
        assert set(reply.body) == {"type", "title", "status", "detail", "errors", "errors_omitted"}
        assert reply.body["errors"]


@given(rows=st.lists(ROWS, min_size=1, max_size=3))
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_the_compiled_validator_accepts_only_valid_rows(tabular_model: TabularModel, rows: list[Row]) -> None:
    schema = tabular_model.schema
    body = json.dumps({"rows": rows}).encode("utf-8", "replace")
    accepted = schema.validators.parse_body(body)
    if accepted is not None:
        assert not validate_rows(schema, accepted).errors
