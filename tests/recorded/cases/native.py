"""Requests `POST /predict/{model}` with JSON bodies and JSON responses."""

import json

from tests.recorded.case import Case, CaseBuilder, encode_body
from tests.recorded.cases import samples
from tests.recorded.cases.samples import HOME, INCOME, NUMBERS, ONE, SIZES, STARS, changed, without_columns

HOMES, PREDICT_NUMBERS = "/predict/homes", "/predict/numbers"


def cases() -> list[Case]:
    builder = CaseBuilder("native")
    prediction_cases(builder)
    valid_row_cases(builder)
    warning_cases(builder)
    invalid_row_cases(builder)
    skipped_row_cases(builder)
    body_cases(builder)
    compression_cases(builder)
    header_cases(builder)
    option_cases(builder)
    method_cases(builder)
    limit_cases(builder)
    batching_cases(builder)
    return builder.made


def prediction_cases(builder: CaseBuilder) -> None:
    for model, row in ONE.items():
        builder.post(f"one-row-{model}", f"/predict/{model}", {"rows": [row]})
    builder.post("rows-numbers", PREDICT_NUMBERS, {"rows": samples.number_rows(50)})
    builder.post("rows-homes", HOMES, {"rows": samples.home_rows(50)})
    builder.post("rows-income", "/predict/income", {"rows": samples.income_rows(50)})
    builder.post("rows-stars", "/predict/stars", {"rows": samples.star_rows(30)})
    builder.post("rows-sizes", "/predict/sizes", {"rows": samples.size_rows(30)})
    builder.post("rows-many", PREDICT_NUMBERS, {"rows": samples.number_rows(1200)})
    builder.post("rows-large-body", HOMES, {"rows": [changed(row, ID="x" * 800) for row in samples.home_rows(400)]})
    spaced = json.dumps({"rows": samples.number_rows(3)}, indent=2).encode()
    builder.post("spaces", PREDICT_NUMBERS, b"\n\t " + spaced + b"\r\n ")
    escaped = json.dumps({"rows": [changed(HOME, **{"Outcome Type": "größer, neu"})]}).encode()
    builder.post("escaped-text", HOMES, escaped)
    builder.post("key-twice", "/predict/single", b'{"rows": [{"x": 1, "x": 2}]}')
    builder.post("rows-twice", "/predict/single", b'{"rows": [{"x": 1}], "rows": [{"x": 2}]}')


def valid_row_cases(builder: CaseBuilder) -> None:
    nulls = {"Outcome Type": None, "class": None, "renovated": None}
    rows = {
        "null": changed(HOME, **nulls),
        "absent": without_columns(HOME, *nulls),
        "whole-number": changed(HOME, **{"class": 3, "sq. metres ($)": 80}),
        "decimal-level": changed(HOME, zone=2.0),
        "limits": changed(HOME, **{"educational-num": 0, "2nd": "1990-01-01"}),
        "ignored": changed(HOME, ID=[1, {"any": "thing"}], price=None),
        "date-with-zone": changed(HOME, **{"2nd": "2013-04-11T12:30:00+02:00"}),
        "date-with-spaces": changed(HOME, **{"2nd": " 2013-04-11 "}),
        "date-in-future": changed(HOME, **{"2nd": "2031-01-01"}),
    }
    for name, row in rows.items():
        builder.post(f"valid-{name}", HOMES, {"rows": [row]})
    builder.post("valid-exponent", PREDICT_NUMBERS, b'{"rows":[{"a":32e-1,"b":1.15E1,"c":7,"d":22.75,"e":31,"f":12}]}')
    builder.post("valid-null-income", "/predict/income", {"rows": [changed(INCOME, job=None, hours=None)]})


def warning_cases(builder: CaseBuilder) -> None:
    warned = {
        "above": changed(HOME, **{"class": 6.5}),
        "below": changed(HOME, **{"class": -1e300}),
        "level": changed(HOME, **{"Outcome Type": "Return to owner"}),
        "empty-level": changed(HOME, street=""),
        "date": changed(HOME, **{"2nd": "1999-12-31"}),
        "own-date": changed(HOME, **{"sold on": "01/01/1999 00:00"}),
        "several": changed(HOME, **{"class": 99, "educational-num": 120.5, "street": "große Straße"}),
    }
    for name, row in warned.items():
        builder.post(f"warned-{name}", HOMES, {"rows": [HOME, row]})
    builder.post("warned-numbers", PREDICT_NUMBERS, {"rows": [changed(NUMBERS, a=1e6, f=-3)]})
    builder.post("warned-income", "/predict/income", {"rows": [INCOME, changed(INCOME, job="astronaut", age=119)]})
    builder.post("warned-sizes", "/predict/sizes", {"rows": [changed(SIZES, x=9)]})


