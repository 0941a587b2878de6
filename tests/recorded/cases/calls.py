"""The Open Inference Protocol over gRPC, as bytes of messages."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.recorded.case import Case, GrpcCase
from tests.recorded.cases import samples
from tests.recorded.cases.samples import HOME, INCOME, NUMBERS, ONE, Row, changed, columns, without
from tests.recorded.cases.v2 import datatype
from tests.recorded.cases.v2_binary import text
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
class Calls:
    made: list[Case] = field(default_factory=list)

    def call(
        self, name: str, method: str, request: Any, *, server: str = "all", counted: bool = False, **metadata: str
    ) -> None:
        """request: a message, or bytes that are sent unchanged."""
        self.made.append(
            GrpcCase(
                name=f"grpc-{name}",
                server=server,
                model=getattr(request, "model_name", None),
                counted=counted,
                method=method,
                answer=f"{method}Response",
                body=request if isinstance(request, bytes) else request.SerializeToString(deterministic=True),
                metadata=[(key.replace("_", "-"), value) for key, value in metadata.items()],
            )
        )

    def infer(self, name: str, request: Any, *, server: str = "all", counted: bool = True, **metadata: str) -> None:
        self.call(name, "ModelInfer", request, server=server, counted=counted, **metadata)


def cases() -> list[Case]:
    calls = Calls()
    reading(calls)
    typed(calls)
    raw(calls)
    options(calls)
    invalid_calls(calls)
    calls.made.append(health("health", "inference.GRPCInferenceService"))
    calls.made.append(health("health-whole", ""))
    calls.made.append(health("health-unknown", "other"))
    return calls.made


def health(name: str, service: str) -> GrpcCase:
    body = MESSAGES["HealthCheckRequest"](service=service).SerializeToString()
    answer = "HealthCheckResponse"
    return GrpcCase(name=f"grpc-{name}", service="grpc.health.v1.Health", method="Check", answer=answer, body=body)


def request(model: str, rows: Sequence[Row], **more: Any) -> Any:
    """Typed contents, a tensor for each column."""
    made = MESSAGES["ModelInferRequest"](model_name=model, **more)
    for name, data in columns(rows).items():
        kinds = {datatype(value) for value in data}
        add(made, name, "FP64" if kinds == {"INT64", "FP64"} else kinds.pop(), [len(rows)], data)
    return made


def add(made: Any, name: str, kind: str, shape: Sequence[int], data: Sequence[Any]) -> Any:
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


def reading(calls: Calls) -> None:
    for method in ("ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex"):
        calls.call(method.lower(), method, MESSAGES[f"{method}Request"]())
    calls.call("repositoryindex-small", "RepositoryIndex", b"", server="small")
    for model in ONE:
        calls.call(f"metadata-{model}", "ModelMetadata", MESSAGES["ModelMetadataRequest"](name=model))
    for name, model, version in (
        ("version", "stars", "2"),
        ("other-version", "stars", "1"),
        ("unknown", "star", ""),
        ("far", "qqqq", ""),
        ("nameless", "", ""),
    ):
        calls.call(f"metadata-{name}", "ModelMetadata", MESSAGES["ModelMetadataRequest"](name=model, version=version))
        calls.call(f"ready-{name}", "ModelReady", MESSAGES["ModelReadyRequest"](name=model, version=version))
    calls.call("ready-stars", "ModelReady", MESSAGES["ModelReadyRequest"](name="stars"))
    answer = "ServerLiveResponse"
    calls.made.append(GrpcCase(name="grpc-unknown-method", method="RepositoryModelLoad", answer=answer))
    calls.made.append(GrpcCase(name="grpc-unknown-service", service="other.Service", method="X", answer=answer))


def typed(calls: Calls) -> None:
    for model, row in ONE.items():
        calls.infer(f"one-row-{model}", request(model, [row]))
    calls.infer("rows-numbers", request("numbers", samples.numbers(20)))
    calls.infer("rows-stars", request("stars", samples.stars(5), model_version="2", id="call 7"))
    calls.infer("rows-sizes", request("sizes", samples.sizes(5)))
    calls.infer("rows-small", request("homes", [HOME] * 20), server="small")
    others: dict[str, list[Any]] = {"BOOL": [True, False], "BYTES": ["1", "2"]}
    for kind in CONTENTS:
        made = MESSAGES["ModelInferRequest"](model_name="single")
        add(made, "x", kind, [2, 1], others.get(kind, [1, 2]))
        calls.infer(f"typed-{kind.lower()}", made)
    made = MESSAGES["ModelInferRequest"](model_name="numbers")
    add(made, "matrix", "FP64", [2, 6], [value for row in samples.numbers(2) for value in row.values()])
    calls.infer("matrix", made)
    made = MESSAGES["ModelInferRequest"](model_name="single")
    made.inputs.add(name="x", datatype="FP16", shape=[1])
    calls.infer("typed-fp16", made)
    calls.infer("warned", request("homes", [HOME, changed(HOME, street="große Straße", **{"class": 99.5})]))


def raw(calls: Calls) -> None:
    numbers = struct.pack("<12d", *[value for row in samples.numbers(2) for value in row.values()])
    calls.infer("raw-matrix", raw_request("numbers", [("x", "FP64", [2, 6], numbers)]))
    calls.infer("raw-fp16", raw_request("single", [("x", "FP16", [2], struct.pack("<2e", 1.5, 2.5))]))
    stars = [("size", "FP32", [2, 1], struct.pack("<2f", 1.5, 7.25)), ("kind", "BYTES", [2, 1], text("hut", "hotel"))]
    calls.infer("raw-stars", raw_request("stars", stars))
    flags = [("heat", "FP32", [2], struct.pack("<2f", 1.5, 97.25))]
    calls.infer("raw-flags", raw_request("flags", flags))
    sizes = [(name, "FP64", [2], struct.pack("<2d", 0.5, -0.5)) for name in "xy"]
    calls.infer("raw-sizes", raw_request("sizes", sizes))
    calls.infer("raw-too-short", raw_request("numbers", [("x", "FP64", [2, 6], numbers[:-4])]))
    missing = raw_request("stars", stars)
    del missing.raw_input_contents[1]
    calls.infer("raw-one-absent", missing)
    both = raw_request("stars", stars)
    both.inputs[0].contents.fp32_contents.extend([1, 2])
    calls.infer("raw-and-typed", both)
    nan = struct.pack("<d", float("nan")) + numbers[8:]
    calls.infer("raw-nan", raw_request("numbers", [("x", "FP64", [2, 6], nan)]))
    skipped = raw_request("numbers", [("x", "FP64", [2, 6], nan)])
    skipped.parameters["on_invalid"].string_param = "skip"
    calls.infer("raw-skip", skipped)


def options(calls: Calls) -> None:
    rows = [HOME, changed(HOME, zone=4), changed(HOME, street="new street")]
    made = request("homes", rows)
    made.parameters["on_invalid"].string_param = "skip"
    calls.infer("skip", made)
    made = request("income", [INCOME, changed(INCOME, age=-1)])
    made.parameters["on_invalid"].string_param = "skip"
    calls.infer("skip-income", made)
    made = request("homes", rows)
    made.parameters["on_invalid"].string_param = "maybe"
    calls.infer("unknown-option", made)
    made = request("homes", rows[:1])
    made.parameters["on_invalid"].bool_param = True
    calls.infer("option-boolean", made)
    made = request("homes", rows[:1])
    made.parameters["missing"].string_param = "Adoption"
    made.parameters["priority"].uint64_param = 3
    calls.infer("missing", made)
    for name, outputs in {"label": ["label"], "swapped": ["probabilities", "label"], "unknown": ["value"]}.items():
        made = request("stars", samples.stars(2))
        for output in outputs:
            made.outputs.add(name=output)
        calls.infer(f"outputs-{name}", made)
    made = request("stars", samples.stars(2))
    made.outputs.add(name="label").parameters["classification"].int64_param = 2
    calls.infer("outputs-classification", made)
    one = request("numbers", [NUMBERS])
    calls.infer("id-none", one, x_request_id="")
    calls.infer("id-not-sane", one, x_request_id="two words")
    calls.infer(
        "traceparent", one, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", tracestate="a=1"
    )
    calls.infer("id-in-error", request("star", samples.stars(1)), counted=False, x_request_id="my-id")


def invalid_calls(calls: Calls) -> None:
    wrong = [HOME, changed(HOME, zone=4), changed(HOME, **{"educational-num": 200, "2nd": "soon"})]
    calls.infer("invalid-rows", request("homes", wrong))
    calls.infer("invalid-many", request("homes", [changed(HOME, zone=9)] * 120))
    calls.infer("invalid-not-ascii", request("homes", [changed(HOME, **{"2nd": "März, 100 %"})]))
    calls.infer("absent", request("homes", [without(HOME, "zone", "street")]))
    calls.infer("unknown-field", request("homes", [changed(HOME, zonee=1)]))
    calls.infer("types", request("homes", [changed(HOME, zone="2", street=3, **{"garden?": 1})]))
    calls.infer("unknown-model", request("home", [HOME]), counted=False)
    calls.infer("other-version", request("stars", samples.stars(1), model_version="1"), counted=False)
    calls.infer("no-model", request("", [HOME]), counted=False)
    calls.infer("no-inputs", MESSAGES["ModelInferRequest"](model_name="homes"))
    calls.infer("not-a-message", b"\xff\xff\xff", counted=False)
    calls.infer("empty-message", b"", counted=False)
    made = MESSAGES["ModelInferRequest"](model_name="single")
    add(made, "x", "FP64", [3], [1, 2])
    calls.infer("too-few", made)
    made = MESSAGES["ModelInferRequest"](model_name="single")
    made.inputs.add(name="x", datatype="FLOAT", shape=[1])
    calls.infer("unknown-type", made)
    made = MESSAGES["ModelInferRequest"](model_name="single")
    add(made, "x", "FP64", [1, 1, 1], [1])
    calls.infer("shape", made)
    made = MESSAGES["ModelInferRequest"](model_name="stars")
    add(made, "size", "FP64", [1], [1])
    made.inputs.add(name="kind", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"\xff")
    calls.infer("not-utf8", made)
    calls.infer("limit-rows", request("homes", [HOME] * 21), server="small")
    calls.infer("limit-message", request("homes", [changed(HOME, ID="x" * 9000)]), server="small", counted=False)
