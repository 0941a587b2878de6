"""`python -m loadtest`. Exit codes: 0 done, 1 a goal was missed, 2 wrong usage."""

import argparse
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
    servers = targets.add_parser("servers", help="whole servers beside each other: the limit, BentoML, Keras, ours")
    servers.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help="row, mixed, many, wide, tensorflow, workers (default: row)"
    )
    servers.add_argument("--rounds", type=at_least_one, default=5, metavar="N", help="(default: 5)")
    servers.add_argument("--seconds", type=at_least_one, default=3, metavar="N", help="of a round (default: 3)")
    servers.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    servers.add_argument("--picture", type=Path, metavar="FILE", help="draw the first scenario (.svg or .png)")
    servers.set_defaults(run=bench_servers)
    given = parser.parse_args(arguments)
    given.command_line = list(sys.argv[1:] if arguments is None else arguments)
    return int(given.run(given))


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def bench_engines(given: argparse.Namespace) -> int:
    from loadtest.bench import engines

    return engines.run(given.rounds)


def bench_servers(given: argparse.Namespace) -> int:
    from loadtest.bench import servers

    unknown = [name for name in given.scenarios if name not in servers.SCENARIOS]
    if unknown:
        print(f"error: {unknown[0]!r} is no scenario, expected {', '.join(servers.SCENARIOS)}", file=sys.stderr)
        return 2
    return servers.run(given.scenarios or ["row"], given.rounds, given.seconds, given.markdown, given.picture)


if __name__ == "__main__":
    sys.exit(main())
