"""`python -m loadtest.server_monitor URL FILE`: writes the server's metrics, CPU time and memory every second.

The monitor is a separate process, so that reading /metrics does not delay the load generator. SIGTERM stops it.
"""

import json
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from loadtest.api_key import key_headers

PREFIX = "tabserve_"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(url: str, file: str) -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes = [psutil.Process(pid) for pid in listeners(url)]
    before: dict[str, float] = {}
    next_time = time.time()
    with (
        open(file, "w", encoding="utf-8", buffering=1) as out,
        httpx.Client(base_url=url, timeout=5, headers=key_headers()) as client,
    ):
        while True:
            now = time.time()
            totals = {**metrics(client), **usage(processes)}
            if before:
                out.write(json.dumps({"time": now, **changes(before, totals)}) + "\n")
            before = {**totals, "time": now}
            next_time += 1
            time.sleep(max(0.0, next_time - time.time()))


def listeners(url: str) -> list[int]:
    """The processes that listen on the URL's port; empty for a server on another machine."""
    parts = urlsplit(url)
    if parts.hostname not in LOOPBACK:
        return []
    try:
        found = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # on macOS only an administrator may read them
        return []
    return sorted({c.pid for c in found if c.pid and c.status == psutil.CONN_LISTEN and c.laddr[1:] == (parts.port,)})


def metrics(client: httpx.Client) -> dict[str, float]:
    """tabserve's metrics, summed over their labels; empty if the server has none."""
    try:
        page = client.get("/metrics")
        return sums(page.text) if page.status_code == 200 else {}
    except (httpx.HTTPError, ValueError):
        return {}


def sums(page: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name.startswith(PREFIX) and not sample.name.endswith("_bucket"):
                name = sample.name.removeprefix(PREFIX)
                found[name] = found.get(name, 0.0) + sample.value
    return found


def usage(processes: list[psutil.Process]) -> dict[str, float]:
    """The CPU seconds used so far and the current memory in bytes, summed over all processes of the server."""
    used = list(usage_of_each(processes))
    if not used:
        return {}
    return {"cpu_seconds": sum(cpu for cpu, _ in used), "memory": float(sum(memory for _, memory in used))}


def usage_of_each(processes: list[psutil.Process]) -> Iterator[tuple[float, int]]:
    for process in processes:
        try:
            with process.oneshot():
                times = process.cpu_times()
                yield times.user + times.system, process.memory_info().rss
        except psutil.NoSuchProcess:
            continue


def changes(before: dict[str, float], now: dict[str, float]) -> dict[str, Any]:
    """Rates and means of counters since the last reading, and gauges. Unknown values are left out."""

    def increase(name: str) -> float | None:
        return now[name] - before.get(name, 0.0) if name in now else None

    def mean(name: str) -> float | None:
        total, count = increase(f"{name}_sum"), increase(f"{name}_count")
        return total / count if total is not None and count else None

    cpu = increase("cpu_seconds")
    seconds = time.time() - before["time"]
    found = {
        "cpu": cpu / seconds if cpu is not None and "cpu_seconds" in before else None,
        "memory": now.get("memory"),
        "batch_rows": mean("batch_rows"),
        "queue_rows": now.get("queue_rows"),
        "queue_ms": (waiting * 1e3) if (waiting := mean("queue_seconds")) is not None else None,
        "engine_ms": (working * 1e3) if (working := mean("engine_seconds")) is not None else None,
        "inflight_rows": now.get("inflight_rows"),
    }
    return {name: value for name, value in found.items() if value is not None}


if __name__ == "__main__":
    main(*sys.argv[1:])
