"""Options that `python -m loadtest` and Locust's own command line share."""

import argparse

from loadtest.plan import RequestMix

PARTS = ("one", "many", "invalid")


def add_mix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mix",
        type=parts,
        default="one=90,many=5,invalid=5",
        help="parts of the requests: one row, many rows, a row that is not valid (default: %(default)s)",
    )
    parser.add_argument("--many-rows", type=whole, default=100, help="rows in a request of many (default: %(default)s)")
    parser.add_argument(
        "--models", default="", help="a,b: ask these, the first one most (default: all that are served)"
    )
    parser.add_argument(
        "--hot", type=share, default=0.8, help="share of the first model where there are more (default: %(default)s)"
    )


def mix_of(given: argparse.Namespace) -> RequestMix:
    chosen = dict.fromkeys(PARTS, 0.0) | dict(pairs(given.mix))
    names = tuple(name for name in given.models.split(",") if name)
    return RequestMix(**chosen, rows=given.many_rows, hot=given.hot, models=names)


def pairs(text: str) -> list[tuple[str, float]]:
    found = []
    for part in text.split(","):
        name, _, number = part.partition("=")
        found.append((name.strip(), float(number)))
    return found


def whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return number


def parts(text: str) -> str:
    """Check `one=90,many=5,invalid=5`; it stays text, which Locust's page can show."""
    try:
        given = dict(pairs(text))
    except ValueError:
        given = {}
    if not given or set(given) - set(PARTS) or min(given.values()) < 0 or not sum(given.values()):
        raise argparse.ArgumentTypeError(f"{text!r} is no mix; write one=90,many=5,invalid=5")
    return text
