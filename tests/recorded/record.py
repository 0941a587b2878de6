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
from tests.recorded.client import Answer
from tests.recorded.servers import ROOT, running


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.recorded.record", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="record every request anew")
    which.add_argument("--missing", action="store_true", help="record the requests that are not yet in answers.jsonl")
    which.add_argument("--changed", action="store_true", help="record the answers of changes.py in changed.jsonl")
    which.add_argument(
        "--reworded", action="store_true", help="update answers whose messages alone have another wording"
    )
    parser.add_argument("--checkout", type=Path, default=ROOT, help="the code that answers (default: this one)")
    parser.add_argument("--out", type=Path, help="write to this file instead")
    return parser.parse_args(words)


def record(cases: Sequence[Case], checkout: Path) -> dict[str, Answer]:
    with tempfile.TemporaryDirectory() as folder, running(checkout.resolve(), Path(folder)) as servers:
        servers.start(sorted({case.server for case in cases}))
        return {case.name: client.send(case, servers[case.server]) for case in cases}


def wanted(options: argparse.Namespace, known: Mapping[str, Answer]) -> list[Case]:
    if options.all:
        return [*CASES]
    if options.missing:
        return [case for case in CASES if case.name not in known]
    return [case for case in CASES if recording.change_of(case.name, CHANGES) is not None]


def update_reworded(checkout: Path) -> int:
    """Replace the recorded answers that differ in wording only, print the names of others that differ."""
    answers = record(CASES, checkout)
    updated, others = 0, []
    for path in (recording.ANSWERS, recording.CHANGED):
        recorded = recording.read(path)
        for name in recorded.keys() & answers.keys():
            if path == recording.ANSWERS and recording.change_of(name, CHANGES) is not None:
                continue
            if not compare.differences(recorded[name], answers[name], 1.0):
                continue
            if rewording.reworded(recorded[name], answers[name]):
                recorded[name] = answers[name]
                updated += 1
            else:
                others.append(name)
        recording.write(path, [recorded[case.name] for case in CASES if case.name in recorded])
    print(
        f"{updated} answers updated",
        *(f"differs in more than its wording: {name}" for name in sorted(others)),
        sep="\n",
    )
    return int(bool(others))


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    if options.reworded:
        sys.exit(update_reworded(options.checkout))
    known = recording.read(recording.ANSWERS)
    cases, started = wanted(options, known), time.monotonic()
    answers = record(cases, options.checkout)
    path = options.out or (recording.CHANGED if options.changed else recording.ANSWERS)
    kept = {} if options.all or options.changed else known
    every = {**kept, **answers}
    recording.write(path, [every[case.name] for case in CASES if case.name in every])
    print(f"{len(answers)} answers recorded in {time.monotonic() - started:.0f} s: {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
