"""A port in use is detected before a server is started on it."""

import socket

from service.server import ports
from tests.ports import free_port


def test_a_port_with_a_listener_is_a_conflict() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for host in ("127.0.0.1", ports.EVERY_ADDRESS):
            reason = ports.conflict(host, port)
            assert reason
            assert f"{host}:{port}" in reason


def test_a_free_port_is_not_a_conflict() -> None:
    assert ports.conflict("127.0.0.1", free_port()) is None


def test_an_address_of_another_machine_is_a_conflict() -> None:
    assert ports.conflict("192.0.2.1", 3000)
