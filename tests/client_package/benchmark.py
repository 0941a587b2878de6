"""`make client-bench`: compares the Python client with a loop around `requests` that scores the same pandas frame.

`python -m tests.client_package.benchmark --rows 1000000`. The loop sends chunks as JSON in sequence and scores fewer
rows. The benchmark reports rows per second, and the CPU time of client and server together, which depends less on other
load of the machine. The contenders run alternately, and all predictions are compared.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import requests
from tabserve_client import Client, sources

from loadtest.bench.server_process import BenchServer, rows_of
from loadtest.bench.server_scenarios import as_json, tabserve_server
from loadtest.bench.servers import train
from models import store, text_tables
from models.schema import FeatureSchema

MODELS = {"eight": "network 8-32-1", "housing": "the default network"}
CHUNKS = (1000, 10_000)
CLIENT = "tabserve-client, Arrow"
GOAL = 10.0
"""The required rate of the client with the small network, as a multiple of the loop's rate. With a large network
both have the same rate.
"""
Score = Callable[[str, str, pd.DataFrame], list[float]]


def predict_with_client(url: str, model: str, frame: pd.DataFrame) -> list[float]:
    with Client(url, deadline=None) as client:
        return client.predict(model, frame).values


def predict_with_client_without_pyarrow(url: str, model: str, frame: pd.DataFrame) -> list[float]:
    with Client(url, deadline=None) as client:
        client._core.server.reads_arrow = False
        return client.predict(model, frame).values


def predict_with_requests(chunk: int) -> Score:
    def score(url: str, model: str, frame: pd.DataFrame) -> list[float]:
        values: list[float] = []
        with requests.Session() as session:
            for start in range(0, len(frame), chunk):
                rows = frame.iloc[start : start + chunk].to_dict("records")
                response = session.post(f"{url}/predict/{model}", json={"rows": rows}, timeout=60)
                response.raise_for_status()
                values += [prediction["value"] for prediction in response.json()["predictions"]]
        return values

    return score


def random_frame(schema: FeatureSchema, rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({feature.name: rng.uniform(*feature.seen_range, rows) for feature in schema.features})


def measure(server: BenchServer, model: str, frame: pd.DataFrame, loop_rows: int, rounds: int) -> list[list[str]]:
    """The measurements, one line per contender. Raises AssertionError if predictions differ."""
    url = server.url.removesuffix(server.contender.path)
    contenders: dict[str, tuple[Score, pd.DataFrame]] = {
        CLIENT: (predict_with_client, frame),
        "tabserve-client without pyarrow, NDJSON": (predict_with_client_without_pyarrow, frame.iloc[:loop_rows]),
    }
    contenders |= {f"requests, JSON, {n:,} rows": (predict_with_requests(n), frame.iloc[:loop_rows]) for n in CHUNKS}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    # µs of CPU time per row, client and server together
    costs: dict[str, list[float]] = {name: [] for name in contenders}
    expected: list[float] = []
    for _ in range(rounds):
        for name, (score, part) in contenders.items():
            print(f"{model}: {name}", file=sys.stderr)
            cpu, started = server.cpu() + time.process_time(), time.monotonic()
            values = score(url, model, part)
            rates[name].append(len(part) / (time.monotonic() - started))
            costs[name].append((server.cpu() + time.process_time() - cpu) / len(part) * 1e6)
            expected = expected or values
            assert len(values) == len(part)
            assert np.allclose(values, expected[: len(values)], rtol=1e-4, atol=1e-4)
    ours, cost = median(rates[CLIENT]), median(costs[CLIENT])
    lines = []
    for name, found in rates.items():
        rate, cpu = median(found), median(costs[name])
        factors = [f"{ours / rate:.1f}", f"{cpu:.1f}", f"{cpu / cost:.1f}"]
        lines.append([model, name, f"{len(contenders[name][1]):,}", f"{rate:,.0f}", *factors])
    return lines


def main() -> int:
    """Run the benchmark; the exit code is 1 if the client misses the required rate."""
    parser = argparse.ArgumentParser(prog="python -m tests.client_package.benchmark", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--loop-rows", type=int, default=100_000, help="number of rows for the other contenders")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="*", default=[*MODELS], choices=MODELS)
    arguments = parser.parse_args()
    assert sources.has_pyarrow()
    lines = [["model", "", "rows", "rows/s", "factor", "CPU µs/row", "factor"]]
    with tempfile.TemporaryDirectory(prefix="tabserve-client-") as name:
        home = Path(name)
        models = train(home, {*arguments.models})
        for model in arguments.models:
            contender = tabserve_server("tabserve", model, workers=str(os.cpu_count() or 1))
            server = BenchServer(contender, models, home, *as_json(rows_of(models, model, 1)))
            try:
                server.wait()
                path = store.unpacked_version(models / model / "1").path / "features.json"
                frame = random_frame(FeatureSchema.from_json(path.read_bytes()), arguments.rows)
                lines += measure(server, model, frame, arguments.loop_rows, arguments.rounds)
            finally:
                server.stop()
    print(text_tables.aligned(lines))
    return int(
        any(float(line[4]) < GOAL for line in lines[1:] if line[0] == "eight" and line[1].startswith("requests"))
    )


if __name__ == "__main__":
    sys.exit(main())
