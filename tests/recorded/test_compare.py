"""The comparison of recorded responses reports differences and accepts equal predictions."""

import base64
import copy
from typing import Any

import pyarrow as pa
import pytest

from tests.recorded import compare, recording, rewording
from tests.recorded.case import HttpCase
from tests.recorded.cases.forms import arrow_of, parquet_of
from tests.recorded.client import Response, body_fields

JSON = '{"model":"a","predictions":[{"value":348.30248},{"value":4.0}],"note":"row 1, 22.1 is above 20"}'
CSV = 'label,probability_a,warnings,error\n"a, b",0.25,,\n5,0.002139058,"x: 1.5 is ""new""",\n'
LINES = '{"value":30.137338}\n{"label":5,"probabilities":{"1":0.002,"5":0.998}}\n'
TABLE = pa.table({"value": [1.5, None], "error": [None, "bad"]}).replace_schema_metadata({"model": "a"})
MEDIA = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "lines": "application/x-ndjson",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "html": "text/html",
}


def response(body: str | bytes, file_format: str = "json", *more: list[str]) -> Response:
    content = body.encode() if isinstance(body, str) else body
    headers = [["content-type", MEDIA[file_format]], ["content-length", str(len(content))], *more]
    return {"name": "x", "status": 200, "reason": "OK", "headers": headers, **body_fields(content)}


def find_differences(expected: Response, actual: Response, scale: float = 1.0) -> list[str]:
    assert compare.differences(expected, copy.deepcopy(expected), scale) == []
    return compare.differences(expected, actual, scale)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("348.30248", "348.302481"),
        ("348.30248", "348.3"),
        ("4.0", "3.9999999"),
        ("4.0", "4"),
    ],
)
def test_predictions_within_the_tolerance_are_equal(old: str, new: str) -> None:
    assert find_differences(response(JSON), response(JSON.replace(old, new))) == []


def test_the_tolerance_of_small_predictions_depends_on_the_scale_of_the_target() -> None:
    changed = response(JSON.replace("4.0", "4.0009"))
    assert find_differences(response(JSON), changed, scale=1.0)
    assert find_differences(response(JSON), changed, scale=100.0) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("348.30248", "349.30248"),
        ("348.30248", "-348.30248"),
        ("348.30248", '"348.30248"'),
        ("348.30248", "null"),
        ('"model":"a","predictions"', '"predictions":"a","model"'),
        ('"model":"a",', ""),
        ('"model"', '"models"'),
        ("row 1", "row 2"),
        ("22.1", "22.10001"),
        (',"note"', ', "note"'),
        (',{"value":4.0}', ""),
        ("20", "20 "),
        ("}", "} "),
    ],
)
def test_a_difference_in_json_is_reported(old: str, new: str) -> None:
    assert find_differences(response(JSON), response(JSON.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.25", "0.2501"),
        ("5,0", "4,0"),
        ('"a, b"', '"a,b"'),
        ("label", "labels"),
        (",,\n", ",\n"),
        ("1.5 is", "1.50001 is"),
        ('"a, b",0.25', '0.25,"a, b"'),
        (",\n5", ",\r\n5"),
    ],
)
def test_a_difference_in_csv_is_reported(old: str, new: str) -> None:
    assert find_differences(response(CSV, "csv"), response(CSV.replace(old, new), "csv"))


def test_csv_cells_within_the_tolerance_are_equal() -> None:
    assert find_differences(response(CSV, "csv"), response(CSV.replace("0.25", "0.2500001"), "csv")) == []


@pytest.mark.parametrize(
    ("old", "new"), [("30.137338", "30.2"), ("\n{", "{"), ('"label":5', '"label":6'), ("0.998", "1")]
)
def test_a_difference_in_json_lines_is_reported(old: str, new: str) -> None:
    assert find_differences(response(LINES, "lines"), response(LINES.replace(old, new), "lines"))


