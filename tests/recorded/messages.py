"""The gRPC messages of the Open Inference Protocol at the time of the recording. They are defined separately from the
service, so that a test detects a change of its messages.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

PACKAGE = "inference"
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
        repeated TensorMetadata inputs = 4; repeated TensorMetadata outputs = 5; map InferParameter parameters = 6""",
    "TensorMetadata": "string name = 1; string datatype = 2; repeated int64 shape = 3",
    "RepositoryIndexRequest": "string repository_name = 1; bool ready = 2",
    "RepositoryIndexResponse": "repeated ModelIndex models = 1",
    "ModelIndex": "string name = 1; string version = 2; string state = 3; string reason = 4",
    "ModelInferRequest": """string model_name = 1; string model_version = 2; string id = 3;
        map InferParameter parameters = 4; repeated InferTensor inputs = 5;
        repeated InferRequestedOutputTensor outputs = 6; repeated bytes raw_input_contents = 7""",
    "InferTensor": """string name = 1; string datatype = 2; repeated int64 shape = 3;
        map InferParameter parameters = 4; InferTensorContents contents = 5""",
    "InferRequestedOutputTensor": "string name = 1; map InferParameter parameters = 2",
    "ModelInferResponse": """string model_name = 1; string model_version = 2; string id = 3;
        map InferParameter parameters = 4; repeated InferTensor outputs = 5; repeated bytes raw_output_contents = 6""",
    "InferParameter": """choice bool bool_param = 1; choice int64 int64_param = 2; choice string string_param = 3;
        choice double double_param = 4; choice uint64 uint64_param = 5""",
    "InferTensorContents": """repeated bool bool_contents = 1; repeated int32 int_contents = 2;
        repeated int64 int64_contents = 3; repeated uint32 uint_contents = 4; repeated uint64 uint64_contents = 5;
        repeated float fp32_contents = 6; repeated double fp64_contents = 7; repeated bytes bytes_contents = 8""",
    "HealthCheckRequest": "string service = 1",
    "HealthCheckResponse": "int32 status = 1",
}


def build() -> dict[str, type[message.Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="tests/recorded/inference.proto", package=PACKAGE, syntax="proto3")
    for name, header_fields in FIELDS.items():
        made = file.message_type.add(name=name)
        for line in filter(None, map(str.strip, header_fields.split(";"))):
            add_field(made, name, line)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find: Any = message_factory.GetMessageClass
    return {name: find(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in FIELDS}


def add_field(to: DescriptorProto, path: str, line: str) -> None:
    """`[repeated|map|choice] type name = number`; the keys of a map are text."""
    left, _, number = line.partition(" = ")
    *rule, type_name, name = left.split()
    field = to.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
    if rule == ["map"]:
        entry = to.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        add_field(entry, "", "string key = 1")
        add_field(entry, "", f"{type_name} value = 2")
        type_name = f"{path}.{entry.name}"
    if rule in (["repeated"], ["map"]):
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if rule == ["choice"]:
        if not to.oneof_decl:
            to.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if type_name[0].isupper():
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{type_name}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{type_name.upper()}")


MESSAGES: dict[str, Any] = build()


def as_json(name: str, content: bytes) -> Any:
    """A message as a JSON value with every field that it sets. Raises ValueError if it holds fields unknown here."""
    read = MESSAGES[name].FromString(content)
    if len(read.SerializeToString()) != len(content):
        raise ValueError(f"a {name} of {len(content)} bytes is written anew in {len(read.SerializeToString())}")
    known = MESSAGES[name]()
    known.CopyFrom(read)
    known.DiscardUnknownFields()
    if known.ByteSize() != read.ByteSize():
        raise ValueError(f"a {name} has fields that are not known here")
    return json_format.MessageToDict(read, preserving_proto_field_name=True)
