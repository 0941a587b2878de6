"""`POST /predict/{model}` with CSV and JSON lines, answered in one piece."""

from tests.recorded.case import Case, Maker, as_bytes
from tests.recorded.cases import samples
from tests.recorded.cases.forms import ARROW, CSV, NDJSON, PARQUET, csv_of, ndjson_of
from tests.recorded.cases.samples import HOME, INCOME, NUMBERS, ONE, changed, without

HOMES, PREDICT_NUMBERS, PREDICT_INCOME = "/predict/homes", "/predict/numbers", "/predict/income"


def cases() -> list[Case]:
    tables, lines = Maker("csv"), Maker("ndjson")
    csv_bodies(tables)
    csv_cells(tables)
    invalid_csv(tables)
    answers(tables, CSV, csv_of(samples.homes(5)))
    ndjson_bodies(lines)
    answers(lines, NDJSON, ndjson_of(samples.homes(5)))
    return [*tables.made, *lines.made]


def csv_bodies(make: Maker) -> None:
    for model, row in ONE.items():
        make.post(f"one-row-{model}", f"/predict/{model}", csv_of([row]), kind=CSV)
    rows = samples.homes(30)
    make.post("rows-homes", HOMES, csv_of(rows), kind=CSV)
    make.post("rows-sizes", "/predict/sizes", csv_of(samples.sizes(12)), kind=CSV)
    make.post("rows-numbers", PREDICT_NUMBERS, csv_of(samples.numbers(900)), kind=CSV)
    for name, delimiter in {"semicolon": ";", "tab": "\t", "bar": "|"}.items():
        make.post(name, HOMES, csv_of(rows[:6], delimiter), kind=CSV)
    body = csv_of(rows[:6])
    make.post("byte-order-mark", HOMES, b"\xef\xbb\xbf" + body, kind=CSV)
    make.post("carriage-returns", HOMES, body.replace(b"\n", b"\r\n"), kind=CSV)
    make.post("no-last-newline", HOMES, body.rstrip(), kind=CSV)
    make.post("blank-lines", HOMES, b"\n\n" + body.replace(b"\n", b"\n\n"), kind=CSV)
    quoted = b'"a","b","c","d","e","f"\n"1.5","2","3","4","5","6"\n 2 ,3,4,5,6,7\n'
    make.post("quoted", PREDICT_NUMBERS, quoted, kind=CSV)
    make.post("names-with-spaces", PREDICT_NUMBERS, b" a , b,c ,d,e,f\n1,2,3,4,5,6\n", kind=CSV)
    make.post("other-order", PREDICT_NUMBERS, b"f,e,d,c,b,a\n6,5,4,3,2,1\n", kind=CSV)
    make.post("ignored-columns", HOMES, csv_of([changed(row, ID="h1", price=3) for row in rows[:3]]), kind=CSV)
    make.post("newline-in-cell", HOMES, csv_of([changed(HOME, street="two\nlines")]), kind=CSV)
    make.post("gzip", HOMES, samples.gzipped(body), kind=CSV, content_encoding="gzip")
    make.post("zstd", HOMES, samples.zstd_packed(body), kind=CSV, content_encoding="zstd")
    make.post("gzip-cut-off", HOMES, samples.gzipped(body)[:-9], kind=CSV, content_encoding="gzip")
    make.post("deflate", HOMES, body, kind=CSV, content_encoding="deflate")
    make.post("chunked", HOMES, body, kind=CSV, chunk=100)
    make.post("application-csv", HOMES, body, kind="application/csv")
    make.post("charset", HOMES, body, kind="text/csv; charset=UTF-8")
    make.post("charset-ascii", HOMES, body, kind="text/csv; charset=us-ascii")
    make.post("charset-latin", HOMES, body, kind="text/csv; charset=latin1")
    make.post("header-present", HOMES, body, kind="text/csv; header=present")
    make.post("header-absent", HOMES, body, kind="text/csv; header=absent")
    make.post("batching", PREDICT_NUMBERS, csv_of(samples.numbers(30)), kind=CSV, server="batching")


