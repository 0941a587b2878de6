"""Requests to `/v2/…`: the REST form of the Open Inference Protocol."""

from collections.abc import Sequence
from typing import Any

from tests.recorded.case import Case, CaseBuilder, encode_body
from tests.recorded.cases import samples
from tests.recorded.cases.samples import (
    HOME,
    INCOME,
    NUMBERS,
    ONE,
    STARS,
    Row,
    changed,
    values_by_column,
    without_columns,
)

HOMES, NUMBERS_AT = "/v2/models/homes", "/v2/models/numbers"
OCTETS = "application/octet-stream"
TENSOR = dict[str, Any]


def cases() -> list[Case]:
    builder = CaseBuilder("v2")
    inference_cases(builder)
    tensor_cases(builder)
    output_cases(builder)
    parameter_cases(builder)
    invalid_request_cases(builder)
    body_cases(builder)
    metadata_cases(builder)
    transport_cases(builder)
    return builder.made


def datatype(value: Any) -> str:
    return {bool: "BOOL", str: "BYTES", int: "INT64"}.get(type(value), "FP64")


def column_tensors(rows: Sequence[Row], shape: tuple[int, ...] = (), **more: Any) -> dict[str, Any]:
    """A request with one tensor per column. shape: the dimensions of the tensors after the row dimension."""
    inputs = []
    for name, data in values_by_column(rows).items():
        kinds = {datatype(value) for value in data if value is not None}
        kind = "FP64" if kinds == {"INT64", "FP64"} or not kinds else kinds.pop()
        inputs.append({"name": name, "datatype": kind, "shape": [len(rows), *shape], "data": data})
    return {"inputs": inputs, **more}


def matrix_tensor(rows: Sequence[Row], kind: str = "FP64", **more: Any) -> dict[str, Any]:
    data = [value for row in rows for value in row.values()]
    return {"inputs": [{"name": "x", "datatype": kind, "shape": [len(rows), len(rows[0])], "data": data}], **more}


def inference_cases(builder: CaseBuilder) -> None:
    for model, row in ONE.items():
        builder.post(f"one-row-{model}", f"/v2/models/{model}/infer", column_tensors([row]))
    builder.post("rows-homes", f"{HOMES}/infer", column_tensors(samples.home_rows(15)))
    builder.post("rows-numbers", f"{NUMBERS_AT}/infer", column_tensors(samples.number_rows(30), (1,)))
    builder.post("rows-income", "/v2/models/income/infer", column_tensors(samples.income_rows(12)))
    builder.post("rows-sizes", "/v2/models/sizes/infer", column_tensors(samples.size_rows(8)))
    builder.post("rows-many", f"{NUMBERS_AT}/infer", matrix_tensor(samples.number_rows(1100)))
    builder.post(
        "rows-large-body",
        f"{HOMES}/infer",
        column_tensors([changed(row, ID="x" * 800) for row in samples.home_rows(350)]),
    )
    builder.post("matrix", f"{NUMBERS_AT}/infer", matrix_tensor(samples.number_rows(9)))
    builder.post("matrix-one-row", f"{NUMBERS_AT}/infer", matrix_tensor([NUMBERS]))
    builder.post("matrix-float32", f"{NUMBERS_AT}/infer", matrix_tensor(samples.number_rows(3), "FP32"))
    builder.post("matrix-of-sizes", "/v2/models/sizes/infer", matrix_tensor(samples.size_rows(3)))
    builder.post("matrix-of-mixed", "/v2/models/income/infer", matrix_tensor([NUMBERS]))
    builder.post("id", f"{NUMBERS_AT}/infer", column_tensors([NUMBERS], id="größer"))
    builder.post("version", "/v2/models/stars/versions/2/infer", column_tensors(samples.star_rows(2)))
    builder.post(
        "other-version", "/v2/models/stars/versions/1/infer", column_tensors(samples.star_rows(2)), counted=False
    )
    builder.post("batching", "/v2/models/stars/infer", column_tensors(samples.star_rows(2)), server="batching")
    builder.post(
        "batching-version", "/v2/models/stars/versions/1/infer", column_tensors(samples.star_rows(2)), server="batching"
    )


def tensor_cases(builder: CaseBuilder) -> None:
    """Requests with tensors of all data types and shapes, for the models `single` and `homes`."""
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
        builder.post(f"tensor-{name}", "/v2/models/single/infer", body)
    builder.post("tensor-bare-nan", f"{HOMES}/infer", encode_body(column_tensors([HOME])).replace(b"[1.5]", b"[NaN]"))
    builder.post(
        "tensor-infinity", f"{HOMES}/infer", encode_body(column_tensors([HOME])).replace(b"[1.5]", b"[-Infinity]")
    )
    nulls = column_tensors([HOME, HOME])
    for tensor_ in nulls["inputs"]:
        if tensor_["name"] in ("class", "renovated", "Outcome Type"):
            tensor_["data"] = [None, tensor_["data"][0]]
    builder.post("tensor-nulls", f"{HOMES}/infer", nulls)
    builder.post(
        "absent-nullable",
        f"{HOMES}/infer",
        column_tensors([without_columns(HOME, "class", "renovated", "Outcome Type")] * 2),
    )
    texts = column_tensors([changed(HOME, **{"garden?": "TRUE", "renovated": "false"})])
    builder.post("booleans-as-bytes", f"{HOMES}/infer", texts)
    builder.post("float-levels", f"{HOMES}/infer", column_tensors([changed(HOME, zone=2.0)]))
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
        builder.post(f"tensor-{name}", "/v2/models/single/infer", {"inputs": [tensor_]})


