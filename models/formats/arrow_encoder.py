"""Encodes predictions as an Arrow IPC stream."""

from typing import ClassVar

from models.formats.arrow_messages import END
from models.formats.encoders import NO_LIMIT, StopReason
from models.formats.record_batches import RecordBatchWriter, to_message
from models.outputs import Outputs
from models.rows import ValidatedRows


class ArrowEncoder:
    """Writes one record batch for each block."""

    content_type: ClassVar[bytes] = b"application/vnd.apache.arrow.stream"
    max_errors: ClassVar[int] = NO_LIMIT

    def __init__(self, batches: RecordBatchWriter) -> None:
        self._batches = batches

    def head(self) -> bytes:
        return self._batches.head

    def block(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        return self._batches.message(accepted, outputs, first_row)

    def stop(self, reason: StopReason) -> bytes:
        return to_message(self._batches.stop_row(reason)) + self.end()

    def end(self) -> bytes:
        return END