def invalid_row_cases(builder: CaseBuilder) -> None:
    invalid = {
        "unknown-field": changed(HOME, **{"educational num": 1}),
        "unknown-field-far": changed(HOME, qqqq=1),
        "unknown-fields": changed(HOME, **{f"column {n}": n for n in range(130)}),
        "long-name": changed(HOME, **{"x" * 300: 1}),
        "absent": without_columns(HOME, "garden?", "zone"),
        "null": changed(HOME, **{"educational-num": None, "garden?": None, "2nd": None, "zone": None}),
        "text-for-number": changed(HOME, **{"educational-num": "12"}),
        "boolean-for-number": changed(HOME, **{"educational-num": True}),
        "number-for-boolean": changed(HOME, **{"garden?": 1}),
        "text-for-boolean": changed(HOME, **{"garden?": "true"}),
        "object-for-number": changed(HOME, **{"class": {}}),
        "array-for-number": changed(HOME, **{"class": [1.5]}),
        "number-for-text": changed(HOME, **{"Outcome Type": 1}),
        "text-for-level": changed(HOME, zone="2"),
        "boolean-for-level": changed(HOME, zone=True),
        "number-for-date": changed(HOME, **{"2nd": 20130401}),
        "bad-date": changed(HOME, **{"2nd": "yesterday", "sold on": "2012-03-15"}),
        "bad-day": changed(HOME, **{"2nd": "2013-02-30"}),
        "below-minimum": changed(HOME, **{"educational-num": -0.5}),
        "above-maximum": changed(HOME, **{"educational-num": 212.0}),
        "date-below": changed(HOME, **{"2nd": "1989-12-31"}),
        "unseen-level": changed(HOME, zone=4),
        "huge-integer": changed(HOME, **{"class": 10**400}),
        "long-text": changed(HOME, **{"class": "ä" * 500}),
    }
    for name, row in invalid.items():
        builder.post(f"invalid-{name}", HOMES, {"rows": [HOME, row]})
    everything: list[object] = [*invalid.values(), 3, None, [], "row"]
    builder.post("invalid-everything", HOMES, {"rows": everything})
    builder.post("invalid-many-rows", HOMES, {"rows": [changed(HOME, zone=9)] * 120})
    builder.post("invalid-row-types", PREDICT_NUMBERS, {"rows": [1, "x", None, True, [], {}]})
    infinite = encode_body({"rows": [HOME]}).replace(b" 1.5", b" 1e999")
    builder.post("invalid-not-finite", HOMES, infinite)
    builder.post("invalid-thousands-of-digits", HOMES, infinite.replace(b"1e999", b"-" + b"9" * 5000))
    builder.post(
        "invalid-stars-level",
        "/predict/stars",
        {"rows": [changed(STARS, kind="castle"), without_columns(STARS, "kind")]},
    )


def skipped_row_cases(builder: CaseBuilder) -> None:
    rows = [HOME, changed(HOME, zone=4), changed(HOME, street="new street"), changed(HOME, **{"class": "x"}), 7]
    builder.post("skip-some", f"{HOMES}?on_invalid=skip", {"rows": rows})
    builder.post("skip-all", f"{HOMES}?on_invalid=skip", {"rows": rows[1:2] + rows[3:]})
    builder.post("skip-none", f"{HOMES}?on_invalid=skip", {"rows": rows[:1]})
    builder.post("skip-over-a-hundred", f"{HOMES}?on_invalid=skip", {"rows": [changed(HOME, zone=9)] * 120 + [HOME]})
    wrong = changed(INCOME, age=-1)
    builder.post("skip-income", "/predict/income?on_invalid=skip", {"rows": [wrong, INCOME, {"agee": 1}, INCOME]})
    large = [changed(row, ID="x" * 800) for row in samples.home_rows(400)]
    large[7], large[390] = changed(HOME, zone=4), changed(HOME, street="new street")
    builder.post("skip-large-body", f"{HOMES}?on_invalid=skip", {"rows": large})


