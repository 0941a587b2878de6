"""Predictions as CSV, to the right of the columns of the body."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from models.columns import Column, Columns
from models.date_parsing import moment_text
from models.formats.csv_encoder import CsvEncoder, quoted
from models.formats.encoders import NO_LIMIT, StopReason
from models.formats.record_batches import encodable
from models.outputs import Outputs
from models.rows import ValidatedRows


class CsvInputsEncoder:
    """Writes one answer. Its header is known with the first block."""

    content_type: ClassVar[bytes] = CsvEncoder.content_type
    max_errors: ClassVar[int] = NO_LIMIT

    def __init__(self, predictions: CsvEncoder) -> None:
        self._predictions = predictions
        self._names: list[str] = []

    def head(self) -> bytes:
        return b",".join([*map(cell, self._names), self._predictions.head()])

    def block_with_inputs(self, inputs: Columns, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        self._names = [*inputs]
        columns = [cells(column, accepted.count) for column in inputs.values()]
        lines = self._predictions.lines(accepted, outputs, first_row)
        return b"".join([b",".join(line) for line in zip(*columns, lines, strict=True)])

    def block(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        return self.block_with_inputs({}, accepted, outputs, first_row)

    def stop(self, reason: StopReason) -> bytes:
        return b"," * len(self._names) + self._predictions.stop(reason)

    def end(self) -> bytes:
        return self._predictions.end()


def cells(column: Column, count: int) -> Sequence[bytes]:
    """The cell of each row: empty where there is no value."""
    values = [*map(text_of_moment, column.values)] if column.values.dtype.kind == "M" else column.values.tolist()
    found = [cell(value) for value in values] or [b""] * count
    if column.codes is not None and len(column.values):
        found = [found[code] for code in column.codes.tolist()]
    if column.missing is not None:
        for row in np.flatnonzero(column.missing).tolist():
            found[row] = b""
    return found


def text_of_moment(moment: np.datetime64) -> str | None:
    return None if np.isnat(moment) else moment_text(moment)


def cell(value: object) -> bytes:
    """One value as CSV has it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return b""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return quoted(encodable(value) or "").encode() if isinstance(value, str) else str(value).encode()
