"""Scores a frame repeatedly with the client while workers of the server are killed."""

import threading
from typing import Any

import numpy as np
import pandas as pd
import psutil
from tabserve_client import Client

from tests.e2e.server_processes import wait_until, workers

SCALE = 50_000.0
"""The standard deviation of the target of `homes`."""


def home_frame(rows: list[dict[str, Any]], count: int) -> pd.DataFrame:
    """A frame of `homes` whose rows have distinct predictions."""
    frame = pd.DataFrame(rows * (count // len(rows)))
    frame["educational-num"] = np.linspace(0, 16, len(frame))
    return frame


def kill_a_worker(server: Any, known: set[int]) -> set[int]:
    """Kill a worker and wait for its successor. known: the process ids of all workers so far, which are returned with
    the new one.
    """
    wait_until(lambda: bool(workers(server)))
    psutil.Process(min(worker.pid for worker in workers(server))).kill()
    wait_until(lambda: bool({worker.pid for worker in workers(server)} - known))
    return known | {worker.pid for worker in workers(server)}


def kill_workers(server: Any, kills: int) -> None:
    known = {worker.pid for worker in workers(server)}
    for _ in range(kills):
        known = kill_a_worker(server, known)


def wrong_calls(server: Any, client: Client, frame: pd.DataFrame, kills: int) -> list[str]:
    """Score the frame until `kills` workers were killed. Returns a line for each call whose rows are missing, repeated
    or have the predictions of other rows.
    """
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
