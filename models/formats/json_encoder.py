"""Encodes predictions as JSON of the native protocol, at once or block by block."""

from collections.abc import Sequence
from typing import ClassVar

import orjson

from models.fast.json_entries import fastest_entries
from models.formats.encoders import StopReason
from models.json_text import dumps, error_entries
from models.output_columns import OutputSpec
from models.outputs import Outputs
from models.rows import MAX_LISTED_ERRORS, RowError, ValidatedRows
from models.tabular_model import TabularModel


class JsonWriter:
    """Writes the body of a response from arrays, without creating an object for each prediction."""

    def __init__(self, model: TabularModel, spec: OutputSpec | None = None) -> None:
        """spec: the columns of the predictions; None for the model's default columns."""
        self.head = b'{"model":%s,"version":%s,"predictions":[' % (dumps(model.name), dumps(model.version))
        self.spec = spec or model.output_spec
        self._entries = fastest_entries(self.spec)
        self._joined = self._entries.joined

    def write(self, accepted: ValidatedRows, outputs: Outputs, *, skip: bool = False) -> bytes:
        """The whole body of a response. outputs: the outputs of the valid rows. skip: whether invalid rows are
        skipped."""
        if not skip and not accepted.warnings:
            return self.write_plain(outputs)
        entries = b",".join([b"null" if entry is None else entry for entry in self.entries(accepted, outputs)])
        if not skip:
            return b"%s%s]}" % (self.head, entries)
        errors = dumps(error_entries(accepted.errors))
        return b'%s%s],"errors":%s,"errors_omitted":%d}' % (self.head, entries, errors, accepted.omitted)

    def entries(self, accepted: ValidatedRows, outputs: Outputs) -> Sequence[bytes | None]:
        """The prediction of each row of the request with its warnings; None for an invalid row."""
        entries = self._entries(outputs)
        for row, warnings in accepted.warnings.items():
            texts = [{"field": warning.field, "code": warning.code, "message": warning.message} for warning in warnings]
            entries[row] = b'%s,"warnings":%s}' % (entries[row][:-1], dumps(texts))
        if accepted.valid is None:
            return entries
        all_entries: list[bytes | None] = [None] * accepted.count
        for row, entry in zip(accepted.valid, entries, strict=True):
            all_entries[row] = entry
        return all_entries

    def plain_lines(self, outputs: Outputs) -> bytes:
        """The predictions, each followed by a line end, if all rows are valid and have no warnings."""
        return self._joined(outputs, b"\n") + b"\n" if len(outputs) else b""

    def write_plain(self, outputs: Outputs) -> bytes:
        """The body of the response if all rows are valid and have no warnings."""
        return b"%s%s]}" % (self.head, self._joined(outputs))

    def write_value(self, value: float) -> bytes:
        """The response body for one valid row of a regression without optional output columns."""
        return b'%s{"value":%s}]}' % (self.head, orjson.dumps(value))


class JsonEncoder:
    """Writes the same body as `JsonWriter`, block by block. If the response ends early, the last key, `error`, contains
    the problem document."""

    content_type: ClassVar[bytes] = b"application/json"
    max_errors: ClassVar[int] = MAX_LISTED_ERRORS

    def __init__(self, writer: JsonWriter, *, skip: bool) -> None:
        self._writer = writer
        self._skip = skip
        self._started = False
        self._errors: list[RowError] = []
        self._omitted = 0

    def head(self) -> bytes:
        return self._writer.head

    def block(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        room = MAX_LISTED_ERRORS - len(self._errors)
        self._errors += accepted.errors[:room]
        self._omitted += accepted.omitted + len(accepted.errors[room:])
        entries = b",".join([b"null" if entry is None else entry for entry in self._writer.entries(accepted, outputs)])
        started, self._started = self._started, True
        return b"," + entries if started else entries

    def stop(self, reason: StopReason) -> bytes:
        return b'],%s"error":%s}' % (self._error_list() + b"," if self._skip else b"", reason.document())

    def end(self) -> bytes:
        return b"],%s}" % self._error_list() if self._skip else b"]}"

    def _error_list(self) -> bytes:
        return b'"errors":%s,"errors_omitted":%d' % (dumps(error_entries(self._errors)), self._omitted)
