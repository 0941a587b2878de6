"""Encoded rows with their targets: in memory, or on disk for a large table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.encoding.encoder import Encoder
from models.frame import Frame
from training.streaming.spilled_frame import Indices, SpilledFrame
from training.streaming.stored_matrix import Matrix, StoredMatrix

Targets = npt.NDArray[Any]
EncodedMatrix = Matrix | StoredMatrix


@dataclass(frozen=True)
class EncodedRows:
    """x (rows, width): encoded rows; y (rows,): standardised values or class numbers."""

    x: EncodedMatrix
    y: Targets

    def take(self, rows: Indices) -> "EncodedRows":
        """Select rows; encoded rows on disk are not read yet."""
        x = self.x.select(rows) if isinstance(self.x, StoredMatrix) else self.x[rows]
        return EncodedRows(x, self.y[rows])


def encode_rows(encoder: Encoder, frame: Frame | SpilledFrame, y: Targets) -> EncodedRows:
    """All rows of a table, encoded. Raises OSError if the disk is full."""
    if isinstance(frame, Frame):
        return EncodedRows(encoder.encode(frame), y)
    matrix, start = StoredMatrix.reserve(frame.rows, encoder.width), 0
    for block in frame.blocks():
        matrix.write(start, encoder.encode(block))
        start += block.rows
    return EncodedRows(matrix, y)


def joined(parts: Sequence[EncodedRows]) -> EncodedRows:
    """Concatenate the rows of all parts, which belong to one table."""
    y = np.concatenate([part.y for part in parts])
    stored = [part.x for part in parts if isinstance(part.x, StoredMatrix)]
    if stored:
        return EncodedRows(stored[0].joined(stored[1:]), y)
    return EncodedRows(np.concatenate([part.x for part in parts]), y)
