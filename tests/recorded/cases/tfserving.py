"""Requests to `/v1/…`: TF Serving's REST protocol and KServe's v1 protocol."""

import base64

from tests.recorded.case import Case, CaseBuilder, encode_body
from tests.recorded.cases import samples
from tests.recorded.cases.samples import HOME, INCOME, NUMBERS, ONE, changed, values_by_column, without_columns

MODELS = "/v1/models"
HOMES, NUMBERS_AT = f"{MODELS}/homes", f"{MODELS}/numbers"


def cases() -> list[Case]:
    builder = CaseBuilder("v1")
    prediction_cases(builder)
    instance_cases(builder)
    input_cases(builder)
    example_cases(builder)
    invalid_body_cases(builder)
    metadata_cases(builder)
    address_cases(builder)
    transport_cases(builder)
    return builder.made


def prediction_cases(builder: CaseBuilder) -> None:
    for model, row in ONE.items():
        builder.post(f"instances-{model}", f"{MODELS}/{model}:predict", {"instances": [row]})
        builder.post(f"inputs-{model}", f"{MODELS}/{model}:predict", {"inputs": values_by_column([row, row])})
    builder.post("rows-homes", f"{HOMES}:predict", {"instances": samples.home_rows(20)})
    builder.post("rows-numbers", f"{NUMBERS_AT}:predict", {"instances": samples.number_rows(40)})
    builder.post("rows-many", f"{NUMBERS_AT}:predict", {"instances": samples.number_rows(1100)})
    builder.post("rows-income", f"{MODELS}/income:predict", {"instances": samples.income_rows(20)})
    builder.post("rows-sizes-as-inputs", f"{MODELS}/sizes:predict", {"inputs": values_by_column(samples.size_rows(8))})
    large = [changed(row, ID="x" * 800) for row in samples.home_rows(350)]
    builder.post("rows-large-body", f"{HOMES}:predict", {"instances": large})
    builder.post("version", f"{MODELS}/stars/versions/2:predict", {"instances": samples.star_rows(3)})
    builder.post("version-with-zero", f"{MODELS}/stars/versions/02:predict", {"instances": samples.star_rows(3)})
    builder.post("method-in-capitals", f"{MODELS}/stars:PREDICT", {"instances": samples.star_rows(3)})
    builder.post(
        "batching", f"{MODELS}/stars/versions/1:predict", {"instances": samples.star_rows(3)}, server="batching"
    )
    builder.post(
        "batching-version", f"{MODELS}/stars/versions/2:predict", {"instances": []}, server="batching", counted=False
    )


def instance_cases(builder: CaseBuilder) -> None:
    """Requests with valid and invalid representations of an instance."""
    text = {"b64": base64.b64encode("größer, neu".encode()).decode()}
    for name, row in {
        "array": list(HOME.values()),
        "lists-of-one": {key: [value] for key, value in HOME.items()},
        "base64": changed(HOME, **{"Outcome Type": text}),
        "base64-bad": changed(HOME, **{"Outcome Type": {"b64": "%%"}}),
        "lists-of-two": changed(HOME, **{"class": [1, 2]}),
        "null": changed(HOME, **{"class": None}),
        "absent": without_columns(HOME, "class", "renovated"),
        "ignored": changed(HOME, ID=3, price="x"),
        "short-array": list(HOME.values())[:4],
        "value": 3,
    }.items():
        builder.post(f"row-{name}", f"{HOMES}:predict", {"instances": [row]})
    builder.post("row-nan", f"{HOMES}:predict", encode_body({"instances": [HOME]}).replace(b" 1.5", b" NaN"))
    builder.post("row-infinity", f"{HOMES}:predict", encode_body({"instances": [HOME]}).replace(b" 1.5", b" Infinity"))
    builder.post("row-nan-not-allowed", f"{NUMBERS_AT}:predict", b'{"instances": [[1, 2, NaN, 4, 5, 6]]}')
    builder.post("values-single", f"{MODELS}/single:predict", {"instances": [1, 2.5, [3], {"x": 4}, {"x": [5]}]})
    builder.post("warned", f"{HOMES}:predict", {"instances": [HOME, changed(HOME, street="große Straße")]})
    many = [changed(HOME, street="new street", **{"class": 99}) for _ in range(40)]
    builder.post("warned-too-often", f"{HOMES}:predict", {"instances": many})
    builder.post("warned-income", f"{MODELS}/income:predict", {"instances": [changed(INCOME, age=99)]})


