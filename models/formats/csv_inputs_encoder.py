"""Encodes predictions as CSV columns that follow the columns of the request body."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from models.columns import Column, Columns
from models.date_parsing import moment_text
from models.formats.csv_encoder import CsvEncoder, quote_cell
from models.formats.encoders import NO_LIMIT, StopReason
from models.formats.record_batches import encodable
from models.outputs import Outputs
from models.rows import ValidatedRows


class CsvInputsEncoder:
    """Writes one response. Its header is known after the first block."""

    content_type: ClassVar[bytes] = CsvEncoder.content_type
    max_errors: ClassVar[int] = NO_LIMIT

    def __init__(self, predictions: CsvEncoder) -> None:
        self._predictions = predictions
        self._names: list[str] = []

    def head(self) -> bytes:
        return b",".join([*map(csv_cell, self._names), self._predictions.head()])

    def block_with_inputs(self, inputs: Columns, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        self._names = [*inputs]
        columns = [column_cells(column, accepted.count) for column in inputs.values()]
        lines = self._predictions.lines(accepted, outputs, first_row)
        return b"".join([b",".join(line) for line in zip(*columns, lines, strict=True)])

    def block(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        return self.block_with_inputs({}, accepted, outputs, first_row)

    def stop(self, reason: StopReason) -> bytes:
        return b"," * len(self._names) + self._predictions.stop(reason)

    def end(self) -> bytes:
        return self._predictions.end()


def column_cells(column: Column, count: int) -> Sequence[bytes]:
    """The CSV cell of each row; empty for a missing value."""
    values = [*map(date_text, column.values)] if column.values.dtype.kind == "M" else column.values.tolist()
    found = [csv_cell(value) for value in values] or [b""] * count
    if column.codes is not None and len(column.values):
        found = [found[code] for code in column.codes.tolist()]
    if column.missing is not None:
        for row in np.flatnonzero(column.missing).tolist():
            found[row] = b""
    return found


def date_text(moment: np.datetime64) -> str | None:
    return None if np.isnat(moment) else moment_text(moment)


def csv_cell(value: object) -> bytes:
    """One value as a CSV cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return b""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return quote_cell(encodable(value) or "").encode() if isinstance(value, str) else str(value).encode()
