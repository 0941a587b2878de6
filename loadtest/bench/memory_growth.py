"""Memory growth of a worker over many valid and invalid requests of all kinds."""

import sys
import tempfile
from pathlib import Path

import httpx
import numpy as np

from loadtest import open_loop, request_plan
from loadtest.bench.server_process import BenchServer
from loadtest.bench.server_scenarios import tabserve_server
from loadtest.bench.servers import body, train
from loadtest.request_mix import INVALID, RequestMix
from loadtest.request_plan import PlannedRequest, RequestPlan
from loadtest.response_check import FATAL
from loadtest.scenarios import SCENARIOS, arrivals

RATE = 1500.0  # requests a second
GOAL = 1.05  # maximum memory, as a multiple of that after the first tenth of the requests
INVALID_REQUESTS = (
    ("/predict/eight", "application/json", b'{"rows": [{'),
    ("/predict/eight", "application/json", b'{"rows": []}'),
    ("/predict/eight", "application/json", b'{"rows": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    ("/predict/eight", "image/png", b"\x89PNG"),
    ("/predict/nothing", "application/json", b"{}"),
    ("/no/such/route", "application/json", b"{}"),
)


def invalid_requests(url: str) -> list[PlannedRequest]:
    """Requests that the server rejects, with their responses."""
    requests = []
    with httpx.Client(base_url=url) as client:
        for path, kind, content in INVALID_REQUESTS:
            response = client.post(path, content=content, headers={"content-type": kind})
            requests.append(
                PlannedRequest(INVALID, "eight", path, kind, content, 1, response.status_code, response.content)
            )
    return requests


def run(requests: int) -> int:
    """Print the memory after each tenth. Returns 1 if it grew by more than the goal, or a response was wrong."""
    with tempfile.TemporaryDirectory(prefix="tabserve-endurance-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        store = train(home, {"eight", "income"})
        contender = tabserve_server("tabserve", "eight", models="eight,income")
        server = BenchServer(contender, store, home, body(store, "eight", 1))
        try:
            server.wait()
            url = f"http://127.0.0.1:{server.port}"
            plan = request_plan.make(
                url, RequestMix(one=70, many=5, invalid=15, rows=50, hot=0.5, models=("eight", "income"))
            )
            plan = RequestPlan([*plan.requests, *invalid_requests(url)], plan.mix, plan.models)
            rng = np.random.default_rng(0)
            memory_mb, errors, done = [], 0, 0
            print(f"{'requests':>10}  {'worker MB':>9}")
            while done < requests:
                seconds = requests / 10 / RATE
                due = arrivals(SCENARIOS["steady"], RATE, seconds, rng)
                records = open_loop.run(url, plan, due, seconds, rng=rng)
                fatal = [n for n, kind in enumerate(records.kinds) if kind in FATAL]
                errors += int(np.isin(records.kind, fatal).sum())
                done += len(due)
                memory_mb.append(server.memory()[0])
                print(f"{done:10,}  {memory_mb[-1]:9.1f}", flush=True)
        finally:
            server.stop()
    growth = memory_mb[-1] / memory_mb[0]
    print(
        f"{100 * (growth - 1):+.1f} % since the first tenth (goal: at most {100 * (GOAL - 1):.0f} %); errors: {errors}"
    )
    return int(growth > GOAL or errors > 0)