def input_cases(builder: CaseBuilder) -> None:
    rows = samples.number_rows(3)
    for name, content in {
        "matrix": [list(row.values()) for row in rows],
        "columns-of-lists": {key: [[value] for value in column] for key, column in values_by_column(rows).items()},
        "unequal": {**values_by_column(rows), "f": [1, 2]},
        "no-list": {**values_by_column(rows), "f": 3},
        "empty": {},
        "empty-columns": {name: [] for name in "abcdef"},
        "absent-column": {name: [1, 2] for name in "abcde"},
        "unknown-column": {**values_by_column(rows), "ff": [1, 2, 3]},
        "value": 7,
        "empty-list": [],
    }.items():
        builder.post(f"inputs-{name}", f"{NUMBERS_AT}:predict", {"inputs": content})
    builder.post("inputs-list-single", f"{MODELS}/single:predict", {"inputs": [1, 2, 3]})


def example_cases(builder: CaseBuilder) -> None:
    builder.post("classify-income", f"{MODELS}/income:classify", {"examples": samples.income_rows(4)})
    builder.post("classify-stars", f"{MODELS}/stars:classify", {"examples": samples.star_rows(4)})
    builder.post("classify-sizes", f"{MODELS}/sizes:classify", {"examples": samples.size_rows(4)})
    builder.post("classify-flags", f"{MODELS}/flags:classify", {"examples": [{"heat": 3}]})
    builder.post("classify-version", f"{MODELS}/stars/versions/2:classify", {"examples": samples.star_rows(1)})
    builder.post("regress-homes", f"{HOMES}:regress", {"examples": samples.home_rows(4)})
    builder.post("regress-single", f"{MODELS}/single:regress", {"examples": [1, 2]})
    builder.post(
        "regress-context",
        f"{NUMBERS_AT}:regress",
        {"context": {"a": 1, "b": [2]}, "examples": [without_columns(NUMBERS, "a", "b")]},
    )
    builder.post("regress-context-twice", f"{NUMBERS_AT}:regress", {"context": {"a": 1}, "examples": [NUMBERS]})
    builder.post("regress-context-no-object", f"{NUMBERS_AT}:regress", {"context": [1], "examples": [NUMBERS]})
    builder.post("regress-context-and-value", f"{NUMBERS_AT}:regress", {"context": {"a": 1}, "examples": [3]})
    builder.post("regress-instances", f"{HOMES}:regress", {"instances": [HOME]})
    builder.post("regress-of-classes", f"{MODELS}/income:regress", {"examples": [INCOME]})
    builder.post("classify-a-regression", f"{HOMES}:classify", {"examples": [HOME]})
    builder.post("regress-empty", f"{HOMES}:regress", {"examples": []})
    builder.post("regress-invalid", f"{HOMES}:regress", {"examples": [changed(HOME, zone=9)]})
    for method, model, rows in (("classify", "stars", samples.star_rows(1)), ("regress", "single", [1])):
        for name in (
            "serving_default",
            method,
            f"tensorflow/serving/{method}",
            {"classify": "classification"}.get(method, "regression"),
        ):
            body = {"signature_name": name, "examples": rows}
            builder.post(f"signature-{method}-{name.replace('/', '-')}", f"{MODELS}/{model}:{method}", body)


def invalid_body_cases(builder: CaseBuilder) -> None:
    rows = [HOME, changed(HOME, zone=4), changed(HOME, **{"class": "x", "2nd": 3}), without_columns(HOME, "street"), 3]
    builder.post("invalid-rows", f"{HOMES}:predict", {"instances": rows[:4]})
    builder.post("invalid-shapes", f"{HOMES}:predict", {"instances": rows})
    builder.post("invalid-many", f"{HOMES}:predict", {"instances": [changed(HOME, zone=9)] * 120})
    builder.post("unknown-field", f"{HOMES}:predict", {"instances": [changed(HOME, zonee=9)]})
    for name, body in {
        "nothing": b"",
        "broken": b'{"instances": [',
        "array": b"[1]",
        "no-key": b'{"instance": []}',
        "both-keys": b'{"instances": [], "inputs": []}',
        "empty": b'{"instances": []}',
        "no-list": b'{"instances": {"a": 1}}',
        "null": b'{"instances": null}',
        "signature-unknown": encode_body({"signature_name": "other", "instances": [HOME]}),
        "signature-number": encode_body({"signature_name": 3, "instances": [HOME]}),
        "signature-empty": encode_body({"signature_name": "", "instances": [HOME]}),
        "signature-predict": encode_body({"signature_name": "predict", "instances": [HOME]}),
        "other-keys": encode_body({"instances": [HOME], "parameters": {"x": 1}}),
    }.items():
        builder.post(f"body-{name}", f"{HOMES}:predict", body)
    builder.post("limit-rows", f"{HOMES}:predict", {"instances": samples.home_rows(21)}, server="small")
    builder.post(
        "limit-inputs", f"{HOMES}:predict", {"inputs": values_by_column(samples.home_rows(21))}, server="small"
    )
    builder.post("limit-body", f"{HOMES}:predict", {"instances": [changed(HOME, ID="x" * 9000)]}, server="small")


