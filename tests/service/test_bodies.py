"""Bodies in all table formats: the same rows get the same predictions, errors and warnings.

This file has more than 400 lines: every test covers all formats, using the writers and readers of each format
at the top of this file.
"""

import asyncio
import csv
import dataclasses
import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.tabular_model import TabularModel
from service.http import negotiation, response_buffer, table_handler
from service.http.asgi import Application
from service.settings import Settings

Row = dict[str, Any]
KINDS = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
TABLES = [file_format for file_format in KINDS if file_format != "json"]


# Encoding bodies, parsing responses


def arrow_table(rows: Sequence[Row]) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def encode_rows(file_format: str, rows: Sequence[Row], *, chunk: int | None = None) -> bytes:
    if file_format == "json":
        return json.dumps({"rows": list(rows)}).encode()
    if file_format == "ndjson":
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if file_format == "csv":
        text = io.StringIO(newline="")
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.writer(text)
        writer.writerow(names)
        for row in rows:
            cells = [row.get(name) for name in names]
            writer.writerow(["" if cell is None else str(cell) for cell in cells])
        return text.getvalue().encode()
    sink = pa.BufferOutputStream()
    table = arrow_table(rows)
    if file_format == "arrow":
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=chunk)
    else:
        pq.write_table(table, sink, row_group_size=chunk)
    return bytes(sink.getvalue().to_pybytes())


@dataclasses.dataclass
class ParsedResponse:
    """The content of a response in any format, by row."""

    values: list[Any]  # None for an invalid row
    warned: list[int]
    wrong: dict[int, str]
    stopped: str | None = None


def parse_response(file_format: str, content: bytes) -> ParsedResponse:
    if file_format == "json":
        document = json.loads(content)
        predictions = document["predictions"]
        wrong: dict[int, str] = {}
        for error in document.get("errors", ()):
            wrong[error["row"]] = "; ".join(filter(None, [wrong.get(error["row"]), error["message"]]))
        stopped = document["error"]["title"] if "error" in document else None
        return ParsedResponse(*values_and_warnings(predictions), wrong, stopped)
    if file_format == "ndjson":
        lines = [json.loads(line) for line in content.splitlines()]
        last = lines.pop() if lines and "error" in lines[-1] else None
        wrong = {
            number: "; ".join(error["message"] for error in line["errors"])
            for number, line in enumerate(lines)
            if "errors" in line
        }
        objects = [None if "errors" in line else line for line in lines]
        return ParsedResponse(*values_and_warnings(objects), wrong, last["error"]["title"] if last else None)
    if file_format == "csv":
        rows: list[Any] = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    else:
        read = (
            pa.ipc.open_stream(content).read_all()
            if file_format == "arrow"
            else pq.read_table(pa.BufferReader(content))
        )
        rows = read.to_pylist()
    last = rows.pop() if rows and (rows[-1]["error"] or "").startswith("stopped:") else None
    wrong = {number: without_codes(row["error"]) for number, row in enumerate(rows) if row["error"]}
    values = []
    for number, row in enumerate(rows):
        cells = [cell for name, cell in row.items() if name not in ("label", "warnings", "error")]
        values.append(None if number in wrong else [float(cell) for cell in cells])
    return ParsedResponse(
        values, [number for number, row in enumerate(rows) if row["warnings"]], wrong, last["error"] if last else None
    )


def values_and_warnings(objects: Sequence[Any]) -> tuple[list[Any], list[int]]:
    values = [
        None if one is None else [one["value"]] if "value" in one else [*one["probabilities"].values()]
        for one in objects
    ]
    return values, [number for number, one in enumerate(objects) if one and "warnings" in one]


def without_codes(text: str) -> str:
    return "; ".join(part.partition(": ")[2] for part in text.split("; "))


Post = Callable[..., Any]


@pytest.fixture
def post(asgi_app: Application, asgi: Callable[..., Any]) -> Post:
    def post(model: str, file_format: str, body: bytes, query: str = "", **headers: str) -> Any:
        fields = {
            "content-type": KINDS.get(file_format, file_format),
            **{name.replace("_", "-"): v for name, v in headers.items()},
        }
        return asyncio.run(asgi(asgi_app, "POST", f"/predict/{model}", body, query, fields))

    return post