def csv_cells(make: Maker) -> None:
    """How cells are read."""
    tokens = ["NA", "N/A", "NaN", "nan", "null", "NULL", "?", "None", "-", " NA", ""]
    rows = [{**HOME, "Outcome Type": token, "class": token, "renovated": token} for token in tokens]
    make.post("missing", f"{HOMES}?on_invalid=skip", csv_of(rows), kind=CSV)
    make.post("missing-number-token", PREDICT_INCOME, b"age,job,member,hours\n44,?,true,-1\n-1,x,TRUE,-1.0\n", kind=CSV)
    make.post("missing-not-allowed", HOMES, csv_of([changed(HOME, zone=None, street=None)]), kind=CSV)
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
    make.post("numbers", f"{PREDICT_NUMBERS}?on_invalid=skip", csv_of(rows), kind=CSV)
    flags = ["true", "True", "TRUE", " false ", "1", "0", "yes", "t", "", "wahr"]
    rows = [{**HOME, "garden?": text, "renovated": text} for text in flags]
    make.post("booleans", f"{HOMES}?on_invalid=skip", csv_of(rows), kind=CSV)
    levels = ["2", "2.0", " 2", "02", "2e0", "4", "two", ""]
    make.post("levels", f"{HOMES}?on_invalid=skip", csv_of([{**HOME, "zone": text} for text in levels]), kind=CSV)
    texts = ["Adoption", " Adoption", "adoption", "größer, neu", 'said "no"', "100 %", "new"]
    rows = [{**HOME, "Outcome Type": text} for text in texts]
    make.post("texts", f"{HOMES}?on_invalid=skip", csv_of(rows), kind=CSV)
    dates = ["2013-04-11", " 2013-04-11", "20130411", "2013-04-11T12:00", "2013-W15-4", "11.04.2013", "1989-01-01", ""]
    rows = [{**HOME, "2nd": text, "sold on": "15/03/2012 12:30"} for text in dates]
    make.post("dates", f"{HOMES}?on_invalid=skip", csv_of(rows), kind=CSV)


def invalid_csv(make: Maker) -> None:
    body = csv_of(samples.homes(3))
    ragged = body + b"1,2,3\n" + b"1," * 20 + b"\n"
    make.post("ragged", HOMES, ragged, kind=CSV)
    make.post("ragged-skip", f"{HOMES}?on_invalid=skip", ragged, kind=CSV)
    make.post("ragged-as-json", f"{HOMES}?on_invalid=skip", ragged, kind=CSV, accept="application/json")
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
        "json": as_bytes({"rows": [NUMBERS]}),
        "long-line": b"a,b,c,d,e,f\n1,2,3,4,5," + b"6" * 1_100_000 + b"\n",
    }.items():
        make.post(f"body-{name}", PREDICT_NUMBERS, content, kind=CSV)
    wrong = [{**row, "zone": 9} for row in samples.homes(120)]
    make.post("invalid-many", HOMES, csv_of(wrong), kind=CSV)
    make.post("invalid-many-skip", f"{HOMES}?on_invalid=skip", csv_of([*wrong, HOME]), kind=CSV)
    some = [HOME, changed(HOME, zone=4), changed(HOME, street="new, street"), {**HOME, "class": "x"}]
    make.post("skip-some", f"{HOMES}?on_invalid=skip", csv_of(some), kind=CSV)
    make.post("fail-some", HOMES, csv_of(some), kind=CSV)
    make.post("skip-income", f"{PREDICT_INCOME}?on_invalid=skip", csv_of([INCOME, changed(INCOME, age=-3)]), kind=CSV)
    make.post("skip-all", f"{HOMES}?on_invalid=skip", csv_of(some[1:2]), kind=CSV)
    make.post("unknown-option", f"{HOMES}?on_invalid=maybe", body, kind=CSV)
    make.post("timeout-passed", HOMES, body, kind=CSV, x_request_timeout="0.0000001")
    make.post("timeout-bad", HOMES, body, kind=CSV, x_request_timeout="soon")
    make.post("unknown-model", "/predict/home", body, kind=CSV, counted=False)


