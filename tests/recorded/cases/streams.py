"""Requests `POST /predict/{model}` with bodies over the limits of one request, answered block by block.

Invalid rows that end a response follow two complete blocks of 4,096 rows, so that the boundaries of the blocks do not
depend on the network.
"""

from collections.abc import Callable, Sequence

from tests.recorded.case import Case, CaseBuilder
from tests.recorded.cases import samples
from tests.recorded.cases.forms import ARROW, CSV, NDJSON, PARQUET, arrow_of, csv_of, ndjson_of, parquet_of, table_of
from tests.recorded.cases.samples import HOME, Row, changed

HOMES, SINGLE = "/predict/homes", "/predict/single"
MANY, BAD_ROW = 10_300, 9000

FORMS: dict[str, tuple[str, Callable[[Sequence[Row]], bytes]]] = {
    "ndjson": (NDJSON, ndjson_of),
    "csv": (CSV, csv_of),
    "arrow": (ARROW, lambda rows: arrow_of(table_of(rows), 25)),
    "parquet": (PARQUET, lambda rows: parquet_of(table_of(rows), row_group_size=25)),
}


def cases() -> list[Case]:
    builder = CaseBuilder("stream")
    small_limit_cases(builder)
    many_row_cases(builder)
    late_error_cases(builder)
    limit_cases(builder)
    return builder.made


def small_limit_cases(builder: CaseBuilder) -> None:
    """Requests with more rows than the row limit and fewer rows than a block."""
    rows = samples.home_rows(45)
    wrong = [*rows]
    wrong[30], wrong[40] = changed(HOME, zone=4), changed(HOME, street="new street")
    for name, (kind, write) in FORMS.items():
        builder.post(f"{name}-rows", HOMES, write(rows), kind=kind, server="small")
        builder.post(f"{name}-to-json", HOMES, write(rows), kind=kind, server="small", accept="application/json")
        builder.post(f"{name}-to-csv", HOMES, write(wrong[:1] + wrong), kind=kind, server="small", accept=CSV)
        builder.post(f"{name}-skip", f"{HOMES}?on_invalid=skip", write(wrong), kind=kind, server="small")
        builder.post(f"{name}-chunked", HOMES, write(rows), kind=kind, server="small", chunk=2000)
    ndjson = ndjson_of(wrong)
    builder.post(
        "ndjson-skip-to-json",
        f"{HOMES}?on_invalid=skip",
        ndjson,
        kind=NDJSON,
        server="small",
        accept="application/json",
    )
    builder.post("ndjson-skip-to-arrow", f"{HOMES}?on_invalid=skip", ndjson, kind=NDJSON, server="small", accept=ARROW)
    builder.post(
        "ndjson-skip-to-parquet", f"{HOMES}?on_invalid=skip", ndjson, kind=NDJSON, server="small", accept=PARQUET
    )
    builder.post(
        "csv-gzip",
        HOMES,
        samples.gzip_compressed(csv_of(samples.home_rows(200))),
        kind=CSV,
        server="small",
        content_encoding="gzip",
    )
    builder.post("csv-more-bytes", HOMES, csv_of(samples.home_rows(300)), kind=CSV, server="small")


def many_row_cases(builder: CaseBuilder) -> None:
    rows = samples.single_rows(MANY)
    builder.post("many-csv", SINGLE, csv_of(rows), kind=CSV)
    builder.post("many-ndjson-to-arrow", SINGLE, ndjson_of(rows), kind=NDJSON, accept=ARROW)
    builder.post("many-parquet", SINGLE, parquet_of(table_of(rows)), kind=PARQUET)
    builder.post("many-timeout-passed", SINGLE, csv_of(rows), kind=CSV, x_request_timeout="0.0000001")


def late_error_cases(builder: CaseBuilder) -> None:
    """Requests with errors after the start of the response."""
    rows = samples.single_rows(MANY)
    rows[BAD_ROW] = {"x": "nine"}
    rows[BAD_ROW + 1] = {"x": None}
    lines, cells = ndjson_of(rows), csv_of(rows)
    builder.post("ended-ndjson", SINGLE, lines, kind=NDJSON)
    builder.post("ended-csv", SINGLE, cells, kind=CSV)
    builder.post("ended-csv-to-json", SINGLE, cells, kind=CSV, accept="application/json")
    builder.post("ended-csv-to-arrow", SINGLE, cells, kind=CSV, accept=ARROW)
    builder.post("ended-csv-to-parquet", SINGLE, cells, kind=CSV, accept=PARQUET)
    builder.post("not-ended-csv-skip", f"{SINGLE}?on_invalid=skip", cells, kind=CSV)
    good = samples.single_rows(MANY)
    builder.post("ended-by-open-quote", SINGLE, csv_of(good) + b'"12\n', kind=CSV)
    arrow = arrow_of(table_of(samples.single_rows(12_000)), 1000)
    builder.post("ended-by-cut-off-arrow", SINGLE, arrow[:-1000], kind=ARROW, accept=CSV)
    first = [{"x": "nine"}, *good]
    builder.post("refused-in-first-block", SINGLE, ndjson_of(first), kind=NDJSON)


def limit_cases(builder: CaseBuilder) -> None:
    over = samples.home_rows(900)
    for name, (kind, write) in FORMS.items():
        builder.post(f"{name}-over-limit", HOMES, write(over), kind=kind, server="small")
    packed = samples.gzip_compressed(csv_of(over))
    builder.post("csv-over-limit-expanded", HOMES, packed, kind=CSV, server="small", content_encoding="gzip")
    few = parquet_of(table_of([HOME] * 8000))
    builder.post("parquet-over-limit-by-rows", HOMES, few, kind=PARQUET, server="small")
    builder.post("csv-no-rows-chunked", HOMES, b"\n" * 9000, kind=CSV, server="small", chunk=3000)
    builder.post("json-over-limit", HOMES, {"rows": samples.home_rows(60)}, server="small")
