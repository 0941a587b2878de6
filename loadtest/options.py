"""Options shared by `python -m loadtest` and the locustfile."""

import argparse

from loadtest.request_mix import RequestMix

PARTS = ("one", "many", "invalid")


def add_mix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mix",
        type=mix_text,
        default="one=90,many=5,invalid=5",
        help="weights of the requests: one row, many rows, an invalid row (default: %(default)s)",
    )
    parser.add_argument(
        "--many-rows", type=positive_int, default=100, help="rows per request with many rows (default: %(default)s)"
    )
    parser.add_argument(
        "--models",
        default="",
        help="a,b: send requests to these models; the first one is the hot one (default: all models)",
    )
    parser.add_argument(
        "--hot",
        type=fraction,
        default=0.8,
        help="fraction of requests for the hot model if there are several (default: %(default)s)",
    )


def mix_of(arguments: argparse.Namespace) -> RequestMix:
    weights = dict.fromkeys(PARTS, 0.0) | dict(pairs(arguments.mix))
    names = tuple(name for name in arguments.models.split(",") if name)
    return RequestMix(**weights, rows=arguments.many_rows, hot=arguments.hot, models=names)


def pairs(text: str) -> list[tuple[str, float]]:
    found = []
    for part in text.split(","):
        name, _, number = part.partition("=")
        found.append((name.strip(), float(number)))
    return found


def positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def natural_int(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return number


def fraction(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def mix_text(text: str) -> str:
    """Check `one=90,many=5,invalid=5`; the value stays text, which Locust's web page can show."""
    try:
        weights = dict(pairs(text))
    except ValueError:
        weights = {}
    if not weights or set(weights) - set(PARTS) or min(weights.values()) < 0 or not sum(weights.values()):
        raise argparse.ArgumentTypeError(f"invalid mix {text!r}; expected for example one=90,many=5,invalid=5")
    return text