def answers(make: Maker, kind: str, body: bytes) -> None:
    """The same rows with responses in every format."""
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
        make.post(f"to-{name}", HOMES, body, kind=kind, accept=accept)
    rows = [HOME, changed(HOME, zone=4), changed(HOME, street="new street")]
    written = csv_of(rows) if kind == CSV else ndjson_of(rows)
    for name in ("json", "ndjson", "csv", "arrow", "parquet"):
        make.post(f"skip-to-{name}", f"{HOMES}?on_invalid=skip", written, kind=kind, accept=accepts[name])
    sizes = csv_of(samples.sizes(4)) if kind == CSV else ndjson_of(samples.sizes(4))
    for name in ("json", "csv", "arrow", "parquet"):
        make.post(f"sizes-to-{name}", "/predict/sizes", sizes, kind=kind, accept=accepts[name])


def ndjson_bodies(make: Maker) -> None:
    for model, row in ONE.items():
        make.post(f"one-row-{model}", f"/predict/{model}", ndjson_of([row]), kind=NDJSON)
    body = ndjson_of(samples.homes(20))
    make.post("rows-homes", HOMES, body, kind=NDJSON)
    for kind in ("application/ndjson", "application/jsonl", "application/x-jsonlines", f"{NDJSON}; charset=utf-8"):
        make.post(f"kind-{kind.partition('/')[2].partition(';')[0]}-{len(kind)}", HOMES, body, kind=kind)
    make.post("blank-lines", HOMES, b"\n" + body.replace(b"\n", b"\r\n \n"), kind=NDJSON)
    make.post("byte-order-mark", HOMES, b"\xef\xbb\xbf" + body, kind=NDJSON)
    make.post("no-last-newline", HOMES, body.rstrip(), kind=NDJSON)
    make.post("gzip", HOMES, samples.gzipped(body, 3), kind=NDJSON, content_encoding="gzip")
    make.post("chunked", HOMES, body, kind=NDJSON, chunk=333)
    make.post("warned", HOMES, ndjson_of([HOME, changed(HOME, street="new street")]), kind=NDJSON)
    lines = [HOME, changed(HOME, zone=4), without(HOME, "street"), 3, [], None, "x"]
    faulty = ndjson_of(lines) + b'{"class": NaN}\n{"class": \n\xff\n'
    make.post("faulty", HOMES, faulty, kind=NDJSON)
    make.post("faulty-skip", f"{HOMES}?on_invalid=skip", faulty, kind=NDJSON)
    make.post("faulty-skip-to-json", f"{HOMES}?on_invalid=skip", faulty, kind=NDJSON, accept="application/json")
    make.post("empty", HOMES, b"", kind=NDJSON)
    make.post("blank", HOMES, b"\n \n", kind=NDJSON)
    make.post("an-array", HOMES, b"[" + ndjson_of([HOME]).strip() + b"]", kind=NDJSON)
    make.post("native-body", HOMES, as_bytes({"rows": [HOME]}), kind=NDJSON)
    make.post("long-line", HOMES, ndjson_of([changed(HOME, ID="x" * 1_100_000)]), kind=NDJSON)
    make.post("from-json", HOMES, {"rows": samples.homes(4)}, accept=NDJSON)
    make.post("from-json-skip", f"{HOMES}?on_invalid=skip", {"rows": [HOME, {}]}, accept=NDJSON)
    make.post("from-json-to-csv", HOMES, {"rows": samples.homes(4)}, accept=CSV)
    make.post("from-json-to-arrow", HOMES, {"rows": samples.homes(4)}, accept=ARROW)
    make.post("from-json-to-parquet", PREDICT_INCOME, {"rows": samples.income(6)}, accept=PARQUET)