def body_cases(builder: CaseBuilder) -> None:
    found = {
        "nothing": b"",
        "broken": b'{"rows": [',
        "nan": b'{"rows": [{"class": NaN}]}',
        "infinity": b'{"rows": [{"class": -Infinity}]}',
        "not-utf8": b'{"rows": [{"Outcome Type": "\xff"}]}',
        "surrogate": rb'{"rows": [{"Outcome Type": "\ud800"}]}',
        "too-deep": b'{"rows":' + b"[" * 5000 + b"]" * 5000 + b"}",
        "trailing-comma": b'{"rows": [{"class": 1},]}',
        "two-documents": b'{"rows": []} {"rows": []}',
        "byte-order-mark": b"\xef\xbb\xbf" + encode_body({"rows": [HOME]}),
        "array": b'[{"rows": []}]',
        "number": b"1",
        "null": b"null",
        "no-rows": b"{}",
        "near-key": b'{"row": []}',
        "unknown-key": encode_body({"rows": [HOME], "option": 1}),
        "unknown-keys-and-errors": encode_body({"option": 1, "rows": [changed(HOME, zone=4)], "rowz": 2}),
        "many-keys": encode_body({f"key {n}": n for n in range(150)}),
        "object-of-rows": b'{"rows": {"a": 1}}',
        "null-rows": b'{"rows": null}',
        "empty-rows": b'{"rows": []}',
    }
    for name, body in found.items():
        builder.post(f"body-{name}", HOMES, body)


def compression_cases(builder: CaseBuilder) -> None:
    body = encode_body({"rows": samples.home_rows(10)})
    builder.post("gzip", HOMES, samples.gzip_compressed(body), content_encoding="gzip")
    builder.post("gzip-members", HOMES, samples.gzip_compressed(body, 5), content_encoding="GZIP")
    builder.post("gzip-too-many-members", HOMES, samples.gzip_compressed(body, 120), content_encoding="gzip")
    builder.post("gzip-cut-off", HOMES, samples.gzip_compressed(body)[:-9], content_encoding="gzip")
    builder.post("gzip-and-more", HOMES, samples.gzip_compressed(body) + b"tail", content_encoding="gzip")
    builder.post("gzip-is-none", HOMES, body, content_encoding="gzip")
    builder.post("gzip-empty", HOMES, b"", content_encoding="gzip")
    builder.post("zstd", HOMES, samples.zstd_compressed(body), content_encoding="zstd")
    builder.post("zstd-cut-off", HOMES, samples.zstd_compressed(body)[:-9], content_encoding="zstd")
    builder.post("zstd-is-none", HOMES, body, content_encoding="zstd")
    builder.post("identity", HOMES, body, content_encoding="identity")
    builder.post("deflate", HOMES, body, content_encoding="deflate")
    builder.post("two-codings", HOMES, body, content_encoding="gzip, zstd")
    builder.post("chunked", HOMES, body, chunk=700)


def header_cases(builder: CaseBuilder) -> None:
    body = {"rows": [NUMBERS]}
    kinds = {
        "none": None,
        "charset": "application/json; charset=utf-8",
        "charset-tight": "application/json;charset=utf-8",
        "charset-capitals": "Application/JSON; Charset=UTF-8",
        "charset-quoted": 'application/json; charset="utf-8"',
        "charset-utf8": "application/json; charset=utf8",
        "charset-ascii": "application/json; charset=us-ascii",
        "charset-latin": "application/json; charset=iso-8859-1",
        "parameter": "application/json; profile=x",
        "text": "text/plain",
        "form": "application/x-www-form-urlencoded",
        "xml": "application/xml",
        "long": "application/" + "x" * 200,
    }
    for name, kind in kinds.items():
        builder.post(f"kind-{name}", PREDICT_NUMBERS, body, kind=kind)
    accepts = {
        "any": "*/*",
        "json": "application/json",
        "group": "application/*",
        "browser": "text/html, application/json;q=0.9, */*;q=0.1",
        "html": "text/html",
        "zero": "application/json;q=0",
        "bad-quality": "application/json;q=x",
        "csv-better": "application/json;q=0.5, text/csv",
        "csv-worse": "application/json, text/csv;q=0.4",
        "spaces": " ",
    }
    for name, accept in accepts.items():
        builder.post(f"accept-{name}", PREDICT_NUMBERS, body, accept=accept)
    builder.post("id-none", PREDICT_NUMBERS, body, x_request_id="")
    builder.post("id-not-sane", PREDICT_NUMBERS, body, x_request_id="two words")
    builder.post("id-too-long", PREDICT_NUMBERS, body, x_request_id="x" * 129)
    builder.post("id-longest", PREDICT_NUMBERS, body, x_request_id="x" * 128)
    builder.post("id-in-error", PREDICT_NUMBERS, b"{", x_request_id="A-z_0.9:/+=@-")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    builder.post("traceparent", PREDICT_NUMBERS, body, traceparent=trace, tracestate="a=1,b=2")
    builder.post("traceparent-error", PREDICT_NUMBERS, b"{", traceparent=trace)
    builder.post("traceparent-bad", PREDICT_NUMBERS, body, traceparent="00-zz-1", tracestate="a=1")
    builder.post("tracestate-alone", PREDICT_NUMBERS, body, tracestate="a=1")


