"""The end of a listening socket: connections are refused before it closes, so that no accepted connection is reset.

Closing a socket resets the connections in its backlog, although their clients are connected and may have sent a
request. So the supervisor, which knows that all workers stop, first lets the kernel drop requests for new connections
(SYN). The workers accept the waiting connections. Then all processes close the socket.
"""

import asyncio
import ctypes
import logging
import socket
import struct
import sys
from collections.abc import Iterable

SO_ATTACH_FILTER = SO_GET_FILTER = 26
TCP_FLAGS_OFFSET, SYN, ACK = 13, 0x02, 0x10
LOAD_BYTE, AND, JUMP_IF_EQUAL, RETURN = 0x30, 0x54, 0x15, 0x06  # operation codes of the kernel's classic BPF
WHOLE = 0xFFFFFFFF
DROP_SYN = (
    (LOAD_BYTE, 0, 0, TCP_FLAGS_OFFSET),
    (AND, 0, 0, SYN | ACK),
    (JUMP_IF_EQUAL, 0, 1, SYN),  # for other packets, skip one instruction
    (RETURN, 0, 0, 0),
    (RETURN, 0, 0, WHOLE),
)
REFUSED_S = 1.0  # the longest wait for the supervisor
HANDSHAKE_S = 0.5  # time for connections whose handshake had begun
POLL_S = 0.02
log = logging.getLogger("tabserve.server")


def refuse_new_connections(listener: socket.socket) -> None:
    """Drop all further requests for a connection, in all processes that share the socket. Only on Linux.

    Connections in the backlog remain. A client whose request was dropped tries again after a second, and is then
    refused.
    """
    if sys.platform != "linux":
        return
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in DROP_SYN)
    held = ctypes.create_string_buffer(program)
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(DROP_SYN), ctypes.addressof(held))
        )
    except OSError as error:
        log.warning("connections that wait when the server stops may be reset", extra={"reason": str(error)})


def refuses_new_connections(listener: socket.socket) -> bool:
    """Whether a process has called `refuse_new_connections` for the socket."""
    try:
        return bool(listener.getsockopt(socket.SOL_SOCKET, SO_GET_FILTER, 1024))
    except OSError:
        return False


async def wait_until_refused(listeners: Iterable[socket.socket]) -> None:
    """Wait until no new connection can arrive, or for REFUSED_S if only this worker stops."""
    loop = asyncio.get_running_loop()
    listeners, deadline = list(listeners), loop.time() + REFUSED_S
    while not all(refuses_new_connections(listener) for listener in listeners) and loop.time() < deadline:
        await asyncio.sleep(POLL_S)
    await asyncio.sleep(HANDSHAKE_S)
