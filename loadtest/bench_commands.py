"""The command `bench`: its targets and their options."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loadtest.options import positive_int


def add(commands: Any) -> None:
    """Add the command to the command line."""
    bench = commands.add_parser("bench", help="measure a single part")
    targets = bench.add_subparsers(required=True, metavar="TARGET")
    for add_target in (
        add_engines,
        add_fast,
        add_servers,
        add_bodies,
        add_growth,
        add_overload,
        add_memory,
        add_starts,
        add_explanations,
        add_intervals,
        add_tls,
        add_drift,
        add_bulk,
        add_keys,
        add_limits,
        add_swaps,
        add_capture,
        add_latency,
    ):
        add_target(targets)


def add_target(
    targets: Any, name: str, run: Callable[[argparse.Namespace], int], about: str, rounds: int | None = None
) -> argparse.ArgumentParser:
    target: argparse.ArgumentParser = targets.add_parser(name, help=about)
    target.set_defaults(run=run)
    if rounds is not None:
        add_count(target, "--rounds", rounds, "number of rounds")
    return target


def add_timed_target(
    targets: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    about: str,
    *,
    rounds: int,
    seconds: int,
    duration: str = "duration of a round",
) -> argparse.ArgumentParser:
    """A target of rounds of a given duration in seconds; its tables can be written to a file."""
    target = add_target(targets, name, run, about, rounds)
    add_count(target, "--seconds", seconds, duration)
    add_markdown(target)
    return target


def add_count(target: argparse.ArgumentParser, option: str, default: int, about: str) -> None:
    target.add_argument(option, type=positive_int, default=default, metavar="N", help=f"{about} (default: %(default)s)")


def add_markdown(target: argparse.ArgumentParser) -> None:
    target.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to this file")


def add_engine_names(target: argparse.ArgumentParser) -> None:
    target.add_argument("engines", nargs="*", metavar="ENGINE", help="numpy, tensorflow (default: both)")


def add_engines(targets: Any) -> None:
    about = "the forward pass: our engine, plain NumPy, Keras, TensorFlow, ONNX Runtime"
    add_target(targets, "engines", bench_engines, about, rounds=9)


def add_fast(targets: Any) -> None:
    add_markdown(add_target(targets, "fast", bench_fast, "time saved by each fast path", rounds=21))


def add_servers(targets: Any) -> None:
    about = "servers compared in one run: a lower limit, BentoML, Keras, tabserve"
    servers = add_target(targets, "servers", bench_servers, about)
    servers.add_argument(
        "scenarios",
        nargs="*",
        metavar="SCENARIO",
        help="row, mixed, peers, default, many, wide, tensorflow, workers (default: row)",
    )
    servers.add_argument(
        "--beside",
        type=Path,
        metavar="PATH",
        help="compare the server of this checkout with that of the checkout at PATH: ratios of CPU time per request, "
        "memory and time to ready, with 95 %% intervals",
    )
    servers.add_argument("--rounds", type=positive_int, metavar="N", help="(default: 5, with --beside 15)")
    add_count(servers, "--seconds", 3, "duration of a round; with --beside CPU seconds of the old server per round")
    add_markdown(servers)
    servers.add_argument("--picture", type=Path, metavar="FILE", help="chart of the first scenario (.svg or .png)")


def add_latency(targets: Any) -> None:
    about = "99th percentile of the latency below saturation, compared with another checkout"
    latency = add_timed_target(targets, "latency", bench_latency, about, rounds=5, seconds=5)
    latency.add_argument("--beside", type=Path, metavar="PATH", required=True, help="the other checkout")


def add_bodies(targets: Any) -> None:
    about = "body formats compared with a lower limit: v2, Arrow, a large Parquet file"
    bodies = add_timed_target(targets, "bodies", bench_bodies, about, rounds=5, seconds=3)
    add_count(bodies, "--rows", 1_000_000, "rows of the Parquet file")


def add_growth(targets: Any) -> None:
    about = "cost of a request by number of columns, rows, models and workers"
    growth = add_timed_target(targets, "growth", bench_growth, about, rounds=3, seconds=2)
    growth.add_argument("--picture", type=Path, metavar="FILE", help="charts of the tables (.svg or .png)")


def add_overload(targets: Any) -> None:
    about = "correct responses at multiples of the rate that saturates a server"
    duration = "duration of each rate"
    overload = add_timed_target(targets, "overload", bench_overload, about, rounds=5, seconds=4, duration=duration)
    add_engine_names(overload)
    add_count(overload, "--connections", 256, "maximum number of connections")


def add_starts(targets: Any) -> None:
    parser = add_target(targets, "starts", bench_starts, "decisions about models that a server makes on a busy machine")
    add_count(parser, "--starts", 50, "number of starts")
    add_count(parser, "--workers", 2, "worker processes of a server")
    about = "busy processes in the background; 0 if the machine is busy anyway (default: the number of cores)"
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help=about)
    add_count(parser, "--at-once", 1, "servers that start at the same time and slow each other down")
    about = "additional decisions that workers make without starting servers, which is cheaper (default: 0)"
    parser.add_argument("--alone", type=int, default=0, metavar="N", help=about)


def add_explanations(targets: Any) -> None:
    about = "latency of predictions while explanations are computed"
    add_timed_target(targets, "explanations", bench_explanations, about, rounds=9, seconds=5)


def add_intervals(targets: Any) -> None:
    add_target(targets, "intervals", bench_intervals, "the cost of intervals in the NumPy engine", rounds=201)


def add_tls(targets: Any) -> None:
    about = "the cost of TLS, compared with nginx that terminates TLS"
    add_timed_target(targets, "tls", bench_tls, about, rounds=15, seconds=2)


def add_drift(targets: Any) -> None:
    about, duration = "the cost of drift counting per request", "CPU seconds of a server per round"
    drift = add_timed_target(targets, "drift", bench_drift, about, rounds=15, seconds=3, duration=duration)
    add_count(drift, "--rows", 1, "rows of a request")


def add_bulk(targets: Any) -> None:
    bulk = add_target(targets, "bulk", bench_bulk, "bulk scoring compared with Keras, MLflow and LightGBM in chunks")
    add_count(bulk, "--rows", 4_000_000, "rows of the table")
    add_count(bulk, "--loop-rows", 1_000_000, "rows of the table that the other contenders read")
    add_count(bulk, "--workers", os.cpu_count() or 1, "worker processes of bulk scoring")
    add_markdown(bulk)


def add_keys(targets: Any) -> None:
    about = "the cost of API keys and rate limits per request"
    duration = "CPU seconds of the server without keys per round"
    add_timed_target(targets, "keys", bench_keys, about, rounds=15, seconds=3, duration=duration)


def add_limits(targets: Any) -> None:
    about = "rates of API keys over four workers, and shares of three keys under overload"
    duration = "duration of each load"
    add_timed_target(targets, "limits", bench_limits, about, rounds=1, seconds=10, duration=duration)


def add_swaps(targets: Any) -> None:
    about, duration = "latency of predictions while versions change", "duration of each part of a round"
    add_engine_names(add_timed_target(targets, "swaps", bench_swaps, about, rounds=5, seconds=10, duration=duration))


def add_capture(targets: Any) -> None:
    capture = add_target(targets, "capture", bench_capture, "the cost of capture for a request with one row", rounds=15)
    add_count(capture, "--seconds", 3, "CPU seconds of the server without capture per round")


def add_memory(targets: Any) -> None:
    about = "memory growth of a worker over many valid and invalid requests"
    add_count(add_target(targets, "memory", bench_memory, about), "--requests", 200_000, "number of requests")


def bench_engines(arguments: argparse.Namespace) -> int:
    from loadtest.bench import forward_pass

    return forward_pass.run(arguments.rounds)


def bench_fast(arguments: argparse.Namespace) -> int:
    from loadtest.bench import fast_paths

    return fast_paths.run(arguments.rounds, arguments.markdown)


def bench_servers(arguments: argparse.Namespace) -> int:
    from loadtest.bench import servers
    from loadtest.bench.server_scenarios import SCENARIOS

    unknown = [name for name in arguments.scenarios if name not in SCENARIOS]
    if unknown:
        print(f"error: unknown scenario {unknown[0]!r}, expected {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    scenarios = arguments.scenarios or ["row"]
    if arguments.beside is not None:
        return bench_checkouts(scenarios, arguments)
    rounds = arguments.rounds or 5
    return servers.run(scenarios, rounds, arguments.seconds, arguments.markdown, arguments.picture)


def bench_checkouts(scenarios: Sequence[str], arguments: argparse.Namespace) -> int:
    from loadtest.bench import checkouts

    if arguments.picture:
        print("error: --picture cannot be combined with --beside", file=sys.stderr)
        return 2
    rounds = arguments.rounds or 15
    try:
        return checkouts.run(scenarios, arguments.beside, rounds, arguments.seconds, arguments.markdown)
    except checkouts.CheckoutError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def bench_latency(arguments: argparse.Namespace) -> int:
    from loadtest.bench import checkouts, latency

    try:
        return latency.run(arguments.beside, arguments.rounds, arguments.seconds, arguments.markdown)
    except checkouts.CheckoutError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def bench_bodies(arguments: argparse.Namespace) -> int:
    from loadtest.bench import bodies

    return bodies.run(arguments.rounds, arguments.seconds, arguments.rows, arguments.markdown)


def bench_growth(arguments: argparse.Namespace) -> int:
    from loadtest.bench import growth

    return growth.run(arguments.rounds, arguments.seconds, arguments.markdown, arguments.picture)


def bench_overload(arguments: argparse.Namespace) -> int:
    from loadtest.bench import overload

    engines = engines_of(arguments)
    if engines is None:
        return 2
    rounds, seconds = arguments.rounds, arguments.seconds
    return overload.run(engines, rounds, seconds, arguments.connections, arguments.markdown)


def bench_swaps(arguments: argparse.Namespace) -> int:
    from loadtest.bench import version_swaps

    engines = engines_of(arguments)
    if engines is None:
        return 2
    return version_swaps.run(engines, arguments.rounds, arguments.seconds, arguments.markdown)


def engines_of(arguments: argparse.Namespace) -> list[str] | None:
    """The engines to measure, by default all. None after an error message."""
    from loadtest.bench import overload

    unknown = [engine for engine in arguments.engines if engine not in overload.ROWS]
    if unknown:
        print(f"error: unknown engine {unknown[0]!r}, expected {', '.join(overload.ROWS)}", file=sys.stderr)
        return None
    return arguments.engines or list(overload.ROWS)


def bench_memory(arguments: argparse.Namespace) -> int:
    from loadtest.bench import memory_growth

    return memory_growth.run(arguments.requests)


def bench_starts(arguments: argparse.Namespace) -> int:
    from loadtest.bench import starts

    return starts.run(arguments.starts, arguments.workers, arguments.processes, arguments.at_once, arguments.alone)


def bench_explanations(arguments: argparse.Namespace) -> int:
    from loadtest.bench import explanation_load

    return explanation_load.run(arguments.rounds, arguments.seconds, arguments.markdown)


def bench_keys(arguments: argparse.Namespace) -> int:
    from loadtest.bench import key_cost

    return key_cost.run(arguments.rounds, arguments.seconds, arguments.markdown)


def bench_limits(arguments: argparse.Namespace) -> int:
    from loadtest.bench import key_limits

    return key_limits.run(arguments.rounds, arguments.seconds, arguments.markdown)


def bench_intervals(arguments: argparse.Namespace) -> int:
    from loadtest.bench import interval_cost

    return interval_cost.run(arguments.rounds)


def bench_tls(arguments: argparse.Namespace) -> int:
    from loadtest.bench import tls_cost

    return tls_cost.run(arguments.rounds, arguments.seconds, arguments.markdown)


def bench_drift(arguments: argparse.Namespace) -> int:
    from loadtest.bench import drift_cost

    return drift_cost.run(arguments.rounds, arguments.seconds, arguments.rows, arguments.markdown)


def bench_bulk(arguments: argparse.Namespace) -> int:
    from loadtest.bench import bulk

    return bulk.run(arguments.rows, arguments.loop_rows, arguments.workers, arguments.markdown)


def bench_capture(arguments: argparse.Namespace) -> int:
    from loadtest.bench import capture_cost

    return capture_cost.run(arguments.rounds, arguments.seconds)
