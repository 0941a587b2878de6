"""Free ports for the servers that tests start."""

import random
import socket

PORTS = range(10_000, 32_000)
"""Ports below those that Linux uses for outgoing connections, so that no client connection occupies the port of a
server.
"""


def free_port() -> int:
    """A port of the loopback interface on which no program listens. The port is random, because several test processes
    may run at the same time.
    """
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