def predictions_are_close(found: Sequence[Any], expected: Sequence[Any], scale: float) -> bool:
    if [value is None for value in found] != [value is None for value in expected]:
        return False
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a is not None]
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-5 * scale) for a, b in pairs)


@pytest.fixture
def rows(random_rows: Callable[..., list[Row]], tabular_models: list[TabularModel]) -> Callable[[str, int], list[Row]]:
    schemas = {model.name: model.schema for model in tabular_models}

    def make(name: str, count: int) -> list[Row]:
        made = random_rows(schemas[name], count, np.random.default_rng(5))
        return [
            {key: value if value != "" else None for key, value in row.items()} for row in made
        ]  # CSV reads an empty text as missing

    return make


@pytest.mark.parametrize("model", ["homes", "income", "house_class"])
@pytest.mark.parametrize("body_format", KINDS)
@pytest.mark.parametrize("response_format", KINDS)
def test_every_body_format_works_with_every_response_format(
    post: Post,
    asgi_app: Application,
    rows: Callable[[str, int], list[Row]],
    model: str,
    body_format: str,
    response_format: str,
) -> None:
    sent = rows(model, 30)
    reply = post(model, body_format, encode_rows(body_format, sent), accept=KINDS[response_format])
    assert (reply.status, reply.headers["content-type"].partition(";")[0]) == (200, KINDS[response_format])
    assert int(reply.headers["content-length"]) == len(reply.content)
    served = asgi_app.plane.snapshot.find(model).model
    found = parse_response(response_format, reply.content)
    assert predictions_are_close(found.values, served.predict_rows(sent).primary.tolist(), served.tolerance())
    assert (found.wrong, found.stopped) == ({}, None)


def invalid_rows(home: Row) -> list[Row]:
    return [
        home,
        {**home, "educational-num": 500},
        {**home, "class": 99.5},  # outside the range seen
        {**home, "educational-num": None},
        {**home, "Outcome Type": "never seen"},
        {**home, "2nd": "yesterday", "_u": 7},
        home,
    ]


@pytest.mark.parametrize("body_format", KINDS)
@pytest.mark.parametrize("response_format", KINDS)
def test_errors_and_warnings_are_the_same_in_every_format(
    post: Post, home_row: Row, body_format: str, response_format: str
) -> None:
    sent = invalid_rows(home_row)
    expected = parse_response("json", post("homes", "json", encode_rows("json", sent), "on_invalid=skip").content)
    assert (sorted(expected.wrong), expected.warned) == ([1, 3, 5], [2, 4])
    reply = post("homes", body_format, encode_rows(body_format, sent), "on_invalid=skip", accept=KINDS[response_format])
    assert reply.status == 200
    found = parse_response(response_format, reply.content)
    assert (found.wrong, found.warned) == (expected.wrong, expected.warned)
    assert predictions_are_close(found.values, expected.values, 50_000)


@pytest.mark.parametrize("body_format", TABLES)
def test_one_invalid_row_rejects_a_body_of_any_format(post: Post, home_row: Row, body_format: str) -> None:
    reply = post("homes", body_format, encode_rows(body_format, invalid_rows(home_row)))
    assert (reply.status, reply.headers["content-type"]) == (422, "application/problem+json")
    assert [(error["row"], error["code"]) for error in reply.body["errors"]] == [
        (1, "above_maximum"),
        (3, "null_not_allowed"),
        (5, "bad_date"),
        (5, "unseen_level"),
    ]
    assert reply.body["detail"] == "3 of 7 rows are not valid"


