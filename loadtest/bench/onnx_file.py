"""Writes a chain of dense layers as an ONNX file without the package `onnx`.

A protobuf message is a sequence of fields, each a key (field number · 8 + wire type) and a value: wire type 0 is a
varint, 2 is a length and the bytes. The field numbers are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
FLOAT = 1  # TensorProto.DataType
IR_VERSION, OPSET = 8, 17


def chain(layers: Sequence[tuple[Array, Array]], activation: str) -> bytes:
    """A ModelProto: x (rows, inputs) -> y (rows, outputs), `activation` (relu or silu) between the layers (W, b)."""
    nodes, tensors, x = [], [], "x"
    for i, (W, b) in enumerate(layers):
        tensors += [_tensor(f"W{i}", W), _tensor(f"b{i}", b)]
        last = i == len(layers) - 1
        nodes.append(_node("Gemm", [x, f"W{i}", f"b{i}"], "y" if last else f"z{i}"))
        if not last:
            x = f"h{i}"
            if activation == "silu":  # x · sigmoid(x); ONNX has no SiLU operator before opset 24
                nodes += [_node("Sigmoid", [f"z{i}"], f"s{i}"), _node("Mul", [f"z{i}", f"s{i}"], x)]
            else:
                nodes.append(_node(activation.capitalize(), [f"z{i}"], x))
    x_info, y_info = _matrix("x", len(layers[0][0])), _matrix("y", len(layers[-1][1]))
    graph = [_field(1, node) for node in nodes] + [_field(2, b"chain")] + [_field(5, tensor) for tensor in tensors]
    graph += [_field(11, x_info), _field(12, y_info)]
    return _field(1, IR_VERSION) + _field(7, b"".join(graph)) + _field(8, _field(1, b"") + _field(2, OPSET))


def _node(operator: str, inputs: Sequence[str], output: str) -> bytes:
    return b"".join(
        [*(_field(1, name.encode()) for name in inputs), _field(2, output.encode()), _field(4, operator.encode())]
    )


def _tensor(name: str, array: Array) -> bytes:
    shape = b"".join(_field(1, size) for size in array.shape)
    return shape + _field(2, FLOAT) + _field(8, name.encode()) + _field(9, array.astype("<f4").tobytes())


def _matrix(name: str, columns: int) -> bytes:
    """A ValueInfoProto: float32 (rows, columns), any number of rows."""
    shape = _field(1, _field(2, b"rows")) + _field(1, _field(1, columns))
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, FLOAT) + _field(2, shape)))


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits per byte, the lowest first; the eighth bit means that more bytes follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
