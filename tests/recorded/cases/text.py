"""Requests `POST /predict/{model}` with CSV and JSON lines, without streamed responses."""

from tests.recorded.case import Case, CaseBuilder, encode_body
from tests.recorded.cases import samples
from tests.recorded.cases.forms import ARROW, CSV, NDJSON, PARQUET, csv_of, ndjson_of
from tests.recorded.cases.samples import HOME, INCOME, NUMBERS, ONE, changed, without_columns

HOMES, PREDICT_NUMBERS, PREDICT_INCOME = "/predict/homes", "/predict/numbers", "/predict/income"


def cases() -> list[Case]:
    tables, lines = CaseBuilder("csv"), CaseBuilder("ndjson")
    csv_body_cases(tables)
    csv_cell_cases(tables)
    invalid_csv_cases(tables)
    response_format_cases(tables, CSV, csv_of(samples.home_rows(5)))
    ndjson_body_cases(lines)
    response_format_cases(lines, NDJSON, ndjson_of(samples.home_rows(5)))
    return [*tables.made, *lines.made]


def csv_body_cases(builder: CaseBuilder) -> None:
    for model, row in ONE.items():
        builder.post(f"one-row-{model}", f"/predict/{model}", csv_of([row]), kind=CSV)
    rows = samples.home_rows(30)
    builder.post("rows-homes", HOMES, csv_of(rows), kind=CSV)
    builder.post("rows-sizes", "/predict/sizes", csv_of(samples.size_rows(12)), kind=CSV)
    builder.post("rows-numbers", PREDICT_NUMBERS, csv_of(samples.number_rows(900)), kind=CSV)
    for name, delimiter in {"semicolon": ";", "tab": "\t", "bar": "|"}.items():
        builder.post(name, HOMES, csv_of(rows[:6], delimiter), kind=CSV)
    body = csv_of(rows[:6])
    builder.post("byte-order-mark", HOMES, b"\xef\xbb\xbf" + body, kind=CSV)
    builder.post("carriage-returns", HOMES, body.replace(b"\n", b"\r\n"), kind=CSV)
    builder.post("no-last-newline", HOMES, body.rstrip(), kind=CSV)
    builder.post("blank-lines", HOMES, b"\n\n" + body.replace(b"\n", b"\n\n"), kind=CSV)
    quoted = b'"a","b","c","d","e","f"\n"1.5","2","3","4","5","6"\n 2 ,3,4,5,6,7\n'
    builder.post("quoted", PREDICT_NUMBERS, quoted, kind=CSV)
    builder.post("names-with-spaces", PREDICT_NUMBERS, b" a , b,c ,d,e,f\n1,2,3,4,5,6\n", kind=CSV)
    builder.post("other-order", PREDICT_NUMBERS, b"f,e,d,c,b,a\n6,5,4,3,2,1\n", kind=CSV)
    builder.post("ignored-columns", HOMES, csv_of([changed(row, ID="h1", price=3) for row in rows[:3]]), kind=CSV)
    builder.post("newline-in-cell", HOMES, csv_of([changed(HOME, street="two\nlines")]), kind=CSV)
    builder.post("gzip", HOMES, samples.gzip_compressed(body), kind=CSV, content_encoding="gzip")
    builder.post("zstd", HOMES, samples.zstd_compressed(body), kind=CSV, content_encoding="zstd")
    builder.post("gzip-cut-off", HOMES, samples.gzip_compressed(body)[:-9], kind=CSV, content_encoding="gzip")
    builder.post("deflate", HOMES, body, kind=CSV, content_encoding="deflate")
    builder.post("chunked", HOMES, body, kind=CSV, chunk=100)
    builder.post("application-csv", HOMES, body, kind="application/csv")
    builder.post("charset", HOMES, body, kind="text/csv; charset=UTF-8")
    builder.post("charset-ascii", HOMES, body, kind="text/csv; charset=us-ascii")
    builder.post("charset-latin", HOMES, body, kind="text/csv; charset=latin1")
    builder.post("header-present", HOMES, body, kind="text/csv; header=present")
    builder.post("header-absent", HOMES, body, kind="text/csv; header=absent")
    builder.post("batching", PREDICT_NUMBERS, csv_of(samples.number_rows(30)), kind=CSV, server="batching")