@pytest.mark.parametrize("body_format", TABLES)
def test_a_body_without_rows_is_an_error(post: Post, home_row: Row, body_format: str) -> None:
    body = encode_rows(body_format, [home_row])
    if body_format in ("csv", "ndjson"):
        empty = body.splitlines(keepends=True)[0] if body_format == "csv" else b"\n\n"
    else:
        sink = pa.BufferOutputStream()
        schema = arrow_table([home_row]).schema
        if body_format == "arrow":
            pa.ipc.new_stream(sink, schema).close()
        else:
            pq.write_table(schema.empty_table(), sink)
        empty = sink.getvalue().to_pybytes()
    reply = post("homes", body_format, empty)
    assert (reply.status, reply.codes) == (422, ["empty_rows"])


@pytest.mark.parametrize("body_format", TABLES)
def test_a_body_over_the_row_limit_is_answered_in_blocks(
    make_app: Callable[..., Application],
    tabular_models: list[TabularModel],
    settings: Settings,
    asgi: Callable[..., Any],
    rows: Callable[[str, int], list[Row]],
    body_format: str,
) -> None:
    asgi_app = make_app(tabular_models, dataclasses.replace(settings, max_rows=100))
    sent = rows("homes", 9000)
    body = encode_rows(body_format, sent, chunk=1500)
    reply = asyncio.run(asgi(asgi_app, "POST", "/predict/homes", body, "", {"content-type": KINDS[body_format]}))
    assert reply.status == 200
    assert reply.headers["content-length"] == str(len(reply.content))  # the response was complete before it was sent
    found = parse_response(body_format, reply.content)
    model = asgi_app.plane.snapshot.find("homes").model
    assert predictions_are_close(found.values, model.predict_rows(sent).primary.tolist(), model.tolerance())
    asgi_app.plane.close()


@pytest.mark.parametrize("file_format", KINDS)
@pytest.mark.parametrize("query", ["", "on_invalid=skip"])
@pytest.mark.parametrize("started", [False, True])
def test_an_invalid_row_of_a_stream_causes_an_error_status_or_a_final_error_entry(
    make_app: Callable[..., Application],
    tabular_models: list[TabularModel],
    settings: Settings,
    asgi: Callable[..., Any],
    home_row: Row,
    monkeypatch: pytest.MonkeyPatch,
    file_format: str,
    query: str,
    started: bool,
) -> None:
    if started:
        monkeypatch.setattr(response_buffer, "MAX_BUFFERED_BYTES", 0)
    asgi_app = make_app(tabular_models, dataclasses.replace(settings, max_rows=100))
    sent = [home_row] * 5000 + [{**home_row, "educational-num": -1}] + [home_row] * 4000
    body = encode_rows("csv", sent)
    headers = {"content-type": "text/csv", "accept": KINDS[file_format]}
    reply = asyncio.run(asgi(asgi_app, "POST", "/predict/homes", body, query, headers))
    asgi_app.plane.close()
    if not query and not started:
        assert reply.status == 422
        assert [error["row"] for error in json.loads(reply.content)["errors"]] == [5000]
        return
    assert reply.status == 200
    found = parse_response(file_format, reply.content)
    if query:
        assert len(found.values) == 9001
        assert found.wrong == {5000: "row 5000, feature 'educational-num': -1.0 is below 0"}
        assert found.stopped is None
    else:
        assert len(found.values) == table_handler.BLOCK_ROWS
        assert found.stopped
        assert "Rows not valid" in found.stopped or "row 5000" in found.stopped


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_compressed_tables_are_accepted(post: Post, rows: Callable[[str, int], list[Row]], coding: str) -> None:
    pack = gzip.compress if coding == "gzip" else zstd.compress
    sent = rows("homes", 3000)  # exceeds the row limit of one request
    for file_format in TABLES:
        reply = post("homes", file_format, pack(encode_rows(file_format, sent)), content_encoding=coding)
        assert reply.status == 200
        assert len(parse_response(file_format, reply.content).values) == 3000
    cut = post("homes", "csv", pack(encode_rows("csv", sent))[:-5], content_encoding=coding)
    assert cut.status == 400 or parse_response("csv", cut.content).stopped


