"""Messages between a worker and its explanation process: JSON fields and arrays, over a stream socket.

A message is the length of its head (4 bytes), the head as JSON, and the bytes of its arrays one after the other. Arrays
contain only numbers, so reading a message runs no code of the sender, unlike with pickle.
"""

import json
import math
import socket
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from models.outputs import Array

LENGTH = struct.Struct("!I")


class ArrayMessage(NamedTuple):
    fields: dict[str, Any]
    arrays: list[Array]


def send(connection: socket.socket, fields: dict[str, Any], arrays: Sequence[Array] = ()) -> None:
    """Raises OSError."""
    forms = [[array.dtype.str, array.shape] for array in arrays]
    head = json.dumps({"fields": fields, "arrays": forms}).encode()
    content = [np.ascontiguousarray(array).tobytes() for array in arrays]
    connection.sendall(b"".join([LENGTH.pack(len(head)), head, *content]))


def receive(connection: socket.socket) -> ArrayMessage:
    """Raises OSError, and ConnectionError if the other side has ended."""
    (length,) = LENGTH.unpack(read_exactly(connection, LENGTH.size))
    head = json.loads(read_exactly(connection, length))
    arrays = []
    for name, shape in head["arrays"]:
        dtype = np.dtype(name)
        content = read_exactly(connection, math.prod(shape) * dtype.itemsize)
        arrays.append(np.frombuffer(content, dtype).reshape(shape))
    return ArrayMessage(head["fields"], arrays)


def read_exactly(connection: socket.socket, count: int) -> bytearray:
    content = bytearray(count)
    view = memoryview(content)
    while view:
        read = connection.recv_into(view)
        if not read:
            raise ConnectionError("the other process has ended")
        view = view[read:]
    return content
