"""The rows of a CSV below its header, as Arrow batches of text columns. pyarrow parses them, block by block."""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.csv as arrow_csv

from models.text import counted, truncate
from training.errors import UsageError

MAX_FOOTER_LINES = 5
BLOCK_BYTES = 1 << 24  # Arrow parses this many bytes at once; no line may be longer


class ChunkReader(io.RawIOBase):
    """Chunks of bytes as a file that can be read once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes of a chunk, at most `size`; none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        end = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:end], self._rest[end:]
        return bytes(taken)


@dataclass
class CsvRows:
    """Parses rows with as many cells as the header; a few shorter lines at the end are left out.

    lines: number of lines up to the header's end. trailing: whether each row ends with a delimiter after which there is
    no cell. block_bytes: number of bytes that Arrow parses at once.
    """

    delimiter: str
    width: int
    where: str
    lines: int
    trailing: bool
    block_bytes: int = BLOCK_BYTES
    notices: list[str] = field(default_factory=list)
    rows: int = 0
    _ragged: list[Any] = field(default_factory=list)
    _filled: str | None = None  # a cell after the last delimiter of a row

    def batches(self, chunks: Iterable[bytes]) -> Iterator[Any]:
        """Arrow batches of text columns. Raises UsageError for a line with too few or too many cells.

        An error in the last line is found after all other rows were read. Notices are complete at the end.
        """
        try:
            for batch in self._parsed(chunks):
                self.rows += batch.num_rows
                yield self._without_trailing(batch)
        except pa.ArrowException as error:
            self._raise_error(str(error))
        self._check_footer()
        self._check_trailing()

    def _parsed(self, chunks: Iterable[bytes]) -> Iterator[Any]:
        rest = (chunk for chunk in chunks if chunk)
        first = next(rest, None)
        if first is None:
            return
        columns = [str(index) for index in range(self.width + self.trailing)]
        reader = ChunkReader(_joined(first, rest))
        yield from arrow_csv.open_csv(
            pa.PythonFile(reader, mode="r"),
            # One thread: with several, Arrow does not report the number of an invalid row.
            read_options=arrow_csv.ReadOptions(column_names=columns, use_threads=False, block_size=self.block_bytes),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=self._note_ragged
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.large_string()), strings_can_be_null=False
            ),
        )

    def _note_ragged(self, row: Any) -> str:
        self._ragged.append(row)
        return "skip" if len(self._ragged) <= MAX_FOOTER_LINES else "error"

    @property
    def footer_lines(self) -> int:
        """The lines at the end that were left out."""
        return len(self._ragged)

    def _check_footer(self) -> None:
        """Lines with fewer cells are a footer if no row follows."""
        if not self._ragged:
            return
        first, count = self._ragged[0], len(self._ragged)
        at_end = first.number > self.rows and self.rows > count
        if not at_end or any(row.actual_columns >= row.expected_columns for row in self._ragged):
            self._raise_ragged(first.number, first.actual_columns)
        self.notices.append(
            f"the last {count} lines are left out because they have fewer cells than the header: "
            f"{truncate(first.text, 60)!r}"
            if count > 1
            else f"the last line is left out because it has fewer cells than the header: {truncate(first.text, 60)!r}"
        )

    def _without_trailing(self, batch: Any) -> Any:
        if not self.trailing:
            return batch
        if self._filled is None:
            cells = batch.column(self.width).unique().to_pylist()
            self._filled = next((cell for cell in cells if cell.strip()), None)
        return batch.select(range(self.width))

    def _check_trailing(self) -> None:
        if not self.trailing:
            return
        if self._filled is not None:
            raise UsageError(
                f"most rows of {self.where} end with a {self.delimiter!r} after which no cell follows, but one row has "
                f"{truncate(self._filled)!r} there; the header has {counted(self.width, 'cell')}"
            )
        self.notices.append(f"each row ends with a {self.delimiter!r}: the empty cell after it is left out")

    def _raise_error(self, message: str) -> NoReturn:
        if self._ragged:
            first = self._ragged[0]
            self._raise_ragged(first.number, first.actual_columns)
        if "straddling object" in message or "quoted" in message:
            message = f"a line is longer than {self.block_bytes:,} bytes, or a quote is never closed"
        raise UsageError(
            f"{self.where} cannot be read as CSV: {truncate(re.sub(r'^.*?: ', '', message), 200)}"
        ) from None

    def _raise_ragged(self, row: int, found: int) -> NoReturn:
        raise UsageError(
            f"row {row} below the header of {self.where} (line {row + self.lines}, if none is blank) "
            f"has {counted(found, 'cell')}, the header has {self.width}"
        ) from None


def _joined(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
