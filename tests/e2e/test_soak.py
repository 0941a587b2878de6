"""A short run of `python -m tests.e2e.soak`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.soak import Soak


def test_killed_workers_lose_only_their_requests_in_progress(serve: Callable[..., Any], home: Path) -> None:
    soak = Soak(serve(home, TABSERVE_WORKERS="2"), home, clients=8, seed=0)
    soak.run(seconds=4, between_s=2)
    assert soak.kills
    assert not soak.failed(), soak.summary()