def option_cases(builder: CaseBuilder) -> None:
    body = {"rows": [NUMBERS, {"a": "x"}]}
    for name, query in {
        "fail": "on_invalid=fail",
        "unknown-value": "on_invalid=maybe",
        "twice": "on_invalid=skip&on_invalid=fail",
        "no-value": "on_invalid=",
        "unknown": "limit=3",
        "near": "on_invaild=skip",
        "percent": "on_invalid=%73kip",
        "bad-percent": "on_invalid=%ff%zz",
    }.items():
        builder.post(f"option-{name}", f"{PREDICT_NUMBERS}?{query}", body)
    builder.post("option-and-bad-json", f"{PREDICT_NUMBERS}?on_invalid=maybe", b"{")
    one = {"rows": [NUMBERS]}
    for name, seconds in {
        "long": "99",
        "short": "5.5",
        "zero": "0",
        "negative": "-1",
        "text": "soon",
        "nan": "nan",
        "infinite": "inf",
        "passed": "0.0000001",
    }.items():
        builder.post(f"timeout-{name}", PREDICT_NUMBERS, one, x_request_timeout=seconds)


def method_cases(builder: CaseBuilder) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"):
        builder.get(f"method-{method.lower()}", PREDICT_NUMBERS, method=method)
    builder.post("method-put-body", PREDICT_NUMBERS, {"rows": [NUMBERS]}, method="PUT", counted=False)
    body = {"rows": [NUMBERS]}
    for name, path in {
        "near": "/predict/number",
        "far": "/predict/zzzz",
        "capitals": "/predict/Numbers",
        "empty": "/predict/",
        "slash": "/predict/numbers/",
        "below": "/predict/numbers/1",
        "version": "/predict/stars:1",
        "escaped": "/predict/n%75mbers",
        "not-utf8": "/predict/%ff%fe",
        "long": "/predict/" + "n" * 300,
        "none": "/predict",
    }.items():
        builder.post(f"path-{name}", path, body, counted=False)


def limit_cases(builder: CaseBuilder) -> None:
    rows = samples.home_rows(21)
    builder.post("limit-rows", HOMES, {"rows": rows[:20]}, server="small")
    builder.post("limit-too-many-rows", HOMES, {"rows": rows}, server="small")
    builder.post("limit-too-many-rows-skip", f"{HOMES}?on_invalid=skip", {"rows": rows}, server="small")
    builder.post("limit-too-many-bad-rows", HOMES, {"rows": [1] * 21}, server="small")
    builder.post("limit-body", HOMES, {"rows": [changed(HOME, ID="x" * 9000)]}, server="small")
    builder.post("limit-body-chunked", HOMES, {"rows": [changed(HOME, ID="x" * 9000)]}, server="small", chunk=3000)
    expanded = samples.gzip_compressed(encode_body({"rows": [changed(HOME, ID="x" * 9000)]}))
    builder.post("limit-body-expanded", HOMES, expanded, server="small", content_encoding="gzip")
    builder.post("limit-body-other-form", HOMES, {"rows": rows}, server="small", accept="text/csv")
    crowd = b'{"rows": [' + b"{}," * 600_000 + b"{}]}"
    builder.post("limit-arrays-and-objects", HOMES, samples.gzip_compressed(crowd), content_encoding="gzip")


def batching_cases(builder: CaseBuilder) -> None:
    """Requests to the server that batches requests and serves an older version."""
    for model in ("numbers", "income", "stars"):
        builder.post(f"batching-{model}", f"/predict/{model}", {"rows": [ONE[model]]}, server="batching")
    builder.post("batching-rows", PREDICT_NUMBERS, {"rows": samples.number_rows(40)}, server="batching")
    builder.post("batching-not-served", HOMES, {"rows": [HOME]}, server="batching", counted=False)
    builder.post("batching-skip", "/predict/stars?on_invalid=skip", {"rows": [STARS, {}]}, server="batching")
