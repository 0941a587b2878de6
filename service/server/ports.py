"""Whether a port is free to listen on."""

import socket

EVERY_ADDRESS = "0.0.0.0"


def conflict(host: str, port: int) -> str | None:
    """Why nothing can listen there, or None when the port is free.

    Workers share the port of gRPC by SO_REUSEPORT, which would let any other program in, too: the kernel would spread
    the connections over both. So this is checked before the first worker listens.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        return f"cannot listen on {host}:{port} ({getattr(error, 'strerror', None) or error})"
    return None