def test_the_decompressed_size_of_a_stream_is_limited(
    make_app: Callable[..., Application],
    tabular_models: list[TabularModel],
    settings: Settings,
    asgi: Callable[..., Any],
) -> None:
    asgi_app = make_app(tabular_models, dataclasses.replace(settings, max_body_bytes=10_000, max_stream_bytes=300_000))
    body = gzip.compress(b"age,job\n" + b"20,Private\n" * 40_000)
    headers = {"content-type": "text/csv", "content-encoding": "gzip"}
    reply = asyncio.run(asgi(asgi_app, "POST", "/predict/income", body, "", headers))
    assert (reply.status, reply.codes) == (413, ["body_too_large"])
    whole = asyncio.run(asgi(asgi_app, "POST", "/predict/income", b"a" * 300_001, "", {"content-type": "text/csv"}))
    assert whole.status == 413
    asgi_app.plane.close()


# Negotiation


@pytest.mark.parametrize(
    ("kind", "accept", "expected"),
    [
        ("", "", ("json", "json")),
        ("text/csv", "", ("csv", "csv")),
        ("text/csv; charset=UTF-8; header=present", "*/*", ("csv", "csv")),
        ("application/jsonl", "application/json", ("ndjson", "json")),
        ("application/json", "text/csv;q=0.9, application/json;q=0.1", ("json", "csv")),
        ("text/csv", "application/json, text/plain, */*", ("csv", "csv")),
        ("application/json", "text/*", ("json", "csv")),
        ("text/csv", "text/csv;q=0, application/json;q=0.2", ("csv", "json")),
        ("application/x-parquet", "application/vnd.apache.arrow.stream", ("parquet", "arrow")),
        ("application/parquet", "application/jsonlines", ("parquet", "ndjson")),
        ("application/jsonlines", "application/parquet", ("ndjson", "parquet")),
    ],
)
def test_the_response_has_the_format_with_the_highest_quality(
    kind: str, accept: str, expected: tuple[str, str]
) -> None:
    body_format, response_format = negotiation.negotiate({b"content-type": kind.encode(), b"accept": accept.encode()})
    assert (body_format.name, response_format.name) == expected


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/html"}, 415),
        ({"content-type": "text/csv; charset=utf-7"}, 415),
        ({"content-type": "text/csv; header=absent"}, 415),
        ({"content-type": "text/csv", "content-encoding": "br"}, 415),
        ({"content-type": "text/csv", "accept": "image/png"}, 406),
        ({"content-type": "application/json", "accept": "text/csv;q=0"}, 406),
    ],
)
def test_unsupported_formats_are_refused(
    asgi_app: Application, asgi: Callable[..., Any], headers: dict[str, str], status: int
) -> None:
    reply = asyncio.run(asgi(asgi_app, "POST", "/predict/homes", b"a\n1\n", "", headers))
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_without_pyarrow_the_error_names_the_missing_extra(
    post: Post, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    monkeypatch.setattr("models.formats.arrow_columns.is_pyarrow_installed", lambda: False)
    reply = post("homes", file_format, b"")
    assert reply.status == 415
    assert "tabserve[arrow]" in reply.body["detail"]
    assert post("homes", "csv", b"a\n1\n", accept=KINDS[file_format]).status == 406


def test_unknown_options_are_errors(post: Post) -> None:
    for query in ("on_invalid=maybe", "nothing=1"):
        assert post("homes", "csv", b"a\n1\n", query).codes == ["unknown_option"]


# CSV


HEAD = "educational-num,Outcome Type,class,model_x,2nd,_u"


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}\n12,Adoption,1.5,true,2013-04-01,2\n",
        f"\ufeff{HEAD}\r\n12,Adoption,1.5,TRUE,2013-04-01,2",
        f'{HEAD}\n\n"12"," Adoption ",1.5,True,2013-04-01,2.0\n\n',
        f"{HEAD},id,price\n12,Adoption,1.5,true,2013-04-01,2,anything,9\n".replace(",", ";"),
        f"{HEAD}\n12,Adoption,1.5,true,2013-04-01,2\n".replace(",", "\t"),
    ],
)
def test_a_csv_of_the_training_table_is_accepted_unchanged(post: Post, home_row: Row, text: str) -> None:
    expected = post("homes", "json", encode_rows("json", [home_row])).body["predictions"][0]["value"]
    reply = post("homes", "csv", text.encode())
    assert reply.status == 200, reply.content
    assert predictions_are_close(parse_response("csv", reply.content).values, [[expected]], 50_000)


