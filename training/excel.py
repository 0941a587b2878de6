"""Reads Excel workbooks (.xlsx): the first sheet that has cells."""

import io
import zipfile
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from models.text import truncate
from training.errors import UsageError
from training.file_content import check_expansion
from training.raw_table import RawTable, check_names, column_of_cells

ERRORS = frozenset({"#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!"})
MAX_CELLS = 200_000_000
INSTALL = "an Excel workbook needs the package openpyxl: pip install 'tabserve[excel]'"
Row = Sequence[Any]


def read_excel(content: bytes, where: str, skip_rows: int) -> RawTable:
    """Read the first sheet that has cells. Formulas are read as their stored values. Raises UsageError."""
    sheets = _sheets(content, where)
    filled = [(title, rows) for title, rows in sheets if rows]
    if not filled:
        raise UsageError(f"{where} is an Excel workbook without cells")
    (title, rows), *others = filled
    rows = rows[skip_rows:]
    if len(rows) < 2:
        raise UsageError(f"{where} has column names but no rows (sheet {title!r})")
    header, *body = rows
    names = ["" if cell is None else str(cell).strip() for cell in header]
    width = max((index + 1 for index, name in enumerate(names) if name), default=0)
    _check_width(width, body, where, title)
    check_names(names[:width], where)
    columns = [_column([_cell(row, index) for row in body]) for index in range(width)]
    notices = [f"{where}: sheet {title!r} is read, not {', '.join(repr(name) for name, _ in others)}"] if others else []
    return RawTable(names[:width], columns, False, len(body), notices, {"format": "Excel", "sheet": title})


def _sheets(content: bytes, where: str) -> list[tuple[str, list[Row]]]:
    """The title and the rows of each sheet, without blank rows."""
    try:
        import openpyxl
    except ImportError:
        raise UsageError(INSTALL) from None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_expansion(sum(member.file_size for member in archive.infolist()), len(content), where)
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        return [(sheet.title, [*_rows(sheet, where)]) for sheet in book.worksheets]
    except UsageError:
        raise
    except Exception as error:  # openpyxl passes on any exception of its parsers
        message = truncate(" ".join(str(error).split()), 200)
        raise UsageError(f"{where} is an Excel workbook (.xlsx) that cannot be read: {message}") from None


def _rows(sheet: Any, where: str) -> Any:
    sheet.reset_dimensions()  # otherwise each row, even a blank row, is padded to the width that the sheet declares
    cells = 0
    for row in sheet.iter_rows(values_only=True):
        if any(cell not in (None, "") for cell in row):
            cells += len(row)
            if cells > MAX_CELLS:
                raise UsageError(f"{where} has more than {MAX_CELLS:,} cells; save the sheet as CSV")
            yield row


def _check_width(width: int, body: Sequence[Row], where: str, title: str) -> None:
    if width < 2:
        raise UsageError(
            f"{where}: the first row of sheet {title!r} must contain the column names, at least two "
            "(titles above them? use --skip-rows N)"
        )
    for number, row in enumerate(body, start=1):
        if any(cell is not None for cell in row[width:]):
            raise UsageError(
                f"{where}: row {number} below the header of sheet {title!r} has cells without a column name"
            )


def _cell(row: Row, index: int) -> Any:
    """Return a cell, or None if it is empty or its formula failed."""
    cell = row[index] if index < len(row) else None
    return None if isinstance(cell, str) and (cell in ERRORS or not cell.strip()) else cell


def _column(cells: list[Any]) -> Any:
    """Return a column of the cells' type if they all have one type; otherwise text, which is parsed like the cells of a
    CSV."""
    types = {type(cell) for cell in cells} - {type(None)}
    if types <= {date, datetime} and len(types) > 1:
        cells = [datetime(cell.year, cell.month, cell.day) if type(cell) is date else cell for cell in cells]
    if not types:
        return pa.nulls(len(cells))
    return column_of_cells(cells)