def output_cases(builder: CaseBuilder) -> None:
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
        builder.post(f"outputs-{name}", "/v2/models/stars/infer", column_tensors(samples.star_rows(3), outputs=wanted))
    for model in ("income", "sizes", "flags"):
        rows = {"income": samples.income_rows, "sizes": samples.size_rows}.get(
            model, lambda n: [{"heat": 9.5 * i} for i in range(n)]
        )(3)
        builder.post(
            f"outputs-binary-{model}",
            f"/v2/models/{model}/infer",
            column_tensors(rows, parameters={"binary_data_output": True}),
        )
    builder.post(
        "outputs-binary-homes",
        f"{HOMES}/infer",
        column_tensors(samples.home_rows(3), parameters={"binary_data_output": True}, id="7"),
    )
    mixed = column_tensors(
        samples.home_rows(3),
        parameters={"binary_data_output": True},
        outputs=[{"name": "value", "parameters": {"binary_data": False}}],
    )
    builder.post("outputs-binary-but-not-value", f"{HOMES}/infer", mixed)


def parameter_cases(builder: CaseBuilder) -> None:
    rows = [HOME, changed(HOME, zone=4), changed(HOME, street="new street")]
    builder.post("warned", f"{HOMES}/infer", column_tensors(rows[::2]))
    builder.post("skip", f"{HOMES}/infer", column_tensors(rows, parameters={"on_invalid": "skip"}))
    builder.post(
        "skip-binary",
        f"{HOMES}/infer",
        column_tensors(rows, parameters={"on_invalid": "skip", "binary_data_output": True}),
    )
    builder.post("skip-nothing", f"{HOMES}/infer", column_tensors(rows[:1], parameters={"on_invalid": "skip"}))
    builder.post("skip-all", f"{HOMES}/infer", column_tensors(rows[1:2], parameters={"on_invalid": "skip"}))
    for model, row, wrong in (("stars", STARS, {"kind": "x"}), ("income", INCOME, {"age": -1})):
        skipped = column_tensors([row, changed(row, **wrong)], parameters={"on_invalid": "skip"})
        builder.post(f"skip-{model}", f"/v2/models/{model}/infer", skipped)
        skipped["parameters"]["binary_data_output"] = True
        builder.post(f"skip-{model}-binary", f"/v2/models/{model}/infer", skipped)
    many = column_tensors([changed(HOME, zone=9)] * 120, parameters={"on_invalid": "skip"}, outputs=[])
    builder.post("skip-many", f"{HOMES}/infer", many)
    for name, given in {
        "fail": {"on_invalid": "fail"},
        "unknown-option": {"on_invalid": "maybe"},
        "option-number": {"on_invalid": 3},
        "others": {"content_type": "np", "priority": 3, "sequence_id": 0},
        "missing": {"missing": "Adoption"},
        "missing-number": {"missing": 3},
        "binary-output-no": {"binary_data_output": False},
    }.items():
        builder.post(f"parameters-{name}", f"{HOMES}/infer", column_tensors([HOME], parameters=given))
    builder.post("parameters-list", f"{HOMES}/infer", column_tensors([HOME], parameters=[1]))
    own = column_tensors([HOME, HOME])
    for tensor in own["inputs"]:
        if tensor["name"] == "Outcome Type":
            tensor |= {"data": ["none", "Transfer"], "parameters": {"missing": "none"}}
    builder.post("parameters-missing-of-tensor", f"{HOMES}/infer", own)


