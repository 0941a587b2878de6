"""`/v2/…`: the Open Inference Protocol's REST."""

from collections.abc import Sequence
from typing import Any

from tests.recorded.case import Case, Maker, as_bytes
from tests.recorded.cases import samples
from tests.recorded.cases.samples import HOME, INCOME, NUMBERS, ONE, STARS, Row, changed, columns, without

HOMES, NUMBERS_AT = "/v2/models/homes", "/v2/models/numbers"
OCTETS = "application/octet-stream"
TENSOR = dict[str, Any]


def cases() -> list[Case]:
    make = Maker("v2")
    inferred(make)
    tensors(make)
    outputs(make)
    parameters(make)
    invalid(make)
    bodies(make)
    reading(make)
    transport(make)
    return make.made


def datatype(value: Any) -> str:
    return {bool: "BOOL", str: "BYTES", int: "INT64"}.get(type(value), "FP64")


def named(rows: Sequence[Row], shape: tuple[int, ...] = (), **more: Any) -> dict[str, Any]:
    """A request with a tensor for each column. shape: of a tensor, after its rows."""
    inputs = []
    for name, data in columns(rows).items():
        kinds = {datatype(value) for value in data if value is not None}
        kind = "FP64" if kinds == {"INT64", "FP64"} or not kinds else kinds.pop()
        inputs.append({"name": name, "datatype": kind, "shape": [len(rows), *shape], "data": data})
    return {"inputs": inputs, **more}


def matrix(rows: Sequence[Row], kind: str = "FP64", **more: Any) -> dict[str, Any]:
    data = [value for row in rows for value in row.values()]
    return {"inputs": [{"name": "x", "datatype": kind, "shape": [len(rows), len(rows[0])], "data": data}], **more}


def inferred(make: Maker) -> None:
    for model, row in ONE.items():
        make.post(f"one-row-{model}", f"/v2/models/{model}/infer", named([row]))
    make.post("rows-homes", f"{HOMES}/infer", named(samples.homes(15)))
    make.post("rows-numbers", f"{NUMBERS_AT}/infer", named(samples.numbers(30), (1,)))
    make.post("rows-income", "/v2/models/income/infer", named(samples.income(12)))
    make.post("rows-sizes", "/v2/models/sizes/infer", named(samples.sizes(8)))
    make.post("rows-many", f"{NUMBERS_AT}/infer", matrix(samples.numbers(1100)))
    make.post("rows-large-body", f"{HOMES}/infer", named([changed(row, ID="x" * 800) for row in samples.homes(350)]))
    make.post("matrix", f"{NUMBERS_AT}/infer", matrix(samples.numbers(9)))
    make.post("matrix-one-row", f"{NUMBERS_AT}/infer", matrix([NUMBERS]))
    make.post("matrix-float32", f"{NUMBERS_AT}/infer", matrix(samples.numbers(3), "FP32"))
    make.post("matrix-of-sizes", "/v2/models/sizes/infer", matrix(samples.sizes(3)))
    make.post("matrix-of-mixed", "/v2/models/income/infer", matrix([NUMBERS]))
    make.post("id", f"{NUMBERS_AT}/infer", named([NUMBERS], id="größer"))
    make.post("version", "/v2/models/stars/versions/2/infer", named(samples.stars(2)))
    make.post("other-version", "/v2/models/stars/versions/1/infer", named(samples.stars(2)), counted=False)
    make.post("batching", "/v2/models/stars/infer", named(samples.stars(2)), server="batching")
    make.post("batching-version", "/v2/models/stars/versions/1/infer", named(samples.stars(2)), server="batching")


