"""Requests `POST /predict/{model}` with Arrow streams and Parquet files, without streamed responses."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tests.recorded.case import Case, CaseBuilder
from tests.recorded.cases import samples
from tests.recorded.cases.forms import ARROW, CSV, NDJSON, PARQUET, arrow_of, parquet_of, table_of
from tests.recorded.cases.samples import HOME, NUMBERS, ONE, changed, without_columns

HOMES, PREDICT_NUMBERS = "/predict/homes", "/predict/numbers"
DAY, MOMENT = date(2013, 4, 11), datetime(2012, 3, 15, 12, 30, tzinfo=UTC)


def cases() -> list[Case]:
    streams, files = CaseBuilder("arrow"), CaseBuilder("parquet")
    valid_stream_cases(streams)
    column_type_cases(streams)
    invalid_stream_cases(streams)
    for builder, kind in ((streams, ARROW), (files, PARQUET)):
        shared_cases(builder, kind)
    parquet_file_cases(files)
    return [*streams.made, *files.made]


def encode_table(kind: str, table: Any) -> bytes:
    return arrow_of(table) if kind == ARROW else parquet_of(table)


def shared_cases(builder: CaseBuilder, kind: str) -> None:
    for model, row in ONE.items():
        builder.post(f"one-row-{model}", f"/predict/{model}", encode_table(kind, table_of([row])), kind=kind)
    builder.post("rows-numbers", PREDICT_NUMBERS, encode_table(kind, table_of(samples.number_rows(60))), kind=kind)
    builder.post("rows-income", "/predict/income", encode_table(kind, table_of(samples.income_rows(20))), kind=kind)
    builder.post("rows-stars", "/predict/stars", encode_table(kind, table_of(samples.star_rows(9))), kind=kind)
    body = encode_table(kind, table_of(samples.home_rows(12)))
    builder.post("rows-homes", HOMES, body, kind=kind)
    for name, accept in {
        "json": "application/json",
        "ndjson": NDJSON,
        "csv": CSV,
        "arrow": ARROW,
        "parquet": PARQUET,
    }.items():
        builder.post(f"to-{name}", HOMES, body, kind=kind, accept=accept)
    builder.post("to-html", HOMES, body, kind=kind, accept="text/html")
    rows = [HOME, changed(HOME, zone=4), changed(HOME, street="new street"), changed(HOME, **{"class": 99.5})]
    faulty = encode_table(kind, table_of(rows))
    builder.post("fail-some", HOMES, faulty, kind=kind)
    for name, accept in {"own": kind, "json": "application/json", "ndjson": NDJSON, "csv": CSV}.items():
        builder.post(f"skip-some-to-{name}", f"{HOMES}?on_invalid=skip", faulty, kind=kind, accept=accept)
    builder.post("skip-all", f"{HOMES}?on_invalid=skip", encode_table(kind, table_of(rows[1:2])), kind=kind)
    builder.post("gzip", HOMES, samples.gzip_compressed(body), kind=kind, content_encoding="gzip")
    builder.post("chunked", HOMES, body, kind=kind, chunk=1000)
    builder.post("unknown-option", f"{HOMES}?skip=1", body, kind=kind)
    builder.post("timeout-passed", HOMES, body, kind=kind, x_request_timeout="0.0000001")
    builder.post("no-rows", HOMES, encode_table(kind, table_of(samples.home_rows(2)).slice(0, 0)), kind=kind)
    builder.post("no-columns", HOMES, encode_table(kind, pa.table({})), kind=kind)
    builder.post(
        "missing-column", HOMES, encode_table(kind, table_of([without_columns(HOME, "zone", "street")])), kind=kind
    )
    builder.post("unknown-column", HOMES, encode_table(kind, table_of([changed(HOME, zonee=1)])), kind=kind)
    builder.post("ignored-column", HOMES, encode_table(kind, table_of([changed(HOME, ID=[1], price="x")])), kind=kind)
    twice = pa.table([[1.0], [2.0]], names=["x", "x"])
    builder.post("column-twice", "/predict/single", encode_table(kind, twice), kind=kind)
    builder.post("empty", HOMES, b"", kind=kind)
    builder.post("not-one", HOMES, b"PAR1 or ARROW1, but none of them", kind=kind)
    builder.post("cut-off", HOMES, body[: len(body) // 2], kind=kind)
    builder.post("and-more", HOMES, body + b"more", kind=kind)
    builder.post("limit-rows", HOMES, encode_table(kind, table_of(samples.home_rows(20))), kind=kind, server="small")


def valid_stream_cases(builder: CaseBuilder) -> None:
    table = table_of(samples.home_rows(12))
    builder.post("small-batches", HOMES, arrow_of(table, 5), kind=ARROW)
    builder.post("sixty-batches", PREDICT_NUMBERS, arrow_of(table_of(samples.number_rows(60)), 1), kind=ARROW)
    narrow = table_of(samples.number_rows(6), **dict.fromkeys("abcdef", pa.float32()))
    builder.post("float32", PREDICT_NUMBERS, arrow_of(narrow), kind=ARROW)
    outside = table_of([changed(NUMBERS, a=0.1, b=1e6)], a=pa.float32(), b=pa.float32())
    builder.post("float32-warned", PREDICT_NUMBERS, arrow_of(outside), kind=ARROW)
    nan = table_of([{**HOME, "class": float("nan")}, HOME])
    builder.post("nan-is-missing", HOMES, arrow_of(nan), kind=ARROW)
    builder.post("nan-not-allowed", PREDICT_NUMBERS, arrow_of(table_of([{**NUMBERS, "a": float("nan")}])), kind=ARROW)
    builder.post("infinite", PREDICT_NUMBERS, arrow_of(table_of([{**NUMBERS, "a": float("inf")}])), kind=ARROW)
    sizes = table_of(samples.size_rows(7))
    builder.post("sizes", "/predict/sizes", arrow_of(sizes), kind=ARROW)
    builder.post("flags", "/predict/flags", arrow_of(pa.table({"heat": [10, 90]})), kind=ARROW)
    builder.post("batching", PREDICT_NUMBERS, arrow_of(table_of(samples.number_rows(9))), kind=ARROW, server="batching")


def column_type_cases(builder: CaseBuilder) -> None:
    """Columns of each kind with all suitable and some unsuitable Arrow types."""
    rows = samples.home_rows(6)
    for name, types in {
        "dictionary": {
            "street": pa.dictionary(pa.int8(), pa.string()),
            "Outcome Type": pa.dictionary(pa.int32(), pa.string()),
        },
        "large-text": {"street": pa.large_string(), "Outcome Type": pa.large_string()},
        "text-view": {"street": pa.string_view()},
        "small-integers": {"zone": pa.int8(), "educational-num": pa.uint16()},
        "float-levels": {"zone": pa.float64()},
        "half": {"class": pa.float16()},
        "decimal": {"educational-num": pa.decimal128(21, 2)},
        "text-for-number": {"educational-num": pa.string()},
        "number-for-boolean": {"garden?": pa.int8()},
        "text-levels": {"zone": pa.string()},
        "binary": {"street": pa.binary()},
    }.items():
        builder.post(f"type-{name}", f"{HOMES}?on_invalid=skip", arrow_of(table_of(rows, **types)), kind=ARROW)
    builder.post("type-decimals", "/predict/single", arrow_of(table_of([{"x": Decimal("12.50")}])), kind=ARROW)
    for name, kind in {
        "date32": pa.date32(),
        "date64": pa.date64(),
        "timestamp-s": pa.timestamp("s"),
        "timestamp-us": pa.timestamp("us"),
        "timestamp-ns-zone": pa.timestamp("ns", tz="Europe/Berlin"),
    }.items():
        column = pa.array([DAY, DAY], pa.date32()).cast(pa.timestamp("s")).cast(kind)
        table = table_of([HOME, HOME])
        table = table.set_column(table.schema.get_field_index("2nd"), "2nd", column)
        builder.post(f"type-{name}", HOMES, arrow_of(table), kind=ARROW)
    table = table_of(
        [
            changed(HOME, **{"2nd": DAY, "sold on": MOMENT}),
            changed(HOME, **{"2nd": date(1970, 1, 1), "sold on": MOMENT}),
        ]
    )
    builder.post("type-dates-invalid", HOMES, arrow_of(table), kind=ARROW)
    table = table_of([{**HOME, "Outcome Type": None, "class": None, "renovated": None}])
    builder.post("type-null", HOMES, arrow_of(table), kind=ARROW)
    builder.post("type-list", HOMES, arrow_of(table_of([{**HOME, "class": [1.5]}])), kind=ARROW)


def invalid_stream_cases(builder: CaseBuilder) -> None:
    table = table_of(samples.home_rows(3))
    builder.post("compressed", HOMES, arrow_of(table, compression="zstd"), kind=ARROW)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    builder.post("file-format", HOMES, sink.getvalue().to_pybytes(), kind=ARROW)
    body = arrow_of(table)
    builder.post("no-end", HOMES, body[:-8], kind=ARROW)
    builder.post("two-streams", HOMES, body + body, kind=ARROW)
    builder.post("two-schemas", HOMES, body[:-8] + body, kind=ARROW)
    schema = table.schema.serialize().to_pybytes()
    builder.post("schema-only", HOMES, schema, kind=ARROW)
    builder.post("rows-before-schema", HOMES, body[len(schema) :], kind=ARROW)
    builder.post("limit-batch", HOMES, arrow_of(table_of(samples.home_rows(120))), kind=ARROW, server="small")


def parquet_file_cases(builder: CaseBuilder) -> None:
    table = table_of(samples.home_rows(12))
    builder.post("row-groups", HOMES, parquet_of(table, row_group_size=5), kind=PARQUET)
    for compression in ("none", "gzip", "zstd", "lz4"):
        builder.post(f"compression-{compression}", HOMES, parquet_of(table, compression=compression), kind=PARQUET)
    builder.post("version-1", HOMES, parquet_of(table, version="1.0", data_page_version="1.0"), kind=PARQUET)
    builder.post("x-parquet", HOMES, parquet_of(table), kind="application/x-parquet")
    builder.post(
        "types",
        HOMES,
        parquet_of(table_of(samples.home_rows(4), zone=pa.int16(), street=pa.dictionary(pa.int32(), pa.string()))),
        kind=PARQUET,
    )
    only_ignored = pa.table({"ID": ["a", "b"], "price": [1.0, 2.0]})
    builder.post("only-ignored", HOMES, parquet_of(only_ignored), kind=PARQUET)
    builder.post("only-unknown", HOMES, parquet_of(pa.table({"other": [1, 2]})), kind=PARQUET)
