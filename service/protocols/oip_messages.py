"""The gRPC messages of the Open Inference Protocol (package `inference`), built when this module is imported.

Names and numbers are those of open_inference_grpc.proto, plus Triton's RepositoryIndex and MLServer's `parameters` of a
model. There is no generated code, so any version of protobuf works. The messages are in a separate descriptor pool, so
that they cannot collide with a client library's copy in the same process.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from models.text import counted, truncate
from service.protocols import oip_tensors
from service.protocols.oip_tensors import InferRequest, InputTensor, ResponseTensor

PACKAGE = "inference"
SERVICE = "inference.GRPCInferenceService"

FIELDS = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live = 1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready = 1",
    "ModelReadyRequest": "string name = 1; string version = 2",
    "ModelReadyResponse": "bool ready = 1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name = 1; string version = 2; repeated string extensions = 3",
    "ModelMetadataRequest": "string name = 1; string version = 2",
    "ModelMetadataResponse": """string name = 1; repeated string versions = 2; string platform = 3;
        repeated ModelMetadataResponse.TensorMetadata inputs = 4;
        repeated ModelMetadataResponse.TensorMetadata outputs = 5; map InferParameter parameters = 6""",
    "ModelMetadataResponse.TensorMetadata": "string name = 1; string datatype = 2; repeated int64 shape = 3",
    "RepositoryIndexRequest": "string repository_name = 1; bool ready = 2",
    "RepositoryIndexResponse": "repeated RepositoryIndexResponse.ModelIndex models = 1",
    "RepositoryIndexResponse.ModelIndex": "string name = 1; string version = 2; string state = 3; string reason = 4",
    "RepositoryModelLoadRequest": "string repository_name = 1; string model_name = 2",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "string repository_name = 1; string model_name = 2",
    "RepositoryModelUnloadResponse": "",
    "ModelInferRequest": """string model_name = 1; string model_version = 2; string id = 3;
        map InferParameter parameters = 4; repeated ModelInferRequest.InferInputTensor inputs = 5;
        repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6; repeated bytes raw_input_contents = 7""",
    "ModelInferRequest.InferInputTensor": """string name = 1; string datatype = 2; repeated int64 shape = 3;
        map InferParameter parameters = 4; InferTensorContents contents = 5""",
    "ModelInferRequest.InferRequestedOutputTensor": "string name = 1; map InferParameter parameters = 2",
    "ModelInferResponse": """string model_name = 1; string model_version = 2; string id = 3;
        map InferParameter parameters = 4; repeated ModelInferResponse.InferOutputTensor outputs = 5;
        repeated bytes raw_output_contents = 6""",
    "ModelInferResponse.InferOutputTensor": """string name = 1; string datatype = 2; repeated int64 shape = 3;
        map InferParameter parameters = 4; InferTensorContents contents = 5""",
    "InferParameter": """choice bool bool_param = 1; choice int64 int64_param = 2; choice string string_param = 3;
        choice double double_param = 4; choice uint64 uint64_param = 5""",
    "InferTensorContents": """repeated bool bool_contents = 1; repeated int32 int_contents = 2;
        repeated int64 int64_contents = 3; repeated uint32 uint_contents = 4; repeated uint64 uint64_contents = 5;
        repeated float fp32_contents = 6; repeated double fp64_contents = 7; repeated bytes bytes_contents = 8""",
}


def build() -> dict[str, type[message.Message]]:
    """Build the class of each message. Returns them by name."""
    file = descriptor_pb2.FileDescriptorProto(name="tabserve/inference.proto", package=PACKAGE, syntax="proto3")
    descriptors: dict[str, DescriptorProto] = {}
    for name, fields in FIELDS.items():
        outer, _, own = name.rpartition(".")
        descriptors[name] = (descriptors[outer].nested_type if outer else file.message_type).add(name=own)
        for line in filter(None, map(str.strip, fields.split(";"))):
            add_field(descriptors[name], name, line)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message_class: Any = message_factory.GetMessageClass
    return {name: message_class(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in FIELDS}


def add_field(to: DescriptorProto, path: str, line: str) -> None:
    """Add a field declared as `[repeated|map|choice] type name = number`; the keys of a map are strings."""
    left, _, number = line.partition(" = ")
    *rule, kind, name = left.split()
    field = to.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
    if rule == ["map"]:
        entry = to.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        add_field(entry, "", "string key = 1")
        add_field(entry, "", f"{kind} value = 2")
        kind = f"{path}.{entry.name}"
    if rule in (["repeated"], ["map"]):
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if rule == ["choice"]:
        if not to.oneof_decl:
            to.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind[0].isupper():
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


MESSAGES: dict[str, Any] = build()


# Requests and responses

CONTENTS = {
    "BOOL": ("bool_contents", "?"),
    **dict.fromkeys(("INT8", "INT16", "INT32"), ("int_contents", "<i4")),
    "INT64": ("int64_contents", "<i8"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), ("uint_contents", "<u4")),
    "UINT64": ("uint64_contents", "<u8"),
    "FP32": ("fp32_contents", "<f4"),
    "FP64": ("fp64_contents", "<f8"),
    "BYTES": ("bytes_contents", "O"),
}
"""The field of a tensor's typed elements and their NumPy type, by datatype; FP16 and BF16 have raw contents only."""