def test_texts_for_missing_values_in_a_csv_are_read_as_missing(post: Post) -> None:
    text = f"{HEAD}\n12,NA,?,true,2013-04-01,2\nNA,,,true,2013-04-01,2\n"
    reply = post("homes", "csv", text.encode())
    assert [(error["row"], error["field"], error["code"]) for error in reply.body["errors"]] == [
        (1, "educational-num", "null_not_allowed")
    ]


def test_a_csv_line_with_a_wrong_number_of_cells_is_one_invalid_row(post: Post) -> None:
    good = "12,Adoption,1.5,true,2013-04-01,2"
    reply = post("homes", "csv", f"{HEAD}\n{good}\n{good},3\n12\n{good}\n".encode(), "on_invalid=skip")
    found = parse_response("csv", reply.content)
    assert [value is None for value in found.values] == [False, True, True, False]
    assert found.wrong[1] == "row 1: it has 7 cells, the header has 6"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"\n\n", 422),
        (b"a,a\n1,2\n", 400),
        (b'educational-num\n"12', 400),
        (b'educational-num\n"12"3\n', 400),
        (b"educational-num\n\xff\n", 400),
        (b"educational-num\n" + b"1" * 200_000, 400),
        (b"nothing\n1\n", 422),
    ],
)
def test_an_invalid_csv_is_an_error(post: Post, content: bytes, status: int) -> None:
    assert post("homes", "csv", content).status == status


def test_a_line_that_is_not_json_is_one_invalid_row(post: Post, home_row: Row) -> None:
    line = json.dumps(home_row).encode()
    body = b"\n".join([b"\xef\xbb\xbf" + line, b"{", b"", line + b"," + line, b'{"a":NaN}', b"3", line])
    reply = post("homes", "ndjson", body, "on_invalid=skip")
    lines = [json.loads(one) for one in reply.content.splitlines()]
    assert ["value" in one for one in lines] == [True, False, False, False, False, True]
    assert [one["errors"][0]["code"] for one in lines[1:5]] == ["bad_json", "bad_json", "bad_json", "wrong_type"]
    refused = post("homes", "ndjson", body)
    assert (refused.status, refused.body["errors"][0]["row"]) == (422, 1)


# Arrow


