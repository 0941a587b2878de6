"""Encodes predictions as CSV."""

from typing import ClassVar

from models.formats.encoders import NO_LIMIT, StopReason, errors_by_row, join_messages, row_position, stop_message
from models.output_columns import OutputSpec
from models.outputs import Outputs
from models.rows import ValidatedRows
from models.tabular_model import TabularModel
from models.text import class_key


def quote_cell(text: str) -> str:
    """Quote a text for a CSV cell if necessary."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set('",\r\n') or text != text.strip() else text


class CsvEncoder:
    """Writes a line for each row of the request, in order: the columns of the prediction, then `warnings` and `error`.
    If the response ends early, the `error` of its last line begins with `stopped:`. The encoder has no state, so it can
    write several responses."""

    content_type: ClassVar[bytes] = b"text/csv; charset=utf-8"
    max_errors: ClassVar[int] = NO_LIMIT

    def __init__(self, model: TabularModel, spec: OutputSpec | None = None) -> None:
        """spec: the columns of the predictions; None for the model's default columns."""
        spec = spec or model.output_spec
        self._tensors = [
            (tensor, [quote_cell(class_key(label)).encode() for label in tensor.categories]) for tensor in spec.tensors
        ]
        names = [*spec.column_names, "warnings", "error"]
        self._head = ",".join(map(quote_cell, names)).encode() + b"\n"
        self._no_cells = b"," * (len(names) - 1)

    def head(self) -> bytes:
        return self._head

    def block(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        if not accepted.warnings and accepted.valid is None:
            if len(self._tensors) == 1:
                tensor, categories = self._tensors[0]
                return tensor.lines(outputs, categories, b",,\n")
            return b",,\n".join([*self._cells(outputs), b""])
        return b"".join(self.lines(accepted, outputs, first_row))

    def lines(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> list[bytes]:
        """The line of each row."""
        warnings = {row: quote_cell(join_messages(found)).encode() for row, found in accepted.warnings.items()}
        all_lines: list[bytes] = [b""] * accepted.count
        for row, line in enumerate(self._cells(outputs)):
            all_lines[row_position(accepted, row)] = b"%s,%s,\n" % (line, warnings.get(row, b""))
        for row, errors in errors_by_row(accepted, first_row).items():
            all_lines[row] = self._error_line(join_messages(errors))
        return all_lines

    def _cells(self, outputs: Outputs) -> list[bytes]:
        """The cells of each valid row."""
        texts = [tensor.texts(outputs, categories) for tensor, categories in self._tensors]
        return texts[0] if len(texts) == 1 else [*map(b",".join, zip(*texts, strict=True))]

    def _error_line(self, error: str) -> bytes:
        return self._no_cells + quote_cell(error).encode() + b"\n"

    def stop(self, reason: StopReason) -> bytes:
        return self._error_line(stop_message(reason))

    def end(self) -> bytes:
        return b""
