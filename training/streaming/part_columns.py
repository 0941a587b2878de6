"""The columns of a table that is stored in parts: batches of a temporary file, or row groups of Parquet files."""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.text import truncate
from training.errors import UsageError

Indices = npt.NDArray[np.intp]


class PartColumns(Sequence[Any]):
    """Columns on disk: each look-up reads an Arrow column, part by part. kept: the numbers of the rows that are used,
    ascending; None for all."""

    kept: Indices | None = None

    @property
    @abstractmethod
    def part_rows(self) -> list[int]:
        """The number of rows of each part."""

    @abstractmethod
    def type_of(self, index: int) -> Any:
        """The Arrow type of a column; if there are several files, its type in the first file."""

    @abstractmethod
    def read_part(self, index: int, part: int) -> Any:
        """The chunked array of a column in one part."""

    def convert(self, column: Any) -> Any:
        """Convert the whole column, for example to another type."""
        return column

    def keep_rows(self, rows: Indices) -> Self:
        """The same columns with only these rows."""
        taken = copy.copy(self)
        taken.kept = rows
        return taken

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start, chunks = 0, []
        for part, rows in enumerate(self.part_rows):
            if self.kept is None:
                chunks.append(self.read_part(place, part))
            else:
                first, last = np.searchsorted(self.kept, [start, start + rows])
                if first < last:
                    chunks.append(self.read_part(place, part).take(pa.array(self.kept[first:last] - start)))
            start += rows
        return self.convert(joined_chunks(chunks))


def joined_chunks(chunks: list[Any]) -> Any:
    """Join chunks to one chunked array; types that differ between files are unified. Raises UsageError."""
    tables = [pa.table({"": chunk}) for chunk in chunks]
    try:
        return pa.concat_tables(tables, promote_options="permissive").column(0)
    except pa.ArrowException as error:
        message = truncate(" ".join(str(error).split()), 200)
        raise UsageError(f"the files have a column of different types: {message}") from None