def csv_cell_cases(builder: CaseBuilder) -> None:
    """Requests with unusual CSV cells."""
    tokens = ["NA", "N/A", "NaN", "nan", "null", "NULL", "?", "None", "-", " NA", ""]
    rows = [{**HOME, "Outcome Type": token, "class": token, "renovated": token} for token in tokens]
    builder.post("missing", f"{HOMES}?on_invalid=skip", csv_of(rows), kind=CSV)
    builder.post(
        "missing-number-token", PREDICT_INCOME, b"age,job,member,hours\n44,?,true,-1\n-1,x,TRUE,-1.0\n", kind=CSV
    )
    builder.post("missing-not-allowed", HOMES, csv_of([changed(HOME, zone=None, street=None)]), kind=CSV)
    numbers = [
        "1e3",
        "1E-2",
        " 7",
        "+5",
        "0x10",
        "1_000",
        "1,5",
        ".5",
        "5.",
        "inf",
        "-Infinity",
        "1e999",
        "٣",
        "",
        "12 ",
    ]
    rows = [{**NUMBERS, "a": text} for text in numbers]
    builder.post("numbers", f"{PREDICT_NUMBERS}?on_invalid=skip", csv_of(rows), kind=CSV)
    flags = ["true", "True", "TRUE", " false ", "1", "0", "yes", "t", "", "wahr"]
    rows = [{**HOME, "garden?": text, "renovated": text} for text in flags]
    builder.post("booleans", f"{HOMES}?on_invalid=skip", csv_of(rows), kind=CSV)
    levels = ["2", "2.0", " 2", "02", "2e0", "4", "two", ""]
    builder.post(
        "levels",
        f"{HOMES}?on_invalid=skip",
        csv_of([{**HOME, "zone": text} for text in levels]),
        kind=CSV,
    )
    texts = ["Adoption", " Adoption", "adoption", "größer, neu", 'said "no"', "100 %", "new"]
    rows = [{**HOME, "Outcome Type": text} for text in texts]
    builder.post("texts", f"{HOMES}?on_invalid=skip", csv_of(rows), kind=CSV)
    dates = ["2013-04-11", " 2013-04-11", "20130411", "2013-04-11T12:00", "2013-W15-4", "11.04.2013", "1989-01-01", ""]
    rows = [{**HOME, "2nd": text, "sold on": "15/03/2012 12:30"} for text in dates]
    builder.post("dates", f"{HOMES}?on_invalid=skip", csv_of(rows), kind=CSV)


def invalid_csv_cases(builder: CaseBuilder) -> None:
    body = csv_of(samples.home_rows(3))
    ragged = body + b"1,2,3\n" + b"1," * 20 + b"\n"
    builder.post("ragged", HOMES, ragged, kind=CSV)
    builder.post("ragged-skip", f"{HOMES}?on_invalid=skip", ragged, kind=CSV)
    builder.post("ragged-as-json", f"{HOMES}?on_invalid=skip", ragged, kind=CSV, accept="application/json")
    for name, content in {
        "empty": b"",
        "header-only": b"a,b,c,d,e,f\n",
        "no-header": b"1,2,3,4,5,6\n1,2,3,4,5,6\n",
        "missing-column": b"a,b,c,d,e\n1,2,3,4,5\n",
        "unknown-column": b"a,b,c,d,e,f,ff\n1,2,3,4,5,6,7\n",
        "column-twice": b"a,b,c,d,e,f,a\n1,2,3,4,5,6,7\n",
        "open-quote": b'a,b,c,d,e,f\n1,2,3,4,5,"6\n',
        "quote-and-more": b'a,b,c,d,e,f\n1,2,3,4,5,"6"7\n',
        "not-utf8": b"a,b,c,d,e,f\n1,2,3,4,5,\xff\n",
        "zero-byte": b"a,b,c,d,e,f\n1,2,3,4,5,\x006\n",
        "utf16": "a,b,c,d,e,f\n1,2,3,4,5,6\n".encode("utf-16"),
        "json": encode_body({"rows": [NUMBERS]}),
        "long-line": b"a,b,c,d,e,f\n1,2,3,4,5," + b"6" * 1_100_000 + b"\n",
    }.items():
        builder.post(f"body-{name}", PREDICT_NUMBERS, content, kind=CSV)
    wrong = [{**row, "zone": 9} for row in samples.home_rows(120)]
    builder.post("invalid-many", HOMES, csv_of(wrong), kind=CSV)
    builder.post("invalid-many-skip", f"{HOMES}?on_invalid=skip", csv_of([*wrong, HOME]), kind=CSV)
    some = [HOME, changed(HOME, zone=4), changed(HOME, street="new, street"), {**HOME, "class": "x"}]
    builder.post("skip-some", f"{HOMES}?on_invalid=skip", csv_of(some), kind=CSV)
    builder.post("fail-some", HOMES, csv_of(some), kind=CSV)
    builder.post(
        "skip-income", f"{PREDICT_INCOME}?on_invalid=skip", csv_of([INCOME, changed(INCOME, age=-3)]), kind=CSV
    )
    builder.post("skip-all", f"{HOMES}?on_invalid=skip", csv_of(some[1:2]), kind=CSV)
    builder.post("unknown-option", f"{HOMES}?on_invalid=maybe", body, kind=CSV)
    builder.post("timeout-passed", HOMES, body, kind=CSV, x_request_timeout="0.0000001")
    builder.post("timeout-bad", HOMES, body, kind=CSV, x_request_timeout="soon")
    builder.post("unknown-model", "/predict/home", body, kind=CSV, counted=False)