def tensors(make: Maker) -> None:
    """Tensors in all data types and shapes: for the only feature of `single`, and for the features of `homes`."""
    for name, tensor in {
        "fp32": ("FP32", [2], [1.5, 2]),
        "fp16": ("FP16", [2], [1.5, 2]),
        "bf16": ("BF16", [1], [1.5]),
        "int8": ("INT8", [2, 1], [1, 2]),
        "uint64": ("UINT64", [1], [7]),
        "nested": ("FP64", [2, 1], [[1], [2]]),
        "nested-flat": ("FP64", [2], [[1], [2]]),
        "nested-wrong": ("FP64", [2, 1], [[1, 2], [3]]),
        "nan": ("FP64", [1], [None]),
        "text": ("FP64", [1], ["1.5"]),
        "boolean": ("FP64", [1], [True]),
        "decimal-as-integer": ("INT32", [1], [1.5]),
        "bytes": ("BYTES", [1], ["1.5"]),
        "unknown-type": ("FLOAT", [1], [1]),
        "type-number": (64, [1], [1]),
        "too-few": ("FP64", [3], [1, 2]),
        "too-many": ("FP64", [1], [1, 2]),
        "shape-empty": ("FP64", [], [1]),
        "shape-three": ("FP64", [1, 1, 1], [1]),
        "shape-wide": ("FP64", [1, 2], [1, 2]),
        "shape-negative": ("FP64", [-1], []),
        "shape-boolean": ("FP64", [True], [1]),
        "shape-text": ("FP64", "1", [1]),
        "shape-huge": ("FP64", [2**62], [1]),
        "no-rows": ("FP64", [0], []),
        "outside": ("FP32", [2], [99.1, 3]),
    }.items():
        body = {"inputs": [dict(zip(("name", "datatype", "shape", "data"), ("x", *tensor), strict=True))]}
        make.post(f"tensor-{name}", "/v2/models/single/infer", body)
    make.post("tensor-bare-nan", f"{HOMES}/infer", as_bytes(named([HOME])).replace(b"[1.5]", b"[NaN]"))
    make.post("tensor-infinity", f"{HOMES}/infer", as_bytes(named([HOME])).replace(b"[1.5]", b"[-Infinity]"))
    nulls = named([HOME, HOME])
    for tensor_ in nulls["inputs"]:
        if tensor_["name"] in ("class", "renovated", "Outcome Type"):
            tensor_["data"] = [None, tensor_["data"][0]]
    make.post("tensor-nulls", f"{HOMES}/infer", nulls)
    make.post("absent-nullable", f"{HOMES}/infer", named([without(HOME, "class", "renovated", "Outcome Type")] * 2))
    texts = named([changed(HOME, **{"garden?": "TRUE", "renovated": "false"})])
    make.post("booleans-as-bytes", f"{HOMES}/infer", texts)
    make.post("float-levels", f"{HOMES}/infer", named([changed(HOME, zone=2.0)]))
    for name, tensor_ in {
        "no-name": {"datatype": "FP64", "shape": [1], "data": [1]},
        "no-shape": {"name": "x", "datatype": "FP64", "data": [1]},
        "no-data": {"name": "x", "datatype": "FP64", "shape": [1]},
        "no-object": 3,
        "parameters-list": {"name": "x", "datatype": "FP64", "shape": [1], "data": [1], "parameters": [1]},
        "parameters-null": {"name": "x", "datatype": "FP64", "shape": [1], "data": [1], "parameters": None},
        "binary-size-but-no-bytes": {
            "name": "x",
            "datatype": "FP64",
            "shape": [1],
            "parameters": {"binary_data_size": 8},
        },
    }.items():
        make.post(f"tensor-{name}", "/v2/models/single/infer", {"inputs": [tensor_]})


def outputs(make: Maker) -> None:
    requested: dict[str, Any] = {
        "label": [{"name": "label"}],
        "probabilities": [{"name": "probabilities"}],
        "other-order": [{"name": "probabilities"}, {"name": "label"}],
        "none": [],
        "null": None,
        "unknown": [{"name": "value"}],
        "no-name": [{}],
        "no-list": {"name": "label"},
        "number": [3],
        "classification": [{"name": "label", "parameters": {"classification": 2}}],
        "shared-memory": [{"name": "label", "parameters": {"shared_memory_region": "x"}}],
        "binary": [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}],
        "binary-both": [
            {"name": "label", "parameters": {"binary_data": True}},
            {"name": "probabilities", "parameters": {"binary_data": True}},
        ],
    }
    for name, wanted in requested.items():
        make.post(f"outputs-{name}", "/v2/models/stars/infer", named(samples.stars(3), outputs=wanted))
    for model in ("income", "sizes", "flags"):
        rows = {"income": samples.income, "sizes": samples.sizes}.get(
            model, lambda n: [{"heat": 9.5 * i} for i in range(n)]
        )(3)
        make.post(
            f"outputs-binary-{model}", f"/v2/models/{model}/infer", named(rows, parameters={"binary_data_output": True})
        )
    make.post(
        "outputs-binary-homes",
        f"{HOMES}/infer",
        named(samples.homes(3), parameters={"binary_data_output": True}, id="7"),
    )
    mixed = named(
        samples.homes(3),
        parameters={"binary_data_output": True},
        outputs=[{"name": "value", "parameters": {"binary_data": False}}],
    )
    make.post("outputs-binary-but-not-value", f"{HOMES}/infer", mixed)