def test_arrow_types_are_read_like_json_values(post: Post, home_row: Row) -> None:
    table = pa.table(
        {
            "educational-num": pa.array([12, 12, 12], pa.uint8()),
            "Outcome Type": pa.array(["Adoption", "Adoption", None]).dictionary_encode(),
            "class": pa.array([1.5, None, float("nan")], pa.float32()),
            "model_x": pa.array([True, True, True]),
            "2nd": pa.array([15796, 15796, 15796], pa.int32()).cast(pa.date32()),
            "_u": pa.array([2, 2, 2], pa.int16()),
            "id": pa.array([[1], [2], None]),  # an ignored column may have any type
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    sent = [home_row, {**home_row, "class": None}, {**home_row, "class": None, "Outcome Type": None}]
    sent = [{**row, "2nd": "2013-04-01"} for row in sent]
    expected = parse_response("json", post("homes", "json", encode_rows("json", sent)).content)
    reply = post("homes", "arrow", sink.getvalue().to_pybytes())
    assert reply.status == 200, reply.content
    assert predictions_are_close(parse_response("arrow", reply.content).values, expected.values, 50_000)


def test_arrow_streams_that_expand_without_limit_are_refused(post: Post) -> None:
    packed, empty = pa.BufferOutputStream(), pa.BufferOutputStream()
    table = pa.table({"educational-num": np.zeros(5000)})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(packed, table.schema, options=options) as writer:
        writer.write_table(table)
    reply = post("homes", "arrow", packed.getvalue().to_pybytes())
    assert (reply.status, "compressed" in reply.body["detail"]) == (400, True)
    table = pa.table({"class": pa.nulls(10**6)})
    with pa.ipc.new_stream(empty, table.schema) as writer:
        writer.write_table(table)
    reply = post("homes", "arrow", empty.getvalue().to_pybytes())
    assert (reply.status, "cannot contain" in reply.body["detail"]) == (400, True)


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_an_invalid_arrow_stream_is_an_error(post: Post, home_row: Row, file_format: str) -> None:
    body = encode_rows(file_format, [home_row])
    for broken in (b"", b"no", b"PAR1" + b"\0" * 100, body[:-20], body[:40], body + b"more", b"\xff" * 100):
        reply = post("homes", file_format, broken)
        assert reply.status in (400, 422), (broken[:20], reply.status)


# Fuzzing


CAPTURED: dict[str, list[bytes]] = {}


@pytest.fixture(scope="module")
def fuzzed_app(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], settings: Settings
) -> Iterator[Application]:
    asgi_app = make_app(tabular_models, dataclasses.replace(settings, max_rows=5))
    yield asgi_app
    asgi_app.plane.close()


def mutated_body(draw: st.DrawFn, content: bytes) -> bytes:
    mutant = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(mutant)))
        change = draw(st.sampled_from(["set", "cut", "insert", "repeat"]))
        if change == "set" and place < len(mutant):
            mutant[place] = draw(st.integers(0, 255))
        elif change == "cut":
            del mutant[place : place + draw(st.integers(1, 40))]
        elif change == "insert":
            mutant[place:place] = draw(st.binary(max_size=12))
        else:
            mutant[place:place] = mutant[place : place + draw(st.integers(1, 200))]
    return bytes(mutant)


@pytest.mark.parametrize("file_format", TABLES)
@given(data=st.data())
@hypothesis_settings(max_examples=150, deadline=None)
def test_mutated_bodies_never_cause_a_server_error(
    fuzzed_app: Application, asgi: Callable[..., Any], home_row: Row, file_format: str, data: Any
) -> None:
    count = data.draw(st.sampled_from([1, 4, 12]))
    if data.draw(st.integers(0, 9)):
        captured = encode_rows(file_format, [home_row] * count, chunk=5)
        body = data.draw(st.composite(mutated_body)(captured))
    else:
        body = data.draw(st.binary(max_size=300))
    response_format = data.draw(st.sampled_from(list(KINDS)))
    query = data.draw(st.sampled_from(["", "on_invalid=skip"]))
    headers = {"content-type": KINDS[file_format], "accept": KINDS[response_format]}
    reply = asyncio.run(asgi(fuzzed_app, "POST", "/predict/homes", body, query, headers))
    assert reply.status < 500
    if reply.status == 200:
        assert "Internal" not in str(parse_response(response_format, reply.content).stopped)


def test_a_body_with_too_many_columns_is_refused_at_bounded_cost(post: Post, home_row: Row) -> None:
    """A body with many unknown columns causes no more reported errors or look-ups than a body with few."""
    names = [f"c{number}" for number in range(60_000)]
    table = (",".join(names) + "\n" + ",".join(["1"] * len(names))).encode()
    reply = post("homes", "csv", table)
    assert reply.status == 422
    assert len(reply.body["errors"]) == 100
    skipped = post("homes", "csv", table, "on_invalid=skip", accept=KINDS["ndjson"])
    assert [len(json.loads(line)["errors"]) for line in skipped.content.splitlines()] == [100]
    lines = json.dumps({**home_row, **dict.fromkeys(names[:40_000], 1)}).encode()
    skipped = post("homes", "ndjson", lines, "on_invalid=skip")
    assert [len(json.loads(line)["errors"]) for line in skipped.content.splitlines()] == [100]
    twice = post("homes", "csv", table.replace(b"c59999", b"c0"))
    assert (twice.status, twice.codes) == (400, ["bad_body"])
