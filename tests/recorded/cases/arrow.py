"""`POST /predict/{model}` with Arrow streams and Parquet files, answered in one piece."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tests.recorded.case import Case, Maker
from tests.recorded.cases import samples
from tests.recorded.cases.forms import ARROW, CSV, NDJSON, PARQUET, arrow_of, parquet_of, table_of
from tests.recorded.cases.samples import HOME, NUMBERS, ONE, changed, without

HOMES, PREDICT_NUMBERS = "/predict/homes", "/predict/numbers"
DAY, MOMENT = date(2013, 4, 11), datetime(2012, 3, 15, 12, 30, tzinfo=UTC)


def cases() -> list[Case]:
    streams, files = Maker("arrow"), Maker("parquet")
    good_streams(streams)
    column_types(streams)
    bad_streams(streams)
    for make, kind in ((streams, ARROW), (files, PARQUET)):
        both(make, kind)
    parquet_files(files)
    return [*streams.made, *files.made]


def written(kind: str, table: Any) -> bytes:
    return arrow_of(table) if kind == ARROW else parquet_of(table)


def both(make: Maker, kind: str) -> None:
    for model, row in ONE.items():
        make.post(f"one-row-{model}", f"/predict/{model}", written(kind, table_of([row])), kind=kind)
    make.post("rows-numbers", PREDICT_NUMBERS, written(kind, table_of(samples.numbers(60))), kind=kind)
    make.post("rows-income", "/predict/income", written(kind, table_of(samples.income(20))), kind=kind)
    make.post("rows-stars", "/predict/stars", written(kind, table_of(samples.stars(9))), kind=kind)
    body = written(kind, table_of(samples.homes(12)))
    make.post("rows-homes", HOMES, body, kind=kind)
    for name, accept in {
        "json": "application/json",
        "ndjson": NDJSON,
        "csv": CSV,
        "arrow": ARROW,
        "parquet": PARQUET,
    }.items():
        make.post(f"to-{name}", HOMES, body, kind=kind, accept=accept)
    make.post("to-html", HOMES, body, kind=kind, accept="text/html")
    rows = [HOME, changed(HOME, zone=4), changed(HOME, street="new street"), changed(HOME, **{"class": 99.5})]
    faulty = written(kind, table_of(rows))
    make.post("fail-some", HOMES, faulty, kind=kind)
    for name, accept in {"own": kind, "json": "application/json", "ndjson": NDJSON, "csv": CSV}.items():
        make.post(f"skip-some-to-{name}", f"{HOMES}?on_invalid=skip", faulty, kind=kind, accept=accept)
    make.post("skip-all", f"{HOMES}?on_invalid=skip", written(kind, table_of(rows[1:2])), kind=kind)
    make.post("gzip", HOMES, samples.gzipped(body), kind=kind, content_encoding="gzip")
    make.post("chunked", HOMES, body, kind=kind, chunk=1000)
    make.post("unknown-option", f"{HOMES}?skip=1", body, kind=kind)
    make.post("timeout-passed", HOMES, body, kind=kind, x_request_timeout="0.0000001")
    make.post("no-rows", HOMES, written(kind, table_of(samples.homes(2)).slice(0, 0)), kind=kind)
    make.post("no-columns", HOMES, written(kind, pa.table({})), kind=kind)
    make.post("missing-column", HOMES, written(kind, table_of([without(HOME, "zone", "street")])), kind=kind)
    make.post("unknown-column", HOMES, written(kind, table_of([changed(HOME, zonee=1)])), kind=kind)
    make.post("ignored-column", HOMES, written(kind, table_of([changed(HOME, ID=[1], price="x")])), kind=kind)
    twice = pa.table([[1.0], [2.0]], names=["x", "x"])
    make.post("column-twice", "/predict/single", written(kind, twice), kind=kind)
    make.post("empty", HOMES, b"", kind=kind)
    make.post("not-one", HOMES, b"PAR1 or ARROW1, but none of them", kind=kind)
    make.post("cut-off", HOMES, body[: len(body) // 2], kind=kind)
    make.post("and-more", HOMES, body + b"more", kind=kind)
    make.post("limit-rows", HOMES, written(kind, table_of(samples.homes(20))), kind=kind, server="small")


def good_streams(make: Maker) -> None:
    table = table_of(samples.homes(12))
    make.post("small-batches", HOMES, arrow_of(table, 5), kind=ARROW)
    make.post("sixty-batches", PREDICT_NUMBERS, arrow_of(table_of(samples.numbers(60)), 1), kind=ARROW)
    narrow = table_of(samples.numbers(6), **dict.fromkeys("abcdef", pa.float32()))
    make.post("float32", PREDICT_NUMBERS, arrow_of(narrow), kind=ARROW)
    outside = table_of([changed(NUMBERS, a=0.1, b=1e6)], a=pa.float32(), b=pa.float32())
    make.post("float32-warned", PREDICT_NUMBERS, arrow_of(outside), kind=ARROW)
    nan = table_of([{**HOME, "class": float("nan")}, HOME])
    make.post("nan-is-missing", HOMES, arrow_of(nan), kind=ARROW)
    make.post("nan-not-allowed", PREDICT_NUMBERS, arrow_of(table_of([{**NUMBERS, "a": float("nan")}])), kind=ARROW)
    make.post("infinite", PREDICT_NUMBERS, arrow_of(table_of([{**NUMBERS, "a": float("inf")}])), kind=ARROW)
    sizes = table_of(samples.sizes(7))
    make.post("sizes", "/predict/sizes", arrow_of(sizes), kind=ARROW)
    make.post("flags", "/predict/flags", arrow_of(pa.table({"heat": [10, 90]})), kind=ARROW)
    make.post("batching", PREDICT_NUMBERS, arrow_of(table_of(samples.numbers(9))), kind=ARROW, server="batching")


def column_types(make: Maker) -> None:
    """Arrow's types for columns of each kind."""
    rows = samples.homes(6)
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
        make.post(f"type-{name}", f"{HOMES}?on_invalid=skip", arrow_of(table_of(rows, **types)), kind=ARROW)
    make.post("type-decimals", "/predict/single", arrow_of(table_of([{"x": Decimal("12.50")}])), kind=ARROW)
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
        make.post(f"type-{name}", HOMES, arrow_of(table), kind=ARROW)
    table = table_of(
        [
            changed(HOME, **{"2nd": DAY, "sold on": MOMENT}),
            changed(HOME, **{"2nd": date(1970, 1, 1), "sold on": MOMENT}),
        ]
    )
    make.post("type-dates-invalid", HOMES, arrow_of(table), kind=ARROW)
    table = table_of([{**HOME, "Outcome Type": None, "class": None, "renovated": None}])
    make.post("type-null", HOMES, arrow_of(table), kind=ARROW)
    make.post("type-list", HOMES, arrow_of(table_of([{**HOME, "class": [1.5]}])), kind=ARROW)