def parameters(make: Maker) -> None:
    rows = [HOME, changed(HOME, zone=4), changed(HOME, street="new street")]
    make.post("warned", f"{HOMES}/infer", named(rows[::2]))
    make.post("skip", f"{HOMES}/infer", named(rows, parameters={"on_invalid": "skip"}))
    make.post(
        "skip-binary", f"{HOMES}/infer", named(rows, parameters={"on_invalid": "skip", "binary_data_output": True})
    )
    make.post("skip-nothing", f"{HOMES}/infer", named(rows[:1], parameters={"on_invalid": "skip"}))
    make.post("skip-all", f"{HOMES}/infer", named(rows[1:2], parameters={"on_invalid": "skip"}))
    for model, row, wrong in (("stars", STARS, {"kind": "x"}), ("income", INCOME, {"age": -1})):
        skipped = named([row, changed(row, **wrong)], parameters={"on_invalid": "skip"})
        make.post(f"skip-{model}", f"/v2/models/{model}/infer", skipped)
        skipped["parameters"]["binary_data_output"] = True
        make.post(f"skip-{model}-binary", f"/v2/models/{model}/infer", skipped)
    many = named([changed(HOME, zone=9)] * 120, parameters={"on_invalid": "skip"}, outputs=[])
    make.post("skip-many", f"{HOMES}/infer", many)
    for name, given in {
        "fail": {"on_invalid": "fail"},
        "unknown-option": {"on_invalid": "maybe"},
        "option-number": {"on_invalid": 3},
        "others": {"content_type": "np", "priority": 3, "sequence_id": 0},
        "missing": {"missing": "Adoption"},
        "missing-number": {"missing": 3},
        "binary-output-no": {"binary_data_output": False},
    }.items():
        make.post(f"parameters-{name}", f"{HOMES}/infer", named([HOME], parameters=given))
    make.post("parameters-list", f"{HOMES}/infer", named([HOME], parameters=[1]))
    own = named([HOME, HOME])
    for tensor in own["inputs"]:
        if tensor["name"] == "Outcome Type":
            tensor |= {"data": ["none", "Transfer"], "parameters": {"missing": "none"}}
    make.post("parameters-missing-of-tensor", f"{HOMES}/infer", own)


def invalid(make: Maker) -> None:
    rows = [HOME, changed(HOME, zone=4), changed(HOME, **{"educational-num": 200, "2nd": "soon"})]
    make.post("invalid-rows", f"{HOMES}/infer", named(rows))
    make.post("invalid-many", f"{HOMES}/infer", named([changed(HOME, zone=9)] * 120))
    make.post("absent", f"{HOMES}/infer", named([without(HOME, "zone", "street")]))
    make.post("unknown-field", f"{HOMES}/infer", named([changed(HOME, zonee=1, other=2)]))
    make.post("ignored", f"{HOMES}/infer", named([changed(HOME, ID="h1", price=3)]))
    make.post("types", f"{HOMES}/infer", named([changed(HOME, zone="2", street=3, **{"garden?": 1, "class": "x"})]))
    unequal = named([NUMBERS])
    unequal["inputs"][2] |= {"shape": [2], "data": [1, 2]}
    make.post("unequal", f"{NUMBERS_AT}/infer", unequal)
    twice = named([NUMBERS])
    twice["inputs"].append(twice["inputs"][0])
    make.post("input-twice", f"{NUMBERS_AT}/infer", twice)
    narrow = matrix(samples.numbers(2))
    narrow["inputs"][0] |= {"shape": [3, 4]}
    make.post("matrix-narrow", f"{NUMBERS_AT}/infer", narrow)
    make.post("matrix-invalid", f"{NUMBERS_AT}/infer", matrix([changed(NUMBERS, a=None, b="x", c=True)]))
    make.post("matrix-bytes", f"{NUMBERS_AT}/infer", matrix([NUMBERS], "BYTES"))
    make.post("limit-rows", f"{HOMES}/infer", named(samples.homes(21)), server="small")
    make.post("limit-body", f"{HOMES}/infer", named([changed(HOME, ID="x" * 9000)]), server="small")
    make.post("limit-inputs", f"{NUMBERS_AT}/infer", {"inputs": [{}] * 10_001})


