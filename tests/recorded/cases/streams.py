"""`POST /predict/{model}` with bodies over the limits of a request, answered block by block.

Rows that end a response come after the first two blocks of 4,096 rows of a body that is read as a whole, so that the
ends of blocks do not depend on the network.
"""

from collections.abc import Callable, Sequence

from tests.recorded.case import Case, Maker
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
    make = Maker("stream")
    small_limits(make)
    many_rows(make)
    endings(make)
    limits(make)
    return make.made


def small_limits(make: Maker) -> None:
    """More rows than a request may have, fewer than a block."""
    rows = samples.homes(45)
    wrong = [*rows]
    wrong[30], wrong[40] = changed(HOME, zone=4), changed(HOME, street="new street")
    for name, (kind, write) in FORMS.items():
        make.post(f"{name}-rows", HOMES, write(rows), kind=kind, server="small")
        make.post(f"{name}-to-json", HOMES, write(rows), kind=kind, server="small", accept="application/json")
        make.post(f"{name}-to-csv", HOMES, write(wrong[:1] + wrong), kind=kind, server="small", accept=CSV)
        make.post(f"{name}-skip", f"{HOMES}?on_invalid=skip", write(wrong), kind=kind, server="small")
        make.post(f"{name}-chunked", HOMES, write(rows), kind=kind, server="small", chunk=2000)
    ndjson = ndjson_of(wrong)
    make.post(
        "ndjson-skip-to-json",
        f"{HOMES}?on_invalid=skip",
        ndjson,
        kind=NDJSON,
        server="small",
        accept="application/json",
    )
    make.post("ndjson-skip-to-arrow", f"{HOMES}?on_invalid=skip", ndjson, kind=NDJSON, server="small", accept=ARROW)
    make.post("ndjson-skip-to-parquet", f"{HOMES}?on_invalid=skip", ndjson, kind=NDJSON, server="small", accept=PARQUET)
    make.post(
        "csv-gzip",
        HOMES,
        samples.gzipped(csv_of(samples.homes(200))),
        kind=CSV,
        server="small",
        content_encoding="gzip",
    )
    make.post("csv-more-bytes", HOMES, csv_of(samples.homes(300)), kind=CSV, server="small")


def many_rows(make: Maker) -> None:
    rows = samples.single(MANY)
    make.post("many-csv", SINGLE, csv_of(rows), kind=CSV)
    make.post("many-ndjson-to-arrow", SINGLE, ndjson_of(rows), kind=NDJSON, accept=ARROW)
    make.post("many-parquet", SINGLE, parquet_of(table_of(rows)), kind=PARQUET)
    make.post("many-timeout-passed", SINGLE, csv_of(rows), kind=CSV, x_request_timeout="0.0000001")


def endings(make: Maker) -> None:
    """Errors after the start of a response."""
    rows = samples.single(MANY)
    rows[BAD_ROW] = {"x": "nine"}
    rows[BAD_ROW + 1] = {"x": None}
    lines, cells = ndjson_of(rows), csv_of(rows)
    make.post("ended-ndjson", SINGLE, lines, kind=NDJSON)
    make.post("ended-csv", SINGLE, cells, kind=CSV)
    make.post("ended-csv-to-json", SINGLE, cells, kind=CSV, accept="application/json")
    make.post("ended-csv-to-arrow", SINGLE, cells, kind=CSV, accept=ARROW)
    make.post("ended-csv-to-parquet", SINGLE, cells, kind=CSV, accept=PARQUET)
    make.post("not-ended-csv-skip", f"{SINGLE}?on_invalid=skip", cells, kind=CSV)
    good = samples.single(MANY)
    make.post("ended-by-open-quote", SINGLE, csv_of(good) + b'"12\n', kind=CSV)
    arrow = arrow_of(table_of(samples.single(12_000)), 1000)
    make.post("ended-by-cut-off-arrow", SINGLE, arrow[:-1000], kind=ARROW, accept=CSV)
    first = [{"x": "nine"}, *good]
    make.post("refused-in-first-block", SINGLE, ndjson_of(first), kind=NDJSON)


def limits(make: Maker) -> None:
    over = samples.homes(900)
    for name, (kind, write) in FORMS.items():
        make.post(f"{name}-over-limit", HOMES, write(over), kind=kind, server="small")
    packed = samples.gzipped(csv_of(over))
    make.post("csv-over-limit-expanded", HOMES, packed, kind=CSV, server="small", content_encoding="gzip")
    few = parquet_of(table_of([HOME] * 8000))
    make.post("parquet-over-limit-by-rows", HOMES, few, kind=PARQUET, server="small")
    make.post("csv-no-rows-chunked", HOMES, b"\n" * 9000, kind=CSV, server="small", chunk=3000)
    make.post("json-over-limit", HOMES, {"rows": samples.homes(60)}, server="small")