def invalid_request_cases(builder: CaseBuilder) -> None:
    rows = [HOME, changed(HOME, zone=4), changed(HOME, **{"educational-num": 200, "2nd": "soon"})]
    builder.post("invalid-rows", f"{HOMES}/infer", column_tensors(rows))
    builder.post("invalid-many", f"{HOMES}/infer", column_tensors([changed(HOME, zone=9)] * 120))
    builder.post("absent", f"{HOMES}/infer", column_tensors([without_columns(HOME, "zone", "street")]))
    builder.post("unknown-field", f"{HOMES}/infer", column_tensors([changed(HOME, zonee=1, other=2)]))
    builder.post("ignored", f"{HOMES}/infer", column_tensors([changed(HOME, ID="h1", price=3)]))
    builder.post(
        "types", f"{HOMES}/infer", column_tensors([changed(HOME, zone="2", street=3, **{"garden?": 1, "class": "x"})])
    )
    unequal = column_tensors([NUMBERS])
    unequal["inputs"][2] |= {"shape": [2], "data": [1, 2]}
    builder.post("unequal", f"{NUMBERS_AT}/infer", unequal)
    twice = column_tensors([NUMBERS])
    twice["inputs"].append(twice["inputs"][0])
    builder.post("input-twice", f"{NUMBERS_AT}/infer", twice)
    narrow = matrix_tensor(samples.number_rows(2))
    narrow["inputs"][0] |= {"shape": [3, 4]}
    builder.post("matrix-narrow", f"{NUMBERS_AT}/infer", narrow)
    builder.post("matrix-invalid", f"{NUMBERS_AT}/infer", matrix_tensor([changed(NUMBERS, a=None, b="x", c=True)]))
    builder.post("matrix-bytes", f"{NUMBERS_AT}/infer", matrix_tensor([NUMBERS], "BYTES"))
    builder.post("limit-rows", f"{HOMES}/infer", column_tensors(samples.home_rows(21)), server="small")
    builder.post("limit-body", f"{HOMES}/infer", column_tensors([changed(HOME, ID="x" * 9000)]), server="small")
    builder.post("limit-inputs", f"{NUMBERS_AT}/infer", {"inputs": [{}] * 10_001})


def body_cases(builder: CaseBuilder) -> None:
    for name, body in {
        "nothing": b"",
        "broken": b'{"inputs": [',
        "array": b"[]",
        "no-inputs": b"{}",
        "empty-inputs": b'{"inputs": []}',
        "inputs-object": b'{"inputs": {}}',
        "id-number": encode_body(column_tensors([NUMBERS], id=3)),
        "trailing": encode_body(column_tensors([NUMBERS])) + b"tail",
        "rows": encode_body({"rows": [NUMBERS]}),
    }.items():
        builder.post(f"body-{name}", f"{NUMBERS_AT}/infer", body)


def metadata_cases(builder: CaseBuilder) -> None:
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
        builder.get(name, path)
    for server in ("small", "batching"):
        builder.get(f"models-{server}", "/v2/models", server=server)
        builder.post(f"index-{server}", "/v2/repository/index", b"", kind=None, server=server, counted=False)
    builder.get("metadata-batching", "/v2/models/stars", server="batching")
    builder.post("index", "/v2/repository/index", b"{}", counted=False)
    builder.post("index-ready", "/v2/repository/index", b'{"ready": true}', counted=False)
    builder.post("load", "/v2/repository/models/stars/load", b"{}", counted=False)
    builder.post("unload", "/v2/repository/models/stars/unload", b"{}", counted=False)
    builder.post("infer-unknown", "/v2/models/star/infer", column_tensors([STARS]), counted=False)
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE"):
        for name, path in {
            "server": "/v2",
            "ready": "/v2/health/ready",
            "infer": f"{HOMES}/infer",
            "metadata": HOMES,
        }.items():
            builder.get(f"{name}-{method.lower()}", path, method=method)
    for name, path in {"server": "/v2", "metadata": HOMES, "ready": f"{HOMES}/ready"}.items():
        builder.post(f"{name}-post", path, b"{}", counted=False)


def transport_cases(builder: CaseBuilder) -> None:
    body = encode_body(column_tensors(samples.home_rows(2)))
    for name, kind in {
        "none": None,
        "charset": "application/json; charset=utf-8",
        "charset-ascii": "application/json; charset=us-ascii",
        "text": "text/plain",
        "octets": OCTETS,
    }.items():
        builder.post(f"kind-{name}", f"{HOMES}/infer", body, kind=kind)
    builder.post("accept-html", f"{HOMES}/infer", body, accept="text/html")
    builder.post("gzip", f"{HOMES}/infer", samples.gzip_compressed(body), content_encoding="gzip")
    builder.post("gzip-is-none", f"{HOMES}/infer", body, content_encoding="gzip")
    builder.post("zstd", f"{HOMES}/infer", samples.zstd_compressed(body), content_encoding="zstd")
    builder.post("deflate", f"{HOMES}/infer", body, content_encoding="deflate")
    builder.post("chunked", f"{HOMES}/infer", body, chunk=300)
    builder.post("query", f"{HOMES}/infer?on_invalid=skip", body)
    builder.post("timeout-passed", f"{HOMES}/infer", body, x_request_timeout="0.0000001")
    builder.post("timeout-long", f"{HOMES}/infer", body, x_request_timeout="9")
    builder.post("timeout-bad", f"{HOMES}/infer", body, x_request_timeout="soon")
    builder.post("id-none", f"{HOMES}/infer", body, x_request_id="")
    builder.post(
        "traceparent", f"{HOMES}/infer", body, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )
