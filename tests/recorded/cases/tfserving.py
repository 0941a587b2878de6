"""`/v1/…`: TF Serving's REST and KServe's v1 protocol."""

import base64

from tests.recorded.case import Case, Maker, as_bytes
from tests.recorded.cases import samples
from tests.recorded.cases.samples import HOME, INCOME, NUMBERS, ONE, changed, columns, without

MODELS = "/v1/models"
HOMES, NUMBERS_AT = f"{MODELS}/homes", f"{MODELS}/numbers"


def cases() -> list[Case]:
    make = Maker("v1")
    predicted(make)
    instances(make)
    inputs(make)
    examples(make)
    invalid_bodies(make)
    reading(make)
    addresses(make)
    transport(make)
    return make.made


def predicted(make: Maker) -> None:
    for model, row in ONE.items():
        make.post(f"instances-{model}", f"{MODELS}/{model}:predict", {"instances": [row]})
        make.post(f"inputs-{model}", f"{MODELS}/{model}:predict", {"inputs": columns([row, row])})
    make.post("rows-homes", f"{HOMES}:predict", {"instances": samples.homes(20)})
    make.post("rows-numbers", f"{NUMBERS_AT}:predict", {"instances": samples.numbers(40)})
    make.post("rows-many", f"{NUMBERS_AT}:predict", {"instances": samples.numbers(1100)})
    make.post("rows-income", f"{MODELS}/income:predict", {"instances": samples.income(20)})
    make.post("rows-sizes-as-inputs", f"{MODELS}/sizes:predict", {"inputs": columns(samples.sizes(8))})
    large = [changed(row, ID="x" * 800) for row in samples.homes(350)]
    make.post("rows-large-body", f"{HOMES}:predict", {"instances": large})
    make.post("version", f"{MODELS}/stars/versions/2:predict", {"instances": samples.stars(3)})
    make.post("version-with-zero", f"{MODELS}/stars/versions/02:predict", {"instances": samples.stars(3)})
    make.post("method-in-capitals", f"{MODELS}/stars:PREDICT", {"instances": samples.stars(3)})
    make.post("batching", f"{MODELS}/stars/versions/1:predict", {"instances": samples.stars(3)}, server="batching")
    make.post(
        "batching-version", f"{MODELS}/stars/versions/2:predict", {"instances": []}, server="batching", counted=False
    )


def instances(make: Maker) -> None:
    """How a row may be written."""
    text = {"b64": base64.b64encode("größer, neu".encode()).decode()}
    for name, row in {
        "array": list(HOME.values()),
        "lists-of-one": {key: [value] for key, value in HOME.items()},
        "base64": changed(HOME, **{"Outcome Type": text}),
        "base64-bad": changed(HOME, **{"Outcome Type": {"b64": "%%"}}),
        "lists-of-two": changed(HOME, **{"class": [1, 2]}),
        "null": changed(HOME, **{"class": None}),
        "absent": without(HOME, "class", "renovated"),
        "ignored": changed(HOME, ID=3, price="x"),
        "short-array": list(HOME.values())[:4],
        "value": 3,
    }.items():
        make.post(f"row-{name}", f"{HOMES}:predict", {"instances": [row]})
    make.post("row-nan", f"{HOMES}:predict", as_bytes({"instances": [HOME]}).replace(b" 1.5", b" NaN"))
    make.post("row-infinity", f"{HOMES}:predict", as_bytes({"instances": [HOME]}).replace(b" 1.5", b" Infinity"))
    make.post("row-nan-not-allowed", f"{NUMBERS_AT}:predict", b'{"instances": [[1, 2, NaN, 4, 5, 6]]}')
    make.post("values-single", f"{MODELS}/single:predict", {"instances": [1, 2.5, [3], {"x": 4}, {"x": [5]}]})
    make.post("warned", f"{HOMES}:predict", {"instances": [HOME, changed(HOME, street="große Straße")]})
    many = [changed(HOME, street="new street", **{"class": 99}) for _ in range(40)]
    make.post("warned-too-often", f"{HOMES}:predict", {"instances": many})
    make.post("warned-income", f"{MODELS}/income:predict", {"instances": [changed(INCOME, age=99)]})


def inputs(make: Maker) -> None:
    rows = samples.numbers(3)
    for name, content in {
        "matrix": [list(row.values()) for row in rows],
        "columns-of-lists": {key: [[value] for value in column] for key, column in columns(rows).items()},
        "unequal": {**columns(rows), "f": [1, 2]},
        "no-list": {**columns(rows), "f": 3},
        "empty": {},
        "empty-columns": {name: [] for name in "abcdef"},
        "absent-column": {name: [1, 2] for name in "abcde"},
        "unknown-column": {**columns(rows), "ff": [1, 2, 3]},
        "value": 7,
        "empty-list": [],
    }.items():
        make.post(f"inputs-{name}", f"{NUMBERS_AT}:predict", {"inputs": content})
    make.post("inputs-list-single", f"{MODELS}/single:predict", {"inputs": [1, 2, 3]})


