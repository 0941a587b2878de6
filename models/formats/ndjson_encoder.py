"""Encodes predictions as NDJSON: a line for each row."""

from typing import ClassVar

from models.formats.encoders import NO_LIMIT, StopReason, errors_by_row
from models.formats.json_encoder import JsonWriter
from models.json_text import dumps, error_entries
from models.outputs import Outputs
from models.rows import ValidatedRows


class NdjsonEncoder:
    """Writes a line for each row; the line of an invalid row is `{"errors": [...]}`. If the response ends early, its
    last line is `{"error": {...}}` with the problem document."""

    content_type: ClassVar[bytes] = b"application/x-ndjson"
    max_errors: ClassVar[int] = NO_LIMIT

    def __init__(self, writer: JsonWriter) -> None:
        self._writer = writer

    def head(self) -> bytes:
        return b""

    def block(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        if not accepted.warnings and accepted.valid is None:
            return self._writer.plain_lines(outputs)
        errors = errors_by_row(accepted, first_row)
        lines = [
            b'{"errors":%s}' % dumps(error_entries(errors.get(row, ()))) if entry is None else entry
            for row, entry in enumerate(self._writer.entries(accepted, outputs))
        ]
        return b"\n".join([*lines, b""])

    def stop(self, reason: StopReason) -> bytes:
        return b'{"error":%s}\n' % reason.document()

    def end(self) -> bytes:
        return b""
