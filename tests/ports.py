"""Free ports for the servers that tests start."""

import random
import socket

PORTS = range(10_000, 32_000)
"""The ports below those that Linux gives to outgoing connections: a client cannot take one before its server
listens."""


def free_port() -> int:
    """A port of loopback on which nothing listens. Random, because several test processes may run at the same time."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