def examples(make: Maker) -> None:
    make.post("classify-income", f"{MODELS}/income:classify", {"examples": samples.income(4)})
    make.post("classify-stars", f"{MODELS}/stars:classify", {"examples": samples.stars(4)})
    make.post("classify-sizes", f"{MODELS}/sizes:classify", {"examples": samples.sizes(4)})
    make.post("classify-flags", f"{MODELS}/flags:classify", {"examples": [{"heat": 3}]})
    make.post("classify-version", f"{MODELS}/stars/versions/2:classify", {"examples": samples.stars(1)})
    make.post("regress-homes", f"{HOMES}:regress", {"examples": samples.homes(4)})
    make.post("regress-single", f"{MODELS}/single:regress", {"examples": [1, 2]})
    make.post(
        "regress-context",
        f"{NUMBERS_AT}:regress",
        {"context": {"a": 1, "b": [2]}, "examples": [without(NUMBERS, "a", "b")]},
    )
    make.post("regress-context-twice", f"{NUMBERS_AT}:regress", {"context": {"a": 1}, "examples": [NUMBERS]})
    make.post("regress-context-no-object", f"{NUMBERS_AT}:regress", {"context": [1], "examples": [NUMBERS]})
    make.post("regress-context-and-value", f"{NUMBERS_AT}:regress", {"context": {"a": 1}, "examples": [3]})
    make.post("regress-instances", f"{HOMES}:regress", {"instances": [HOME]})
    make.post("regress-of-classes", f"{MODELS}/income:regress", {"examples": [INCOME]})
    make.post("classify-a-regression", f"{HOMES}:classify", {"examples": [HOME]})
    make.post("regress-empty", f"{HOMES}:regress", {"examples": []})
    make.post("regress-invalid", f"{HOMES}:regress", {"examples": [changed(HOME, zone=9)]})
    for method, model, rows in (("classify", "stars", samples.stars(1)), ("regress", "single", [1])):
        for name in (
            "serving_default",
            method,
            f"tensorflow/serving/{method}",
            {"classify": "classification"}.get(method, "regression"),
        ):
            body = {"signature_name": name, "examples": rows}
            make.post(f"signature-{method}-{name.replace('/', '-')}", f"{MODELS}/{model}:{method}", body)


def invalid_bodies(make: Maker) -> None:
    rows = [HOME, changed(HOME, zone=4), changed(HOME, **{"class": "x", "2nd": 3}), without(HOME, "street"), 3]
    make.post("invalid-rows", f"{HOMES}:predict", {"instances": rows[:4]})
    make.post("invalid-shapes", f"{HOMES}:predict", {"instances": rows})
    make.post("invalid-many", f"{HOMES}:predict", {"instances": [changed(HOME, zone=9)] * 120})
    make.post("unknown-field", f"{HOMES}:predict", {"instances": [changed(HOME, zonee=9)]})
    for name, body in {
        "nothing": b"",
        "broken": b'{"instances": [',
        "array": b"[1]",
        "no-key": b'{"instance": []}',
        "both-keys": b'{"instances": [], "inputs": []}',
        "empty": b'{"instances": []}',
        "no-list": b'{"instances": {"a": 1}}',
        "null": b'{"instances": null}',
        "signature-unknown": as_bytes({"signature_name": "other", "instances": [HOME]}),
        "signature-number": as_bytes({"signature_name": 3, "instances": [HOME]}),
        "signature-empty": as_bytes({"signature_name": "", "instances": [HOME]}),
        "signature-predict": as_bytes({"signature_name": "predict", "instances": [HOME]}),
        "other-keys": as_bytes({"instances": [HOME], "parameters": {"x": 1}}),
    }.items():
        make.post(f"body-{name}", f"{HOMES}:predict", body)
    make.post("limit-rows", f"{HOMES}:predict", {"instances": samples.homes(21)}, server="small")
    make.post("limit-inputs", f"{HOMES}:predict", {"inputs": columns(samples.homes(21))}, server="small")
    make.post("limit-body", f"{HOMES}:predict", {"instances": [changed(HOME, ID="x" * 9000)]}, server="small")


def reading(make: Maker) -> None:
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
        make.get(name, path)
    make.get("models-small", MODELS, server="small")
    make.get("models-batching", MODELS, server="batching")
    make.get("status-batching", f"{MODELS}/stars", server="batching")


def addresses(make: Maker) -> None:
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
        make.post(name, path, body, counted=False)
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        make.get(f"predict-{method.lower()}", f"{HOMES}:predict", method=method)
        make.get(f"status-{method.lower()}", HOMES, method=method)
    make.get("unknown-delete", "/v1/nothing", method="DELETE")


def transport(make: Maker) -> None:
    body = as_bytes({"instances": samples.homes(3)})
    make.post("no-kind", f"{HOMES}:predict", body, kind=None)
    make.post("form-kind", f"{HOMES}:predict", body, kind="application/x-www-form-urlencoded")
    make.post("text-kind", f"{HOMES}:predict", body, kind="text/plain; charset=latin1")
    make.post("accept-html", f"{HOMES}:predict", body, accept="text/html")
    make.post("gzip", f"{HOMES}:predict", samples.gzipped(body), content_encoding="gzip")
    make.post("gzip-cut-off", f"{HOMES}:predict", samples.gzipped(body)[:-9], content_encoding="gzip")
    make.post("zstd", f"{HOMES}:predict", samples.zstd_packed(body), content_encoding="zstd")
    make.post("deflate", f"{HOMES}:predict", body, content_encoding="deflate")
    make.post("chunked", f"{HOMES}:predict", body, chunk=50)
    make.post("query", f"{HOMES}:predict?on_invalid=skip&x=1", body)
    make.post("timeout-passed", f"{HOMES}:predict", body, x_request_timeout="0.0000001")
    make.post("timeout-bad", f"{HOMES}:predict", body, x_request_timeout="soon")
    make.post("id-none", f"{HOMES}:predict", body, x_request_id="")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    make.post("traceparent", f"{HOMES}:predict", body, traceparent=trace)
