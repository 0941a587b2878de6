"""The option `inputs=true`: a CSV response to a Parquet body contains the body's columns, followed by the
predictions.
"""

import asyncio
import csv
import datetime
import io
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.formats import arrow_columns, parquet_decoder
from models.tabular_model import TabularModel
from service.http import table_handler
from service.http.asgi import Application
from service.settings import Settings
from tests.service.conftest import Reply

Post = Callable[..., Reply]
PARQUET, CSV = "application/vnd.apache.parquet", "text/csv"
ROWS = 300
MAX_BYTES = 2_000_000


@pytest.fixture(scope="module")
def apps(make_app: Callable[..., Application], tabular_models: list[TabularModel]) -> Iterator[dict[str, Application]]:
    """Two applications: `whole` reads bodies as a whole, `blocks` reads them block by block."""
    small = Settings(max_rows=100, max_stream_bytes=MAX_BYTES)
    found = {"whole": make_app(tabular_models, Settings()), "blocks": make_app(tabular_models, small)}
    yield found
    for app in found.values():
        app.plane.close()


@pytest.fixture
def post(apps: dict[str, Application], asgi: Callable[..., Any]) -> Post:
    def post(table: pa.Table, query: str, reading: str = "whole", model: str = "homes", accept: str = CSV) -> Reply:
        body = pa.BufferOutputStream()
        pq.write_table(table, body)
        headers = {"content-type": PARQUET, "accept": accept}
        content = body.getvalue().to_pybytes()
        reply: Reply = asyncio.run(asgi(apps[reading], "POST", f"/predict/{model}", content, query, headers))
        return reply

    return post


@pytest.fixture(scope="module")
def homes(tabular_models: list[TabularModel], random_rows: Callable[..., Any]) -> pa.Table:
    """Valid rows of `homes` with an additional column that the model ignores."""
    rows = random_rows(tabular_models[0].schema, ROWS, np.random.default_rng(1))
    return pa.Table.from_pylist([{"id": f'house "{number}", {number}', **row} for number, row in enumerate(rows)])


def csv_lines(reply: Reply) -> list[list[str]]:
    assert reply.status == 200, reply.content
    assert reply.headers["content-type"].startswith(CSV)
    return [*csv.reader(io.StringIO(reply.content.decode(), newline=""))]


def expected_text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("reading", ["whole", "blocks"])
def test_the_response_contains_the_columns_of_the_body_and_the_predictions(
    post: Post, homes: pa.Table, reading: str
) -> None:
    header, *lines = csv_lines(post(homes, "inputs=true", reading))
    plain_header, *predictions = csv_lines(post(homes, "", reading))
    assert header == [*homes.column_names, *plain_header]
    inputs = [[expected_text(value) for value in row.values()] for row in homes.to_pylist()]
    assert lines == [[*row, *prediction] for row, prediction in zip(inputs, predictions, strict=True)]


def test_an_invalid_row_keeps_its_columns(post: Post, homes: pa.Table) -> None:
    ages, jobs = [20.5, None, 1e9], ["Private", "a, b", None]
    table = pa.table({"age": ages, "job": jobs, "more": [1, 2, 3]}).drop(["more"])
    header, *lines = csv_lines(post(table, "inputs=true&on_invalid=skip", model="income"))
    assert header[:2] == ["age", "job"]
    assert header[-2:] == ["warnings", "error"]
    assert [line[:2] for line in lines] == [["20.5", "Private"], ["", "a, b"], ["1000000000.0", ""]]
    assert [bool(line[-1]) for line in lines] == [False, True, False]
    assert "age" in lines[1][-1]
    assert "outside_seen" in lines[2][-2]


def test_an_unknown_column_is_an_error_and_part_of_the_response(post: Post) -> None:
    table = pa.table({"age": [20.0], "job": ["Private"], "city": ["Rome"]})
    header, line = csv_lines(post(table, "inputs=true&on_invalid=skip", model="income"))
    assert line[: header.index("label")] == ["20.0", "Private", "Rome"]
    assert "city" in line[-1]
    assert post(table, "inputs=true", model="income").status == 422


def test_values_of_all_feature_types_are_written(post: Post, homes: pa.Table) -> None:
    """Columns whose type no feature can have are omitted."""
    day, moment = datetime.date(2020, 2, 29), datetime.datetime(2020, 2, 29, 12, 30)
    columns = {
        "id": pa.array(["Ärger\r\n", None]),
        "day": pa.array([day, None]),
        "moment": pa.array([moment, datetime.datetime(2020, 2, 29)], pa.timestamp("ns")),
        "price": pa.array([Decimal("2.50"), None]),
        "float": pa.array([0.1, float("nan")], pa.float32()),
        "whole": pa.array([2**62 + 1, None]),
        "text": pa.array(["a", "b"]).dictionary_encode(),
        "nothing": pa.nulls(2),
        "list": pa.array([[1], [2]]),
        "bytes": pa.array([b"1", b"2"]),
    }
    table = homes.slice(0, 2).drop(["id"])
    for name, column in columns.items():
        table = table.append_column(name, column)
    header, *lines = csv_lines(post(table, "inputs=true&on_invalid=skip"))
    found = [dict(zip(header, line, strict=True)) for line in lines]
    assert found[0].keys().isdisjoint({"list", "bytes"})
    assert [[line[name] for name in columns if name in line] for line in found] == [
        ["Ärger\r\n", "2020-02-29", "2020-02-29T12:30:00+00:00", "2.5", "0.10000000149011612", str(2**62 + 1), "a", ""],
        ["", "", "2020-02-29", "", "", "", "b", ""],
    ]


