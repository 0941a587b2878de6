"""`python -m loadtest`. Exit codes: 0 done, 1 a goal was missed, 2 wrong usage."""

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and say what its exit code is."""
    parser = argparse.ArgumentParser("python -m loadtest", description="What tabserve can bear.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    bench = commands.add_parser("bench", help="measure a part of it by itself, in this process")
    targets = bench.add_subparsers(required=True, metavar="TARGET")
    engines = targets.add_parser(
        "engines", help="the forward pass: ours, NumPy by hand, Keras, TensorFlow, ONNX Runtime"
    )
    engines.add_argument("--rounds", type=int, default=9, metavar="N", help="medians are over so many (default: 9)")
    engines.set_defaults(run=bench_engines)
    given = parser.parse_args(arguments)
    return int(given.run(given))


def bench_engines(given: argparse.Namespace) -> int:
    from loadtest.bench import engines

    return engines.run(given.rounds)


if __name__ == "__main__":
    sys.exit(main())