def bodies(make: Maker) -> None:
    for name, body in {
        "nothing": b"",
        "broken": b'{"inputs": [',
        "array": b"[]",
        "no-inputs": b"{}",
        "empty-inputs": b'{"inputs": []}',
        "inputs-object": b'{"inputs": {}}',
        "id-number": as_bytes(named([NUMBERS], id=3)),
        "trailing": as_bytes(named([NUMBERS])) + b"tail",
        "rows": as_bytes({"rows": [NUMBERS]}),
    }.items():
        make.post(f"body-{name}", f"{NUMBERS_AT}/infer", body)


def reading(make: Maker) -> None:
    for name, path in {
        "server": "/v2",
        "server-slash": "/v2/",
        "live": "/v2/health/live",
        "ready": "/v2/health/ready",
        "models": "/v2/models",
        **{f"metadata-{model}": f"/v2/models/{model}" for model in ONE},
        "metadata-version": "/v2/models/stars/versions/2",
        "metadata-other-version": "/v2/models/stars/versions/1",
        "metadata-slash": "/v2/models/stars/",
        "metadata-unknown": "/v2/models/star",
        "metadata-far": "/v2/models/qqqq",
        "model-ready": "/v2/models/stars/ready",
        "model-ready-version": "/v2/models/stars/versions/2/ready",
        "model-ready-other": "/v2/models/stars/versions/9/ready",
        "model-ready-unknown": "/v2/models/star/ready",
        "config": "/v2/models/stars/config",
        "stats": "/v2/models/stars/stats",
        "nothing": "/v2/nothing",
        "capitals": "/V2",
        "infer-get": "/v2/models/stars/infer",
        "index-get": "/v2/repository/index",
    }.items():
        make.get(name, path)
    for server in ("small", "batching"):
        make.get(f"models-{server}", "/v2/models", server=server)
        make.post(f"index-{server}", "/v2/repository/index", b"", kind=None, server=server, counted=False)
    make.get("metadata-batching", "/v2/models/stars", server="batching")
    make.post("index", "/v2/repository/index", b"{}", counted=False)
    make.post("index-ready", "/v2/repository/index", b'{"ready": true}', counted=False)
    make.post("load", "/v2/repository/models/stars/load", b"{}", counted=False)
    make.post("unload", "/v2/repository/models/stars/unload", b"{}", counted=False)
    make.post("infer-unknown", "/v2/models/star/infer", named([STARS]), counted=False)
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE"):
        for name, path in {
            "server": "/v2",
            "ready": "/v2/health/ready",
            "infer": f"{HOMES}/infer",
            "metadata": HOMES,
        }.items():
            make.get(f"{name}-{method.lower()}", path, method=method)
    for name, path in {"server": "/v2", "metadata": HOMES, "ready": f"{HOMES}/ready"}.items():
        make.post(f"{name}-post", path, b"{}", counted=False)


def transport(make: Maker) -> None:
    body = as_bytes(named(samples.homes(2)))
    for name, kind in {
        "none": None,
        "charset": "application/json; charset=utf-8",
        "charset-ascii": "application/json; charset=us-ascii",
        "text": "text/plain",
        "octets": OCTETS,
    }.items():
        make.post(f"kind-{name}", f"{HOMES}/infer", body, kind=kind)
    make.post("accept-html", f"{HOMES}/infer", body, accept="text/html")
    make.post("gzip", f"{HOMES}/infer", samples.gzipped(body), content_encoding="gzip")
    make.post("gzip-is-none", f"{HOMES}/infer", body, content_encoding="gzip")
    make.post("zstd", f"{HOMES}/infer", samples.zstd_packed(body), content_encoding="zstd")
    make.post("deflate", f"{HOMES}/infer", body, content_encoding="deflate")
    make.post("chunked", f"{HOMES}/infer", body, chunk=300)
    make.post("query", f"{HOMES}/infer?on_invalid=skip", body)
    make.post("timeout-passed", f"{HOMES}/infer", body, x_request_timeout="0.0000001")
    make.post("timeout-long", f"{HOMES}/infer", body, x_request_timeout="9")
    make.post("timeout-bad", f"{HOMES}/infer", body, x_request_timeout="soon")
    make.post("id-none", f"{HOMES}/infer", body, x_request_id="")
    make.post(
        "traceparent", f"{HOMES}/infer", body, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )
