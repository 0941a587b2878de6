"""Checks whether a port is free."""

import socket

EVERY_ADDRESS = "0.0.0.0"


def conflict(host: str, port: int) -> str | None:
    """The reason why a server cannot listen on a port; None if it is free.

    Workers share the gRPC port with SO_REUSEPORT, which also lets other programs listen on it: the kernel would
    distribute the connections over both programs. So the supervisor checks the port before the first worker listens.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        return f"cannot listen on {host}:{port} ({getattr(error, 'strerror', None) or error})"
    return None
