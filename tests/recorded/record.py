"""Records responses: `python -m tests.recorded.record --help`. The docstring of the package explains when to record."""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.recorded import client, compare, recording, rewording
from tests.recorded.case import Case
from tests.recorded.cases.every import CASES
from tests.recorded.changes import CHANGES
from tests.recorded.client import Response
from tests.recorded.servers import ROOT, running_servers


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.recorded.record", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="record all requests again")
    which.add_argument("--missing", action="store_true", help="record the requests that are not yet in answers.jsonl")
    which.add_argument("--changed", action="store_true", help="record the responses of changes.py in changed.jsonl")
    which.add_argument(
        "--reworded", action="store_true", help="update the responses that differ only in the wording of messages"
    )
    parser.add_argument(
        "--checkout", type=Path, default=ROOT, help="checkout whose server answers (default: this checkout)"
    )
    parser.add_argument("--out", type=Path, help="write to this file instead of the recorded responses")
    return parser.parse_args(words)


def record(cases: Sequence[Case], checkout: Path) -> dict[str, Response]:
    with tempfile.TemporaryDirectory() as folder, running_servers(checkout.resolve(), Path(folder)) as servers:
        servers.start(sorted({case.server for case in cases}))
        return {case.name: client.send(case, servers[case.server]) for case in cases}


def requested_cases(options: argparse.Namespace, known: Mapping[str, Response]) -> list[Case]:
    if options.all:
        return [*CASES]
    if options.missing:
        return [case for case in CASES if case.name not in known]
    return [case for case in CASES if recording.declared_change(case.name, CHANGES) is not None]


def update_reworded(checkout: Path) -> int:
    """Update the recorded responses that differ in wording only, and print the names of other responses that differ."""
    responses = record(CASES, checkout)
    updated, others = 0, []
    for path in (recording.RECORDED, recording.CHANGED):
        recorded = recording.read_responses(path)
        for name in recorded.keys() & responses.keys():
            if path == recording.RECORDED and recording.declared_change(name, CHANGES) is not None:
                continue
            if not compare.differences(recorded[name], responses[name], 1.0):
                continue
            if rewording.differs_in_wording_only(recorded[name], responses[name]):
                recorded[name] = responses[name]
                updated += 1
            else:
                others.append(name)
        recording.write_responses(path, [recorded[case.name] for case in CASES if case.name in recorded])
    print(
        f"{updated} responses updated",
        *(f"differs in more than the wording: {name}" for name in sorted(others)),
        sep="\n",
    )
    return int(bool(others))


def main(words: Sequence[str]) -> None:
    options = parse_arguments(words)
    if options.reworded:
        sys.exit(update_reworded(options.checkout))
    known = recording.read_responses(recording.RECORDED)
    cases, started = requested_cases(options, known), time.monotonic()
    responses = record(cases, options.checkout)
    path = options.out or (recording.CHANGED if options.changed else recording.RECORDED)
    kept = {} if options.all or options.changed else known
    every = {**kept, **responses}
    recording.write_responses(path, [every[case.name] for case in CASES if case.name in every])
    print(f"{len(responses)} responses recorded in {time.monotonic() - started:.0f} s: {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
