"""A client that scores a frame again and again while the workers of the server are killed."""

import threading
from typing import Any

import numpy as np
import pandas as pd
import psutil
from tabserve_client import Client

from tests.e2e.server_processes import until, workers

SCALE = 50_000.0
"""The standard deviation of the target of `homes`."""


def home_frame(rows: list[dict[str, Any]], count: int) -> pd.DataFrame:
    """A frame of `homes` in which each row has a prediction of its own."""
    frame = pd.DataFrame(rows * (count // len(rows)))
    frame["educational-num"] = np.linspace(0, 16, len(frame))
    return frame


def kill_one(server: Any, known: set[int]) -> set[int]:
    """Kill a worker, and wait for the one that replaces it. known: the workers so far."""
    until(lambda: bool(workers(server)))
    psutil.Process(min(worker.pid for worker in workers(server))).kill()
    until(lambda: bool({worker.pid for worker in workers(server)} - known))
    return known | {worker.pid for worker in workers(server)}


def kill_workers(server: Any, kills: int) -> None:
    known = {worker.pid for worker in workers(server)}
    for _ in range(kills):
        known = kill_one(server, known)


def wrong_calls(server: Any, client: Client, frame: pd.DataFrame, kills: int) -> list[str]:
    """Score the frame until the workers were killed that often. Returns the first problem: a row that is missing, is
    repeated, or has the prediction of another row."""
    expected = np.array(client.predict("homes", frame).values)
    assert len(np.unique(expected)) > len(frame) // 2
    killer = threading.Thread(target=kill_workers, args=(server, kills), daemon=True)
    killer.start()
    wrong, calls = [], 0
    while killer.is_alive() or not calls:
        values = np.array(client.predict("homes", frame).values)
        calls += 1
        if values.shape != expected.shape or not np.allclose(values, expected, rtol=0, atol=1e-5 * SCALE):
            wrong.append(f"call {calls}: {len(values)} rows for {len(expected)}")
    killer.join()
    return wrong
