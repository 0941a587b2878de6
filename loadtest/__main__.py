"""`python -m loadtest`. Exit codes: 0 done, 1 a goal was missed, 2 wrong usage."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest import commands as load_commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and say what its exit code is."""
    parser = argparse.ArgumentParser("python -m loadtest", description="What tabserve can bear.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    load_commands.add(commands)
    bench = commands.add_parser("bench", help="measure a part of it by itself, in this process")
    targets = bench.add_subparsers(required=True, metavar="TARGET")
    engines = targets.add_parser(
        "engines", help="the forward pass: ours, NumPy by hand, Keras, TensorFlow, ONNX Runtime"
    )
    engines.add_argument(
        "--rounds", type=at_least_one, default=9, metavar="N", help="medians are over so many (default: 9)"
    )
    engines.set_defaults(run=bench_engines)
    fast = targets.add_parser("fast", help="what each fast path saves of its part of a request")
    fast.add_argument("--rounds", type=at_least_one, default=21, metavar="N", help="(default: %(default)s)")
    fast.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    fast.set_defaults(run=bench_fast)
    servers = targets.add_parser("servers", help="whole servers beside each other: the limit, BentoML, Keras, ours")
    servers.add_argument(
        "scenarios",
        nargs="*",
        metavar="SCENARIO",
        help="row, mixed, default, many, wide, tensorflow, workers (default: row)",
    )
    servers.add_argument(
        "--beside",
        type=Path,
        metavar="PATH",
        help="compare this checkout's server with that of the checkout at PATH: ratios of CPU time per request, memory "
        "and time to ready, with 95 %% intervals",
    )
    servers.add_argument("--rounds", type=at_least_one, metavar="N", help="(default: 5, with --beside 15)")
    servers.add_argument(
        "--seconds",
        type=at_least_one,
        default=3,
        metavar="N",
        help="of a round, with --beside of the old server's processor time (default: 3)",
    )
    servers.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    servers.add_argument("--picture", type=Path, metavar="FILE", help="draw the first scenario (.svg or .png)")
    servers.set_defaults(run=bench_servers)
    bodies = targets.add_parser(
        "bodies", help="the forms of bodies beside their limits: v2, Arrow, a large Parquet file"
    )
    bodies.add_argument("--rounds", type=at_least_one, default=5, metavar="N", help="(default: 5)")
    bodies.add_argument("--seconds", type=at_least_one, default=3, metavar="N", help="of a round (default: 3)")
    bodies.add_argument(
        "--rows", type=at_least_one, default=1_000_000, metavar="N", help="of the Parquet file (default: %(default)s)"
    )
    bodies.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    bodies.set_defaults(run=bench_bodies)
    growth = targets.add_parser("growth", help="how the cost grows with columns, rows, models and workers")
    growth.add_argument("--rounds", type=at_least_one, default=3, metavar="N", help="(default: 3)")
    growth.add_argument("--seconds", type=at_least_one, default=2, metavar="N", help="of a round (default: 2)")
    growth.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    growth.add_argument("--picture", type=Path, metavar="FILE", help="draw them (.svg or .png)")
    growth.set_defaults(run=bench_growth)
    overload = targets.add_parser("overload", help="good answers at multiples of the rate that saturates a server")
    overload.add_argument("engines", nargs="*", metavar="ENGINE", help="numpy, tensorflow (default: both)")
    overload.add_argument("--rounds", type=at_least_one, default=5, metavar="N", help="(default: 5)")
    overload.add_argument("--seconds", type=at_least_one, default=4, metavar="N", help="of a rate (default: 4)")
    overload.add_argument(
        "--connections", type=at_least_one, default=256, metavar="N", help="at most (default: %(default)s)"
    )
    overload.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    overload.set_defaults(run=bench_overload)
    memory = targets.add_parser("memory", help="whether a worker holds more after very many requests, good and bad")
    memory.add_argument("--requests", type=at_least_one, default=200_000, metavar="N", help="(default: %(default)s)")
    memory.set_defaults(run=bench_memory)
    given = parser.parse_args(arguments)
    given.command_line = list(sys.argv[1:] if arguments is None else arguments)
    return int(given.run(given))


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def bench_engines(given: argparse.Namespace) -> int:
    from loadtest.bench import forward_pass

    return forward_pass.run(given.rounds)


def bench_fast(given: argparse.Namespace) -> int:
    from loadtest.bench import fast_paths

    return fast_paths.run(given.rounds, given.markdown)


def bench_servers(given: argparse.Namespace) -> int:
    from loadtest.bench import servers
    from loadtest.bench.server_scenarios import SCENARIOS

    unknown = [name for name in given.scenarios if name not in SCENARIOS]
    if unknown:
        print(f"error: {unknown[0]!r} is no scenario, expected {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    scenarios = given.scenarios or ["row"]
    if given.beside is not None:
        return bench_checkouts(scenarios, given)
    return servers.run(scenarios, given.rounds or 5, given.seconds, given.markdown, given.picture)


def bench_checkouts(scenarios: Sequence[str], given: argparse.Namespace) -> int:
    from loadtest.bench import checkouts

    if given.picture:
        print("error: --picture cannot be combined with --beside", file=sys.stderr)
        return 2
    try:
        return checkouts.run(scenarios, given.beside, given.rounds or 15, given.seconds, given.markdown)
    except checkouts.CheckoutError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def bench_bodies(given: argparse.Namespace) -> int:
    from loadtest.bench import bodies

    return bodies.run(given.rounds, given.seconds, given.rows, given.markdown)


def bench_growth(given: argparse.Namespace) -> int:
    from loadtest.bench import growth

    return growth.run(given.rounds, given.seconds, given.markdown, given.picture)


def bench_overload(given: argparse.Namespace) -> int:
    from loadtest.bench import overload

    unknown = [engine for engine in given.engines if engine not in overload.ROWS]
    if unknown:
        print(f"error: {unknown[0]!r} is no engine, expected {', '.join(overload.ROWS)}", file=sys.stderr)
        return 2
    return overload.run(
        given.engines or list(overload.ROWS), given.rounds, given.seconds, given.connections, given.markdown
    )


def bench_memory(given: argparse.Namespace) -> int:
    from loadtest.bench import memory_growth

    return memory_growth.run(given.requests)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # ends the servers that were started
    sys.exit(main())
