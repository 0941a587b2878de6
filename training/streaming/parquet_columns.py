"""Reads the columns of local Parquet files, one column and row group at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as arrow_parquet

from training.arrow_tables import categorical_columns, exact_decimals, read_failure
from training.column_names import check_same_names
from training.errors import UsageError
from training.raw_table import RawTable, check_names
from training.streaming.part_columns import PartColumns


class ParquetColumns(PartColumns):
    """The columns of Parquet files, which have the same names in all files."""

    def __init__(self, paths: list[str]) -> None:
        """Read the schemas of the files. Raises UsageError."""
        self._parts: list[tuple[str, int]] = []  # path and row group
        self._rows: list[int] = []
        self.names: list[str] = []
        self._types: dict[str, Any] = {}
        self.categorical: set[str] = set()
        for path in paths:
            with readable(path):
                file = arrow_parquet.ParquetFile(path)
                names = file.schema_arrow.names
                groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            check_names(names, path)
            self.names = self.names or names
            check_same_names(self.names, names, paths[0], path)
            self._types = self._types or dict(zip(names, file.schema_arrow.types, strict=True))
            self.categorical |= categorical_columns(file.schema_arrow)
            self._parts += [(path, number) for number in range(len(groups))]
            self._rows += groups

    @property
    def part_rows(self) -> list[int]:
        return self._rows

    def __len__(self) -> int:
        return len(self.names)

    def type_of(self, index: int) -> Any:
        return self._types[self.names[index]]

    def convert(self, column: Any) -> Any:
        return exact_decimals(column)

    def read_part(self, index: int, part: int) -> Any:
        path, group = self._parts[part]
        name = self.names[index]
        with readable(path):
            table = arrow_parquet.ParquetFile(path).read_row_group(group, columns=[name], use_threads=False)
            column = table.column(name)
            column.validate(full=True)
        return column


def read_parquet(paths: list[str]) -> RawTable:
    """A table whose columns are read when they are needed. Raises UsageError."""
    columns = ParquetColumns(paths)
    rows = sum(columns.part_rows)
    if not rows:
        raise UsageError(f"{paths[0]} has no rows")
    origin = {"format": "Parquet"}
    return RawTable(
        columns.names, columns, True, rows, [], origin, categorical=frozenset(columns.categorical), spilled=True
    )


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Raises UsageError for a file that cannot be read."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise read_failure(path, "Parquet", error) from None
