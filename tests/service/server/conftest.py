"""Shared by the tests of the server."""

import signal
from collections.abc import Iterator

import pytest

from service.server.stop_signals import SIGNALS


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Restores the signal handlers."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
