"""Lists the input files for paths, globs, folders and URLs."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import fsspec

from scoring.errors import UnreadableInput, UnusableRequest
from scoring.input_file import InputFile, reason_of, state_of

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
TEXT_FORMATS = ("csv", "ndjson")
MARKS = frozenset("*?[")  # characters of glob patterns


def list_inputs(patterns: Sequence[str]) -> list[InputFile]:
    """The files that match the patterns, sorted and without duplicates. Raises UnusableRequest."""
    urls = {url for pattern in patterns for url in matching_files(pattern)}
    try:
        return [make_input_file(url) for url in sorted(urls)]
    except UnreadableInput as error:
        raise UnusableRequest(str(error)) from None


def matching_files(pattern: str) -> list[str]:
    """The files of one pattern: absolute paths or URLs. Raises UnusableRequest if there are none."""
    try:
        found = sorted(remote_matches(pattern) if "://" in pattern else local_matches(pattern))
    except UnusableRequest:
        raise
    except Exception as error:  # each file system of fsspec has its own errors
        raise UnusableRequest(f"{pattern} cannot be listed: {reason_of(error)}") from None
    if not found:
        raise UnusableRequest(f"{pattern}: no file matches")
    return found


def local_matches(pattern: str) -> Iterator[str]:
    pattern = os.path.abspath(os.path.expanduser(pattern))
    paths = [pattern] if os.path.exists(pattern) else glob.glob(pattern, recursive=True)
    for path in paths:
        if os.path.isdir(path):
            yield from visible_tables(path, (str(found) for found in Path(path).rglob("*") if found.is_file()))
        else:
            yield path


def remote_matches(pattern: str) -> Iterator[str]:
    """The files that fsspec lists. A path that is neither a pattern nor a folder is a file."""
    system, path = fsspec.url_to_fs(pattern)
    protocol = pattern.partition("://")[0]
    if "file" in (protocol, system.protocol):
        yield from local_matches(path)
        return
    paths = system.glob(path) if MARKS & set(path) else [path]
    for found in paths:
        if system.isdir(found):
            yield from (system.unstrip_protocol(name) for name in visible_tables(found, system.find(found)))
        else:
            yield system.unstrip_protocol(found)


def visible_tables(folder: str, paths: Iterable[str]) -> Iterator[str]:
    """The tables in a folder: files with a known suffix. Names that begin with `_` or `.` are hidden, as in other
    engines."""
    for path in paths:
        parts = path[len(folder) :].strip("/").split("/")
        if not any(part.startswith(("_", ".")) for part in parts) and format_of(path) is not None:
            yield path


def format_of(path: str) -> tuple[str, str] | None:
    """The format and compression that the suffixes of a file name indicate; None if they are unknown."""
    stem, suffix = os.path.splitext(path.partition("?")[0].lower())
    compression = COMPRESSIONS.get(suffix, "")
    if compression:
        suffix = os.path.splitext(stem)[1]
    found = FORMATS.get(suffix)
    return None if found is None or (compression and found not in TEXT_FORMATS) else (found, compression)


def make_input_file(url: str) -> InputFile:
    """An input file in its present state. Raises UnusableRequest or UnreadableInput."""
    found = format_of(url)
    if found is None:
        known = " ".join(FORMATS)
        raise UnusableRequest(
            f"{url}: unknown format; known suffixes: {known}, and .gz or .zst after the suffixes of text formats"
        )
    size, state = state_of(url)
    return InputFile(url, *found, size, state)
