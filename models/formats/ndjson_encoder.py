"""Predictions as NDJSON: a line for each row."""

from typing import ClassVar

from models.formats.encoders import ALL, by_row
from models.json_text import dumps, listed
from models.outputs import Answers
from models.rows import ValidatedRows
from service.errors import RequestError
from service.protocols.native import Writer


class NdjsonEncoder:
    """A row that is not valid is `{"errors": [...]}`. Where the answer ends early, its last line is `{"error": {...}}`
    with the problem document."""

    kind: ClassVar[bytes] = b"application/x-ndjson"
    told: ClassVar[int] = ALL

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def head(self) -> bytes:
        return b""

    def block(self, accepted: ValidatedRows, answers: Answers, first_row: int) -> bytes:
        errors = by_row(accepted, first_row)
        return b"".join(
            b"%s\n" % (b'{"errors":%s}' % dumps(listed(errors.get(row, ()))) if entry is None else entry)
            for row, entry in enumerate(self._writer.entries(accepted, answers))
        )

    def stop(self, error: RequestError) -> bytes:
        return b'{"error":%s}\n' % error.document()

    def end(self) -> bytes:
        return b""
