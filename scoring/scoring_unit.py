"""Units: the parts of the inputs, each of which is scored, written and listed as a whole."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from models.formats.errors import FormatError
from models.schema import FeatureSchema
from scoring.errors import UnreadableInput
from scoring.input_file import reason_of
from scoring.input_probe import ProbedInput, RowGroup
from scoring.text_ranges import csv_ranges, ndjson_ranges

UNIT_ROWS = 500_000  # maximum rows of the row groups that are scored together
UNIT_BYTES = 32 * 1024**2  # minimum size of a range of a text file


@dataclass(frozen=True)
class ScoringUnit:
    """A unit: consecutive rows of an input.

    name: the name of its output file, without the suffix. number: the index of the input. start, stop: row groups of a
    Parquet file or bytes of a text file; both are 0 for the whole file. first_row: the number of its first row in the
    file. weight: bytes of the input, for the progress. header_bytes: the size of the header if the unit is a range of a
    CSV.
    """

    name: str
    number: int
    start: int
    stop: int
    first_row: int
    weight: int
    header_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(**document)


DoneUnits = Mapping[str, Mapping[str, Any]]
"""The entries of the finished units, by unit name."""


def plan(
    inputs: list[ProbedInput], schema: FeatureSchema, done: DoneUnits, failed: Callable[[str, str], None]
) -> Iterator[ScoringUnit]:
    """All unfinished units, in order. The ranges of a text file are found only when they are needed.

    failed: called with an input that cannot be read, and the reason.
    """
    for number, probed in enumerate(inputs):
        try:
            for unit in _units_of(number, probed, schema, done):
                if unit.name not in done:
                    yield unit
        except UnreadableInput as error:
            failed(probed.input.url, str(error))


def _units_of(number: int, probed: ProbedInput, schema: FeatureSchema, done: DoneUnits) -> Iterator[ScoringUnit]:
    if probed.groups:
        return _row_group_units(number, probed.groups)
    if is_split(probed, schema):
        return _range_units(number, probed, done)
    return iter([ScoringUnit(unit_name(number, 0), number, 0, 0, 0, probed.input.size)])


def is_split(probed: ProbedInput, schema: FeatureSchema) -> bool:
    """Whether a text file is split into ranges. Only large, local, uncompressed UTF-8 files are split, because they are
    read twice."""
    found = probed.input
    splittable = found.is_local and not found.compression and (found.format == "ndjson" or probed.head is not None)
    return splittable and found.format in ("csv", "ndjson") and schema.encoding is None and found.size > UNIT_BYTES


def _row_group_units(number: int, groups: tuple[RowGroup, ...]) -> Iterator[ScoringUnit]:
    """Units of consecutive row groups with at most UNIT_ROWS rows, or of one larger row group."""
    start, first_row, part = 0, 0, 0
    while start < len(groups):
        stop, rows = start + 1, groups[start].rows
        while stop < len(groups) and rows + groups[stop].rows <= UNIT_ROWS:
            rows += groups[stop].rows
            stop += 1
        weight = sum(group.bytes for group in groups[start:stop])
        yield ScoringUnit(unit_name(number, part), number, start, stop, first_row, weight)
        start, first_row, part = stop, first_row + rows, part + 1


def _range_units(number: int, probed: ProbedInput, done: DoneUnits) -> Iterator[ScoringUnit]:
    """Units of the ranges of a text file. Finished ranges are not read again, because their entries contain their
    ends."""
    header_bytes = probed.head.stop if probed.head else 0
    start, first_row, part = header_bytes, 0, 0
    while (entry := done.get(unit_name(number, part))) is not None:
        start, first_row, part = entry["stop"], first_row + entry["rows"], part + 1
    try:
        with probed.input.open() as file:
            for found in (
                csv_ranges(file, start, probed.head, UNIT_BYTES)
                if probed.head
                else ndjson_ranges(file, start, UNIT_BYTES)
            ):
                name, weight = unit_name(number, part), found.stop - found.start
                yield ScoringUnit(name, number, found.start, found.stop, first_row, weight, header_bytes)
                first_row, part = first_row + found.rows, part + 1
    except (FormatError, OSError) as error:
        raise UnreadableInput(reason_of(error)) from None


def unit_name(number: int, part: int) -> str:
    return f"part-{number:05d}-{part:05d}"