TABLES = {
    "a value": TABLE.set_column(0, "value", pa.array([1.6, None])),
    "a null": TABLE.set_column(0, "value", pa.array([1.5, 0.0])),
    "a text": TABLE.set_column(1, "error", pa.array([None, "worse"])),
    "a name": TABLE.rename_columns(["values", "error"]),
    "a type": TABLE.set_column(0, "value", pa.array([1.5, None], pa.float32())),
    "metadata": TABLE.replace_schema_metadata({"model": "b"}),
    "a row": TABLE.slice(0, 1),
    "the order": TABLE.select(["error", "value"]),
}


@pytest.mark.parametrize("changed", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_a_difference_in_a_table_is_reported(file_format: str, changed: Any) -> None:
    write = arrow_of if file_format == "arrow" else parquet_of
    changed = changed if changed.schema.metadata else changed.replace_schema_metadata(TABLE.schema.metadata)
    assert find_differences(response(write(TABLE), file_format), response(write(changed), file_format))
    same = TABLE.set_column(0, "value", pa.array([1.5000001, None])).replace_schema_metadata(TABLE.schema.metadata)
    assert find_differences(response(write(TABLE), file_format), response(write(same), file_format)) == []


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_an_unreadable_table_is_reported(file_format: str) -> None:
    good = arrow_of(TABLE) if file_format == "arrow" else parquet_of(TABLE)
    assert find_differences(response(good, file_format), response(good[:-40] + b"\xff", file_format))


def test_a_difference_in_another_format_is_reported() -> None:
    assert find_differences(response("<p>1.5</p>", "html"), response("<p>1.5000001</p>", "html"))


def test_missing_additional_and_changed_headers_are_reported() -> None:
    expected = response(JSON, "json", ["allow", "GET"])
    assert find_differences(expected, response(JSON))
    assert find_differences(response(JSON), expected)
    assert find_differences(expected, response(JSON, "json", ["allow", "POST"]))
    assert find_differences(expected, response(JSON, "json", ["allow", "GET"], ["allow", "GET"]))
    assert find_differences(expected, {**expected, "headers": expected["headers"][::-1]}) == []


def test_a_content_length_that_does_not_match_the_body_is_reported() -> None:
    shorter = response(JSON.replace("348.30248", "348.3"))
    shorter["headers"][1][1] = "7"
    assert find_differences(response(JSON), shorter)
    wrong = response(JSON)
    wrong["headers"][1][1] = "7"
    assert find_differences(response(JSON), wrong)


@pytest.mark.parametrize("change", [{"status": 201}, {"reason": "Okay"}, {"counted": {"requests": 2.0}}])
def test_a_difference_in_status_reason_or_counters_is_reported(change: Response) -> None:
    expected = {**response(JSON), "counted": {"requests": 1.0}}
    assert find_differences(expected, {**expected, **change})


def test_a_binary_body_instead_of_text_is_reported() -> None:
    assert find_differences(response(JSON), response(b"\xff", "json"))


def binary_response(text: str, content: bytes) -> Response:
    body = text.encode() + content
    headers = [
        ["content-type", "application/octet-stream"],
        ["content-length", str(len(body))],
        ["inference-header-content-length", str(len(text))],
    ]
    return {"name": "x", "status": 200, "headers": headers, "base64": base64.b64encode(body).decode()}


def test_a_difference_in_a_binary_tensor_is_reported() -> None:
    text = '{"outputs":[{"name":"value","datatype":"FP64","shape":[1],"parameters":{"binary_data_size":8}}]}'
    expected = binary_response(text, b"\x00\x00\x00\x00\x00\x00\xf0\x3f")
    assert find_differences(expected, binary_response(text, b"\x01\x00\x00\x00\x00\x00\xf0\x3f")) == []
    assert find_differences(expected, binary_response(text, b"\x00\x00\x00\x00\x00\x01\xf0\x3f"))
    assert find_differences(expected, binary_response(text, b"\x00\x00\x00\x00\x00\x00\xf0\x3fx"))
    assert find_differences(
        expected, binary_response(text.replace('"value"', '"label"'), b"\x00\x00\x00\x00\x00\x00\xf0\x3f")
    )


def test_a_difference_in_a_grpc_response_is_reported() -> None:
    message = {"model_name": "a", "outputs": [{"shape": ["1"]}], "raw_output_contents": [[1.5, "NaN"], ["text"]]}
    expected = {"name": "x", "code": "OK", "details": "", "trailing": [["x-request-id", "x"]], "message": message}
    assert find_differences(expected, {**expected, "code": "NOT_FOUND"})
    assert find_differences(expected, {**expected, "trailing": []})
    for raw in ([[1.6, "NaN"], ["text"]], [[1.5, 0.0], ["text"]], [[1.5, "NaN"], ["texts"]], [[1.5, "NaN"]]):
        assert find_differences(expected, {**expected, "message": {**message, "raw_output_contents": raw}})
    equal = {**message, "raw_output_contents": [[1.5000001, "NaN"], ["text"]]}
    assert find_differences(expected, {**expected, "message": equal}) == []


def test_a_difference_in_one_of_several_responses_is_reported() -> None:
    expected = {"name": "x", "responses": [{"interim": "HTTP/1.1 100 Continue"}, response(JSON)]}
    assert find_differences(expected, {"name": "x", "responses": expected["responses"][1:]})
    assert find_differences(expected, {"name": "x", "responses": [expected["responses"][0], response(LINES)]})


CASES = [
    HttpCase(name="native-a", target="/"),
    HttpCase(name="native-b", target="/"),
    HttpCase(name="v1-a", target="/"),
]


@pytest.mark.parametrize(
    ("changes", "changed", "count"),
    [
        ({"native-*": "why"}, ["native-a", "native-b"], 0),
        ({"native-a": "why"}, ["native-a"], 0),
        ({"native-c": "why"}, [], 1),
        ({"native-a": " "}, ["native-a"], 1),
        ({"native-*": "why"}, ["native-a"], 1),
        ({}, ["v1-a"], 1),
    ],
)
def test_declared_changes_need_a_request_a_reason_and_a_response(
    changes: dict[str, str], changed: list[str], count: int
) -> None:
    responses: dict[str, Response] = {name: {} for name in changed}
    assert len(recording.problems_of_changes(changes, CASES, responses)) == count


def test_written_responses_are_read_unchanged(tmp_path: Any) -> None:
    responses = [response('{"a": "\u2028 \x85 größer\\n"}\n'), {**response(b"\xff\x00"), "name": "y"}]
    recording.write_responses(tmp_path / "answers.jsonl", responses)
    assert list(recording.read_responses(tmp_path / "answers.jsonl").values()) == responses


PROBLEM = '{"title":"Bad request","status":400,"detail":"the body is \\"x\\"","errors":[{"row":1,"message":"old"}]}'


@pytest.mark.parametrize(
    ("old", "new"), [("Bad request", "Invalid"), ('body is \\"x\\"', "y"), ("old", "new and long")]
)
def test_a_response_with_another_message_differs_in_wording_only(old: str, new: str) -> None:
    assert rewording.differs_in_wording_only(response(PROBLEM), response(PROBLEM.replace(old, new)))


@pytest.mark.parametrize(("old", "new"), [("400", "422"), ('"row":1', '"row":2'), ('"errors"', '"x"'), ("}]", "},{}]")])
def test_a_response_with_different_content_differs_in_more_than_wording(old: str, new: str) -> None:
    assert not rewording.differs_in_wording_only(response(PROBLEM), response(PROBLEM.replace(old, new)))


def test_a_response_with_another_status_or_header_differs_in_more_than_wording() -> None:
    assert not rewording.differs_in_wording_only(response(PROBLEM), {**response(PROBLEM), "status": 422})
    assert not rewording.differs_in_wording_only(response(PROBLEM), response(PROBLEM, "json", ["retry-after", "1"]))
