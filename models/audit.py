"""The audit: one JSON line for each change of the served versions. Each line contains the hash of the previous line.

A line is written before the change takes effect. If the process ends before that, the line describes a change that did
not happen. `verify` reports this until the next change adds a `not_applied` line.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AUDIT_FILE = "audit.jsonl"
FIRST_PREVIOUS = "0" * 64
"""The value of `prev` in the first line."""
NOT_APPLIED = "not_applied"
FIELDS = ("time", "actor", "action", "model", "from", "to", "generation", "reason", "manifest", "prev")
TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class AuditReport:
    """The result of checking an audit. `problems`: altered or missing lines. `notes`: interrupted changes."""

    lines: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sha256(content: bytes) -> str:
    """The hash of an audit line without its line end, or of `serving.json`."""
    return hashlib.sha256(content).hexdigest()


def encode(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """The entries of an audit, oldest first. Invalid lines are skipped; `verify` reports them."""
    path = folder / AUDIT_FILE
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        entry = parse(line)
        if entry is not None:
            yield entry


def parse(line: bytes) -> dict[str, Any] | None:
    """The entry in a line, or None if the line is not a valid entry."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and all(name in entry for name in FIELDS) else None


def last_line(folder: Path) -> bytes | None:
    """The last complete line of an audit without its line end; None if the audit is empty."""
    path = folder / AUDIT_FILE
    if not path.is_file():
        return None
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        tail = TAIL_BYTES
        while True:
            file.seek(max(0, size - tail))
            lines = file.read().split(b"\n")
            if len(lines) > 2 or tail >= size:
                return lines[-2] if len(lines) > 1 else None
            tail *= 4


def append(folder: Path, entry: dict[str, Any]) -> None:
    """Append an entry with the hash of the previous line. The caller holds the store's lock. Nothing is added if
    OSError is raised."""
    previous = last_line(folder)
    line = encode({**entry, "prev": FIRST_PREVIOUS if previous is None else sha256(previous)})
    descriptor = os.open(folder / AUDIT_FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        end = remove_incomplete_line(descriptor)
        try:
            while line:  # on a nearly full disk one call writes a part, and the next raises OSError
                line = line[os.write(descriptor, line) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)


def remove_incomplete_line(descriptor: int) -> int:
    """Remove an incomplete last line, which an interrupted process has left. Returns the new size."""
    size = os.fstat(descriptor).st_size
    end = size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        end -= 1
    if end < size:
        os.ftruncate(descriptor, end)
    return end


def verify(folder: Path, generation: int, state_hash: str | None) -> AuditReport:
    """Check the chain of hashes, and that its last entry matches `serving.json`.

    generation, state_hash: those of `serving.json`; state_hash is None if there is no such file.
    """
    path = folder / AUDIT_FILE
    return verify_content(path.read_bytes() if path.is_file() else b"", generation, state_hash)


def verify_content(content: bytes, generation: int, state_hash: str | None) -> AuditReport:
    """Check the content of an audit file as `verify` does."""
    report = AuditReport(content.count(b"\n"))
    *lines, rest = content.split(b"\n")
    if rest:
        report.notes.append(
            "the last line is incomplete: the process that wrote it was stopped before it changed anything; "
            "the next change removes the line"
        )
    check_chain(lines, report)
    entries = [entry for entry in map(parse, lines) if entry is not None]
    check_end(entries, generation, state_hash, report)
    return report


def check_chain(lines: list[bytes], report: AuditReport) -> None:
    expected = FIRST_PREVIOUS
    for number, line in enumerate(lines, 1):
        entry = parse(line)
        if entry is None:
            report.problems.append(f"line {number} is not an entry: it was altered")
        elif entry["prev"] != expected:
            before = f"line {number - 1} was altered or removed" if number > 1 else "lines before it were removed"
            report.problems.append(f"line {number} does not continue the line before: {before}")
        expected = sha256(line)


def check_end(entries: list[dict[str, Any]], generation: int, state_hash: str | None, report: AuditReport) -> None:
    """Check that the last entry that took effect has the generation and the hash of `serving.json`."""
    if interrupted := interrupted_change(entries[-1] if entries else None, generation):
        report.notes.append(
            f"{interrupted} was not applied: its process was stopped before it wrote serving.json; "
            "the next change records that"
        )
        entries = entries[:-1]
    withdrawn = {generation_of(entry) for entry in entries if entry["action"] == NOT_APPLIED}
    applied = [entry for entry in entries if entry["action"] != NOT_APPLIED and generation_of(entry) not in withdrawn]
    last = applied[-1] if applied else None
    if generation_of(last) != generation:
        report.problems.append(
            f"serving.json has generation {generation}, but the last audit entry has generation {generation_of(last)}: "
            "lines are missing, or the file was replaced"
        )
    elif (last or {}).get("state") != state_hash:
        report.problems.append(f"serving.json was altered after the change to generation {generation}")


def interrupted_change(last: dict[str, Any] | None, generation: int) -> str | None:
    """A description of the audit's last change if `serving.json` has an older generation."""
    if last is None or last["action"] == NOT_APPLIED or generation_of(last) <= generation:
        return None
    return f"the change to generation {last['generation']} ({last['action']} of {last['model']})"


def generation_of(entry: dict[str, Any] | None) -> int:
    """The generation of an entry; 0 if there is no entry, or if its generation is not a number."""
    generation = entry["generation"] if entry else 0
    return generation if isinstance(generation, int) else 0