def response_format_cases(builder: CaseBuilder, kind: str, body: bytes) -> None:
    """The same rows with response formats requested by Accept."""
    accepts = {
        "json": "application/json",
        "ndjson": NDJSON,
        "csv": CSV,
        "arrow": ARROW,
        "parquet": PARQUET,
        "any": "*/*",
        "text": "text/*",
        "application": "application/*",
        "html": "text/html",
        "quality": f"{CSV};q=0.2, {NDJSON};q=0.8, application/json;q=0.8",
        "jsonl": "application/jsonl",
    }
    for name, accept in accepts.items():
        builder.post(f"to-{name}", HOMES, body, kind=kind, accept=accept)
    rows = [HOME, changed(HOME, zone=4), changed(HOME, street="new street")]
    written = csv_of(rows) if kind == CSV else ndjson_of(rows)
    for name in ("json", "ndjson", "csv", "arrow", "parquet"):
        builder.post(f"skip-to-{name}", f"{HOMES}?on_invalid=skip", written, kind=kind, accept=accepts[name])
    sizes = csv_of(samples.size_rows(4)) if kind == CSV else ndjson_of(samples.size_rows(4))
    for name in ("json", "csv", "arrow", "parquet"):
        builder.post(f"sizes-to-{name}", "/predict/sizes", sizes, kind=kind, accept=accepts[name])


def ndjson_body_cases(builder: CaseBuilder) -> None:
    for model, row in ONE.items():
        builder.post(f"one-row-{model}", f"/predict/{model}", ndjson_of([row]), kind=NDJSON)
    body = ndjson_of(samples.home_rows(20))
    builder.post("rows-homes", HOMES, body, kind=NDJSON)
    for kind in ("application/ndjson", "application/jsonl", "application/x-jsonlines", f"{NDJSON}; charset=utf-8"):
        builder.post(f"kind-{kind.partition('/')[2].partition(';')[0]}-{len(kind)}", HOMES, body, kind=kind)
    builder.post("blank-lines", HOMES, b"\n" + body.replace(b"\n", b"\r\n \n"), kind=NDJSON)
    builder.post("byte-order-mark", HOMES, b"\xef\xbb\xbf" + body, kind=NDJSON)
    builder.post("no-last-newline", HOMES, body.rstrip(), kind=NDJSON)
    builder.post("gzip", HOMES, samples.gzip_compressed(body, 3), kind=NDJSON, content_encoding="gzip")
    builder.post("chunked", HOMES, body, kind=NDJSON, chunk=333)
    builder.post("warned", HOMES, ndjson_of([HOME, changed(HOME, street="new street")]), kind=NDJSON)
    lines = [HOME, changed(HOME, zone=4), without_columns(HOME, "street"), 3, [], None, "x"]
    faulty = ndjson_of(lines) + b'{"class": NaN}\n{"class": \n\xff\n'
    builder.post("faulty", HOMES, faulty, kind=NDJSON)
    builder.post("faulty-skip", f"{HOMES}?on_invalid=skip", faulty, kind=NDJSON)
    builder.post("faulty-skip-to-json", f"{HOMES}?on_invalid=skip", faulty, kind=NDJSON, accept="application/json")
    builder.post("empty", HOMES, b"", kind=NDJSON)
    builder.post("blank", HOMES, b"\n \n", kind=NDJSON)
    builder.post("an-array", HOMES, b"[" + ndjson_of([HOME]).strip() + b"]", kind=NDJSON)
    builder.post("native-body", HOMES, encode_body({"rows": [HOME]}), kind=NDJSON)
    builder.post("long-line", HOMES, ndjson_of([changed(HOME, ID="x" * 1_100_000)]), kind=NDJSON)
    builder.post("from-json", HOMES, {"rows": samples.home_rows(4)}, accept=NDJSON)
    builder.post("from-json-skip", f"{HOMES}?on_invalid=skip", {"rows": [HOME, {}]}, accept=NDJSON)
    builder.post("from-json-to-csv", HOMES, {"rows": samples.home_rows(4)}, accept=CSV)
    builder.post("from-json-to-arrow", HOMES, {"rows": samples.home_rows(4)}, accept=ARROW)
    builder.post("from-json-to-parquet", PREDICT_INCOME, {"rows": samples.income_rows(6)}, accept=PARQUET)