def metadata_cases(builder: CaseBuilder) -> None:
    for name, path in {
        "models": MODELS,
        "models-capitals": "/V1/Models",
        **{f"status-{model}": f"{MODELS}/{model}" for model in ("homes", "stars")},
        **{f"metadata-{model}": f"{MODELS}/{model}/metadata" for model in ONE},
        "status-version": f"{MODELS}/stars/versions/2",
        "status-other-version": f"{MODELS}/stars/versions/1",
        "status-bad-version": f"{MODELS}/stars/versions/x",
        "status-label": f"{MODELS}/stars/labels/stable",
        "status-unknown": f"{MODELS}/star",
        "status-far": f"{MODELS}/qqqq",
        "metadata-version": f"{MODELS}/stars/versions/2/metadata",
        "metadata-other-version": f"{MODELS}/stars/versions/7/metadata",
        "metadata-unknown": f"{MODELS}/star/metadata",
        "not-there": "/v1/nothing",
        "root": "/v1",
        "root-slash": "/v1/",
        "models-slash": f"{MODELS}/",
        "status-slash": f"{MODELS}/stars/",
    }.items():
        builder.get(name, path)
    builder.get("models-small", MODELS, server="small")
    builder.get("models-batching", MODELS, server="batching")
    builder.get("status-batching", f"{MODELS}/stars", server="batching")


def address_cases(builder: CaseBuilder) -> None:
    body = {"instances": [HOME]}
    for name, path in {
        "predict-unknown": f"{MODELS}/home:predict",
        "predict-far": f"{MODELS}/qqqq:predict",
        "predict-other-version": f"{HOMES}/versions/2:predict",
        "predict-huge-version": f"{HOMES}/versions/{'9' * 30}:predict",
        "predict-label": f"{HOMES}/labels/canary:predict",
        "explain": f"{HOMES}:explain",
        "no-method": f"{HOMES}:",
        "post-status": HOMES,
        "post-metadata": f"{HOMES}/metadata",
        "post-models": MODELS,
        "long": f"{MODELS}/{'x' * 300}:predict",
    }.items():
        builder.post(name, path, body, counted=False)
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        builder.get(f"predict-{method.lower()}", f"{HOMES}:predict", method=method)
        builder.get(f"status-{method.lower()}", HOMES, method=method)
    builder.get("unknown-delete", "/v1/nothing", method="DELETE")


def transport_cases(builder: CaseBuilder) -> None:
    body = encode_body({"instances": samples.home_rows(3)})
    builder.post("no-kind", f"{HOMES}:predict", body, kind=None)
    builder.post("form-kind", f"{HOMES}:predict", body, kind="application/x-www-form-urlencoded")
    builder.post("text-kind", f"{HOMES}:predict", body, kind="text/plain; charset=latin1")
    builder.post("accept-html", f"{HOMES}:predict", body, accept="text/html")
    builder.post("gzip", f"{HOMES}:predict", samples.gzip_compressed(body), content_encoding="gzip")
    builder.post("gzip-cut-off", f"{HOMES}:predict", samples.gzip_compressed(body)[:-9], content_encoding="gzip")
    builder.post("zstd", f"{HOMES}:predict", samples.zstd_compressed(body), content_encoding="zstd")
    builder.post("deflate", f"{HOMES}:predict", body, content_encoding="deflate")
    builder.post("chunked", f"{HOMES}:predict", body, chunk=50)
    builder.post("query", f"{HOMES}:predict?on_invalid=skip&x=1", body)
    builder.post("timeout-passed", f"{HOMES}:predict", body, x_request_timeout="0.0000001")
    builder.post("timeout-bad", f"{HOMES}:predict", body, x_request_timeout="soon")
    builder.post("id-none", f"{HOMES}:predict", body, x_request_id="")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    builder.post("traceparent", f"{HOMES}:predict", body, traceparent=trace)