def bad_streams(make: Maker) -> None:
    table = table_of(samples.homes(3))
    make.post("compressed", HOMES, arrow_of(table, compression="zstd"), kind=ARROW)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    make.post("file-format", HOMES, sink.getvalue().to_pybytes(), kind=ARROW)
    body = arrow_of(table)
    make.post("no-end", HOMES, body[:-8], kind=ARROW)
    make.post("two-streams", HOMES, body + body, kind=ARROW)
    make.post("two-schemas", HOMES, body[:-8] + body, kind=ARROW)
    schema = table.schema.serialize().to_pybytes()
    make.post("schema-only", HOMES, schema, kind=ARROW)
    make.post("rows-before-schema", HOMES, body[len(schema) :], kind=ARROW)
    make.post("limit-batch", HOMES, arrow_of(table_of(samples.homes(120))), kind=ARROW, server="small")


def parquet_files(make: Maker) -> None:
    table = table_of(samples.homes(12))
    make.post("row-groups", HOMES, parquet_of(table, row_group_size=5), kind=PARQUET)
    for compression in ("none", "gzip", "zstd", "lz4"):
        make.post(f"compression-{compression}", HOMES, parquet_of(table, compression=compression), kind=PARQUET)
    make.post("version-1", HOMES, parquet_of(table, version="1.0", data_page_version="1.0"), kind=PARQUET)
    make.post("x-parquet", HOMES, parquet_of(table), kind="application/x-parquet")
    make.post(
        "types",
        HOMES,
        parquet_of(table_of(samples.homes(4), zone=pa.int16(), street=pa.dictionary(pa.int32(), pa.string()))),
        kind=PARQUET,
    )
    only_ignored = pa.table({"ID": ["a", "b"], "price": [1.0, 2.0]})
    make.post("only-ignored", HOMES, parquet_of(only_ignored), kind=PARQUET)
    make.post("only-unknown", HOMES, parquet_of(pa.table({"other": [1, 2]})), kind=PARQUET)
