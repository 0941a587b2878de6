"""Predictions as an Arrow IPC stream."""

from typing import ClassVar

from models.formats.arrow_messages import END
from models.formats.encoders import ALL
from models.formats.record_batches import RecordBatchWriter, message_of
from models.outputs import Answers
from models.rows import ValidatedRows
from service.errors import RequestError


class ArrowEncoder:
    kind: ClassVar[bytes] = b"application/vnd.apache.arrow.stream"
    told: ClassVar[int] = ALL

    def __init__(self, table: RecordBatchWriter) -> None:
        self._table = table

    def head(self) -> bytes:
        return self._table.head

    def block(self, accepted: ValidatedRows, answers: Answers, first_row: int) -> bytes:
        return self._table.message(accepted, answers, first_row)

    def stop(self, error: RequestError) -> bytes:
        return message_of(self._table.stopped(error)) + self.end()

    def end(self) -> bytes:
        return END
