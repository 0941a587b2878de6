"""Whether memory grows: very many requests of every kind, good and bad, and what the worker holds before and after."""

import sys
import tempfile
from pathlib import Path

import httpx
import numpy as np

from loadtest import open_loop, plan
from loadtest.answer_check import FATAL
from loadtest.bench.server_process import BenchServer
from loadtest.bench.server_scenarios import ours
from loadtest.bench.servers import body, train
from loadtest.plan import INVALID, PlannedRequest, RequestMix, RequestPlan
from loadtest.scenarios import SCENARIOS, arrivals

RATE = 1500.0  # requests a second
GOAL = 1.05  # times the memory held after the first tenth
BROKEN = (
    ("/predict/eight", "application/json", b'{"rows": [{'),
    ("/predict/eight", "application/json", b'{"rows": []}'),
    ("/predict/eight", "application/json", b'{"rows": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    ("/predict/eight", "image/png", b"\x89PNG"),
    ("/predict/nothing", "application/json", b"{}"),
    ("/no/such/route", "application/json", b"{}"),
)


def broken(url: str) -> list[PlannedRequest]:
    """Requests that are refused, each with how it is refused."""
    asks = []
    with httpx.Client(base_url=url) as client:
        for path, kind, content in BROKEN:
            answer = client.post(path, content=content, headers={"content-type": kind})
            asks.append(PlannedRequest(INVALID, "eight", path, kind, content, 1, answer.status_code, answer.content))
    return asks


def run(requests: int) -> int:
    """Print what is held before and after; 1 if it grew by more than the goal, or an answer was wrong."""
    with tempfile.TemporaryDirectory(prefix="tabserve-endurance-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        store = train(home, {"eight", "income"})
        contender = ours("tabserve", "eight", models="eight,income")
        server = BenchServer(contender, store, home, body(store, "eight", 1))
        try:
            server.wait()
            url = f"http://127.0.0.1:{server.port}"
            asked = plan.make(url, RequestMix(one=70, many=5, invalid=15, rows=50, hot=0.5, models=("eight", "income")))
            asked = RequestPlan([*asked.asks, *broken(url)], asked.mix, asked.models)
            rng = np.random.default_rng(0)
            held, faults, done = [], 0, 0
            print(f"{'requests':>10}  {'worker MB':>9}")
            while done < requests:
                seconds = requests / 10 / RATE
                due = arrivals(SCENARIOS["steady"], RATE, seconds, rng)
                records = open_loop.run(url, asked, due, seconds, rng=rng)
                fatal = [n for n, kind in enumerate(records.kinds) if kind in FATAL]
                faults += int(np.isin(records.kind, fatal).sum())
                done += len(due)
                held.append(server.memory()[0])
                print(f"{done:10,}  {held[-1]:9.1f}", flush=True)
        finally:
            server.stop()
    growth = held[-1] / held[0]
    print(
        f"{100 * (growth - 1):+.1f} % after the first tenth (goal: at most {100 * (GOAL - 1):.0f} %); faults: {faults}"
    )
    return int(growth > GOAL or faults > 0)