def test_the_index_of_a_data_frame_is_returned_and_not_validated(post: Post, homes: pa.Table) -> None:
    frame = homes.slice(0, 3).drop(["id"]).to_pandas()
    frame.index = ["first", "second", "third"]
    frame.index.name = "house"
    header, *lines = csv_lines(post(pa.Table.from_pandas(frame), "inputs=true"))
    assert [line[header.index("house")] for line in lines] == ["first", "second", "third"]
    assert [line[-1] for line in lines] == ["", "", ""]


def test_repeated_texts_of_a_small_file_count_for_each_row(post: Post, homes: pa.Table) -> None:
    long = pa.array(["x" * 10_000] * ROWS)
    table = homes.set_column(0, "id", long)
    assert post(table, "", "blocks").status == 200
    refused = post(table, "inputs=true", "blocks")  # a file of a few kB that contains 3 MB of text
    assert refused.status == 413


def test_the_size_of_blocks_is_bounded_in_bytes(post: Post, homes: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_columns, "BLOCK_BYTES", 50_000)
    sizes: list[int] = []
    made = arrow_columns.BlockBuilder._block

    def recorded_block(builder: Any) -> Any:
        sizes.append(sum(batch.num_rows for batch in builder._waiting))
        return made(builder)

    monkeypatch.setattr(arrow_columns.BlockBuilder, "_block", recorded_block)
    table = homes.set_column(0, "id", pa.array(["x" * 1000] * ROWS))
    _, *lines = csv_lines(post(table, "inputs=true", "blocks"))
    assert len(lines) == ROWS
    assert max(sizes) <= 50


def test_nulls_and_booleans_count_with_their_written_size() -> None:
    """Nulls and booleans need less memory in an array than in the written CSV."""
    columns = {"nothing": pa.nulls(1000), "flag": pa.array([True] * 1000), "small": pa.array([1] * 1000, pa.int8())}
    columns["level"] = pa.array([""] * 1000).dictionary_encode()
    [(_, size)] = arrow_columns.split_batch(pa.record_batch(columns))
    assert size == len(columns) * 1000 * arrow_columns.CELL_BYTES


def test_a_part_of_an_array_of_views_counts_only_its_own_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of an array of views refers to the texts of all rows."""
    monkeypatch.setattr(arrow_columns, "BLOCK_BYTES", 50_000)
    batch = pa.record_batch({"id": pa.array(["x" * 1000] * ROWS, pa.string_view())})
    parts = [*arrow_columns.split_batch(batch)]
    assert sum(part.num_rows for part, _ in parts) == ROWS
    assert sum(size for _, size in parts) == pytest.approx(1000 * ROWS, rel=0.05)


def test_the_schema_of_a_file_is_not_built_for_each_column(
    post: Post, homes: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow builds the schema from all columns at each access: 20,000 accesses for 20,000 columns would
    take minutes.
    """
    made: Any = pq.ParquetFile.schema_arrow
    accesses: list[Any] = []

    def schema_arrow(file: Any) -> Any:
        accesses.append(file)
        return made.fget(file)

    monkeypatch.setattr(pq.ParquetFile, "schema_arrow", property(schema_arrow))
    table = homes.slice(0, 3)
    for number in range(50):
        table = table.append_column(f"other {number}", pa.array([number] * 3))
    header, *lines = csv_lines(post(table, "inputs=true&on_invalid=skip"))
    assert header[: table.num_columns] == table.column_names
    assert len(lines) == 3
    assert len(accesses) < 5


def test_a_file_with_too_many_columns_is_refused(post: Post, homes: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a column takes tens of kilobytes, even if the column is small in the file."""
    columns = homes.num_columns
    monkeypatch.setattr(parquet_decoder, "MAX_INPUTS", columns)
    assert post(homes, "inputs=true").status == 200
    refused = post(homes.append_column("other", pa.nulls(ROWS)), "inputs=true&on_invalid=skip")
    assert refused.status == 400
    assert f"it has {columns + 1} columns; inputs=true writes at most {columns}".encode() in refused.content


def test_the_cells_of_few_rows_are_written_in_a_thread(
    post: Post, homes: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cells may contain megabytes of text, which would block the event loop."""
    write = table_handler.encode_block
    threads: list[threading.Thread] = []

    def encode_block(*arguments: Any) -> bytes:
        threads.append(threading.current_thread())
        return write(*arguments)

    monkeypatch.setattr(table_handler, "encode_block", encode_block)
    assert post(homes.slice(0, 2), "inputs=true").status == 200
    assert len(threads) == 1
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(
    ("query", "accept"), [("inputs=true", PARQUET), ("inputs=true", "application/json"), ("inputs=yes", CSV)]
)
def test_the_inputs_option_with_unsupported_formats_or_values_is_refused(
    post: Post, homes: pa.Table, query: str, accept: str
) -> None:
    reply = post(homes, query, accept=accept)
    assert reply.status == 422
    assert b"unknown_option" in reply.content
    assert b"inputs" in reply.content


def test_the_inputs_option_with_a_json_body_is_refused(
    apps: dict[str, Application], asgi: Callable[..., Any], home_row: Any
) -> None:
    for accept in ("application/json", CSV):
        headers = {"content-type": "application/json", "accept": accept}
        body = b'{"rows": []}'
        reply = asyncio.run(asgi(apps["whole"], "POST", "/predict/homes", body, "inputs=true", headers))
        assert reply.status == 422
        assert b"inputs=true needs a Parquet body" in reply.content