def read(request: Any) -> InferRequest:
    """Parse a ModelInferRequest. Raises RequestNotValid."""
    raws = request.raw_input_contents
    if raws and (len(raws) != len(request.inputs) or any(tensor.HasField("contents") for tensor in request.inputs)):
        found, expected = counted(len(raws), "raw content"), counted(len(request.inputs), "input")
        message = f"the request has {found}, expected one for each of the {expected}"
        raise oip_tensors.invalid_input("bad_tensor", f"{message} and no typed contents")
    inputs = [
        oip_tensors.decode_content(read_tensor(tensor, raws[position] if raws else None))
        for position, tensor in enumerate(request.inputs)
    ]
    outputs = [(output.name, values(output.parameters)) for output in request.outputs]
    return InferRequest(inputs, outputs, request.id, values(request.parameters))


def read_tensor(tensor: Any, raw: bytes | None) -> InputTensor:
    name, datatype, shape = tensor.name, tensor.datatype, list(tensor.shape)
    parameters = values(tensor.parameters)
    if raw is not None:
        return InputTensor(name, datatype, shape, oip_tensors.decode(name, datatype, shape, raw), parameters)
    count = oip_tensors.element_count(name, datatype, shape)
    if datatype not in CONTENTS:
        raise oip_tensors.invalid_input("bad_tensor", f"input {truncate(name)!r}: {datatype} needs raw contents", name)
    field, dtype = CONTENTS[datatype]
    contents = getattr(tensor.contents, field)
    if len(contents) != count:
        raise oip_tensors.wrong_size(name, shape, f"{len(contents)} {field}")
    array = oip_tensors.decode_texts(name, contents) if dtype == "O" else np.fromiter(contents, dtype, count)
    return InputTensor(name, datatype, shape, array, parameters)


def values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    typed = ((name, value, value.WhichOneof("parameter_choice")) for name, value in parameters.items())
    return {name: getattr(value, kind) for name, value, kind in typed if kind}


def write(response: Any, outputs: list[ResponseTensor], parameters: Mapping[str, Any], *, raw: bool) -> None:
    """Add outputs and parameters to a ModelInferResponse. raw: whether to write raw contents, as in the request."""
    add_parameters(response.parameters, parameters)
    for output in outputs:
        tensor = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if raw:
            response.raw_output_contents.append(oip_tensors.encode(output))
            continue
        contents = getattr(tensor.contents, CONTENTS[output.datatype][0])
        if isinstance(output.data, list):
            contents.extend((text or "").encode("utf-8", "replace") for text in output.data)
        else:
            contents.extend(output.data.reshape(-1).tolist())


def add_parameters(target: Any, parameters: Mapping[str, Any]) -> None:
    for name, value in parameters.items():
        if isinstance(value, int):
            target[name].int64_param = value
        else:
            target[name].string_param = value
