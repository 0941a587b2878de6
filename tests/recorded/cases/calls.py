"""gRPC calls of the Open Inference Protocol, with encoded messages."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.recorded.case import Case, GrpcCase
from tests.recorded.cases import samples
from tests.recorded.cases.samples import HOME, INCOME, NUMBERS, ONE, Row, changed, values_by_column, without_columns
from tests.recorded.cases.v2 import datatype
from tests.recorded.cases.v2_binary import encode_texts
from tests.recorded.messages import MESSAGES

CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


@dataclass
class GrpcCaseBuilder:
    made: list[Case] = field(default_factory=list)

    def call(
        self, name: str, method: str, request: Any, *, server: str = "all", counted: bool = False, **metadata: str
    ) -> None:
        """Add a call. request: a message, or bytes that are sent unchanged."""
        self.made.append(
            GrpcCase(
                name=f"grpc-{name}",
                server=server,
                model=getattr(request, "model_name", None),
                counted=counted,
                method=method,
                response_type=f"{method}Response",
                body=request if isinstance(request, bytes) else request.SerializeToString(deterministic=True),
                metadata=[(key.replace("_", "-"), value) for key, value in metadata.items()],
            )
        )

    def infer(self, name: str, request: Any, *, server: str = "all", counted: bool = True, **metadata: str) -> None:
        self.call(name, "ModelInfer", request, server=server, counted=counted, **metadata)


def cases() -> list[Case]:
    builder = GrpcCaseBuilder()
    metadata_cases(builder)
    typed_content_cases(builder)
    raw_content_cases(builder)
    option_cases(builder)
    invalid_call_cases(builder)
    builder.made.append(health("health", "inference.GRPCInferenceService"))
    builder.made.append(health("health-whole", ""))
    builder.made.append(health("health-unknown", "other"))
    return builder.made


def health(name: str, service: str) -> GrpcCase:
    body = MESSAGES["HealthCheckRequest"](service=service).SerializeToString()
    return GrpcCase(
        name=f"grpc-{name}",
        service="grpc.health.v1.Health",
        method="Check",
        response_type="HealthCheckResponse",
        body=body,
    )


def request(model: str, rows: Sequence[Row], **more: Any) -> Any:
    """A ModelInfer request with a tensor with typed contents for each column."""
    made = MESSAGES["ModelInferRequest"](model_name=model, **more)
    for name, data in values_by_column(rows).items():
        kinds = {datatype(value) for value in data}
        add_tensor(made, name, "FP64" if kinds == {"INT64", "FP64"} else kinds.pop(), [len(rows)], data)
    return made


def add_tensor(made: Any, name: str, kind: str, shape: Sequence[int], data: Sequence[Any]) -> Any:
    tensor = made.inputs.add(name=name, datatype=kind, shape=shape)
    values = [value.encode() if isinstance(value, str) else value for value in data]
    getattr(tensor.contents, CONTENTS[kind]).extend(values)
    return tensor


def raw_request(model: str, tensors: Sequence[tuple[str, str, Sequence[int], bytes]], **more: Any) -> Any:
    made = MESSAGES["ModelInferRequest"](model_name=model, **more)
    for name, kind, shape, content in tensors:
        made.inputs.add(name=name, datatype=kind, shape=shape)
        made.raw_input_contents.append(content)
    return made


def metadata_cases(builder: GrpcCaseBuilder) -> None:
    for method in ("ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex"):
        builder.call(method.lower(), method, MESSAGES[f"{method}Request"]())
    builder.call("repositoryindex-small", "RepositoryIndex", b"", server="small")
    for model in ONE:
        builder.call(f"metadata-{model}", "ModelMetadata", MESSAGES["ModelMetadataRequest"](name=model))
    for name, model, version in (
        ("version", "stars", "2"),
        ("other-version", "stars", "1"),
        ("unknown", "star", ""),
        ("far", "qqqq", ""),
        ("nameless", "", ""),
    ):
        builder.call(f"metadata-{name}", "ModelMetadata", MESSAGES["ModelMetadataRequest"](name=model, version=version))
        builder.call(f"ready-{name}", "ModelReady", MESSAGES["ModelReadyRequest"](name=model, version=version))
    builder.call("ready-stars", "ModelReady", MESSAGES["ModelReadyRequest"](name="stars"))
    live = "ServerLiveResponse"
    builder.made.append(GrpcCase(name="grpc-unknown-method", method="RepositoryModelLoad", response_type=live))
    builder.made.append(GrpcCase(name="grpc-unknown-service", service="other.Service", method="X", response_type=live))


def typed_content_cases(builder: GrpcCaseBuilder) -> None:
    for model, row in ONE.items():
        builder.infer(f"one-row-{model}", request(model, [row]))
    builder.infer("rows-numbers", request("numbers", samples.number_rows(20)))
    builder.infer("rows-stars", request("stars", samples.star_rows(5), model_version="2", id="call 7"))
    builder.infer("rows-sizes", request("sizes", samples.size_rows(5)))
    builder.infer("rows-small", request("homes", [HOME] * 20), server="small")
    others: dict[str, list[Any]] = {"BOOL": [True, False], "BYTES": ["1", "2"]}
    for kind in CONTENTS:
        made = MESSAGES["ModelInferRequest"](model_name="single")
        add_tensor(made, "x", kind, [2, 1], others.get(kind, [1, 2]))
        builder.infer(f"typed-{kind.lower()}", made)
    made = MESSAGES["ModelInferRequest"](model_name="numbers")
    add_tensor(made, "matrix", "FP64", [2, 6], [value for row in samples.number_rows(2) for value in row.values()])
    builder.infer("matrix", made)
    made = MESSAGES["ModelInferRequest"](model_name="single")
    made.inputs.add(name="x", datatype="FP16", shape=[1])
    builder.infer("typed-fp16", made)
    builder.infer("warned", request("homes", [HOME, changed(HOME, street="große Straße", **{"class": 99.5})]))


def raw_content_cases(builder: GrpcCaseBuilder) -> None:
    numbers = struct.pack("<12d", *[value for row in samples.number_rows(2) for value in row.values()])
    builder.infer("raw-matrix", raw_request("numbers", [("x", "FP64", [2, 6], numbers)]))
    builder.infer("raw-fp16", raw_request("single", [("x", "FP16", [2], struct.pack("<2e", 1.5, 2.5))]))
    stars = [
        ("size", "FP32", [2, 1], struct.pack("<2f", 1.5, 7.25)),
        ("kind", "BYTES", [2, 1], encode_texts("hut", "hotel")),
    ]
    builder.infer("raw-stars", raw_request("stars", stars))
    flags = [("heat", "FP32", [2], struct.pack("<2f", 1.5, 97.25))]
    builder.infer("raw-flags", raw_request("flags", flags))
    sizes = [(name, "FP64", [2], struct.pack("<2d", 0.5, -0.5)) for name in "xy"]
    builder.infer("raw-sizes", raw_request("sizes", sizes))
    builder.infer("raw-too-short", raw_request("numbers", [("x", "FP64", [2, 6], numbers[:-4])]))
    missing = raw_request("stars", stars)
    del missing.raw_input_contents[1]
    builder.infer("raw-one-absent", missing)
    both = raw_request("stars", stars)
    both.inputs[0].contents.fp32_contents.extend([1, 2])
    builder.infer("raw-and-typed", both)
    nan = struct.pack("<d", float("nan")) + numbers[8:]
    builder.infer("raw-nan", raw_request("numbers", [("x", "FP64", [2, 6], nan)]))
    skipped = raw_request("numbers", [("x", "FP64", [2, 6], nan)])
    skipped.parameters["on_invalid"].string_param = "skip"
    builder.infer("raw-skip", skipped)


def option_cases(builder: GrpcCaseBuilder) -> None:
    rows = [HOME, changed(HOME, zone=4), changed(HOME, street="new street")]
    made = request("homes", rows)
    made.parameters["on_invalid"].string_param = "skip"
    builder.infer("skip", made)
    made = request("income", [INCOME, changed(INCOME, age=-1)])
    made.parameters["on_invalid"].string_param = "skip"
    builder.infer("skip-income", made)
    made = request("homes", rows)
    made.parameters["on_invalid"].string_param = "maybe"
    builder.infer("unknown-option", made)
    made = request("homes", rows[:1])
    made.parameters["on_invalid"].bool_param = True
    builder.infer("option-boolean", made)
    made = request("homes", rows[:1])
    made.parameters["missing"].string_param = "Adoption"
    made.parameters["priority"].uint64_param = 3
    builder.infer("missing", made)
    for name, outputs in {"label": ["label"], "swapped": ["probabilities", "label"], "unknown": ["value"]}.items():
        made = request("stars", samples.star_rows(2))
        for output in outputs:
            made.outputs.add(name=output)
        builder.infer(f"outputs-{name}", made)
    made = request("stars", samples.star_rows(2))
    made.outputs.add(name="label").parameters["classification"].int64_param = 2
    builder.infer("outputs-classification", made)
    one = request("numbers", [NUMBERS])
    builder.infer("id-none", one, x_request_id="")
    builder.infer("id-not-sane", one, x_request_id="two words")
    builder.infer(
        "traceparent", one, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", tracestate="a=1"
    )
    builder.infer("id-in-error", request("star", samples.star_rows(1)), counted=False, x_request_id="my-id")


def invalid_call_cases(builder: GrpcCaseBuilder) -> None:
    wrong = [HOME, changed(HOME, zone=4), changed(HOME, **{"educational-num": 200, "2nd": "soon"})]
    builder.infer("invalid-rows", request("homes", wrong))
    builder.infer("invalid-many", request("homes", [changed(HOME, zone=9)] * 120))
    builder.infer("invalid-not-ascii", request("homes", [changed(HOME, **{"2nd": "März, 100 %"})]))
    builder.infer("absent", request("homes", [without_columns(HOME, "zone", "street")]))
    builder.infer("unknown-field", request("homes", [changed(HOME, zonee=1)]))
    builder.infer("types", request("homes", [changed(HOME, zone="2", street=3, **{"garden?": 1})]))
    builder.infer("unknown-model", request("home", [HOME]), counted=False)
    builder.infer("other-version", request("stars", samples.star_rows(1), model_version="1"), counted=False)
    builder.infer("no-model", request("", [HOME]), counted=False)
    builder.infer("no-inputs", MESSAGES["ModelInferRequest"](model_name="homes"))
    builder.infer("not-a-message", b"\xff\xff\xff", counted=False)
    builder.infer("empty-message", b"", counted=False)
    made = MESSAGES["ModelInferRequest"](model_name="single")
    add_tensor(made, "x", "FP64", [3], [1, 2])
    builder.infer("too-few", made)
    made = MESSAGES["ModelInferRequest"](model_name="single")
    made.inputs.add(name="x", datatype="FLOAT", shape=[1])
    builder.infer("unknown-type", made)
    made = MESSAGES["ModelInferRequest"](model_name="single")
    add_tensor(made, "x", "FP64", [1, 1, 1], [1])
    builder.infer("shape", made)
    made = MESSAGES["ModelInferRequest"](model_name="stars")
    add_tensor(made, "size", "FP64", [1], [1])
    made.inputs.add(name="kind", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"\xff")
    builder.infer("not-utf8", made)
    builder.infer("limit-rows", request("homes", [HOME] * 21), server="small")
    builder.infer("limit-message", request("homes", [changed(HOME, ID="x" * 9000)]), server="small", counted=False)
