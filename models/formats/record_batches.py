"""Encodes predictions as Arrow record batches."""

import functools
from typing import Any

import numpy as np

from models.formats.arrow_columns import buffer_offset
from models.formats.encoders import StopReason, errors_by_row, join_messages, row_position, stop_message
from models.frame import Frame
from models.output_columns import OutputSpec, OutputTensor
from models.outputs import Outputs
from models.rows import ValidatedRows
from models.tabular_model import TabularModel

CACHED_ROWS = 4096  # the bytes around the values are cached for batches of up to this number of rows


def response_schema(model: TabularModel, spec: OutputSpec) -> Any:
    """The Arrow schema of a response: the columns of a prediction, then `warnings` and `error`, both text."""
    import pyarrow as pa

    columns = [pa.field(name, arrow_type(tensor)) for tensor in spec.tensors for name in tensor.columns]
    texts = [pa.field("warnings", pa.string()), pa.field("error", pa.string())]
    return pa.schema([*columns, *texts], metadata={"model": model.name, "version": model.version})


def arrow_type(tensor: OutputTensor) -> Any:
    import pyarrow as pa

    return pa.array(tensor.categories).type if tensor.categories else pa.from_numpy_dtype(np.dtype(tensor.dtype))


class RecordBatchWriter:
    """Writes one row for each row of the request. For an invalid row all columns except `error` are null."""

    def __init__(self, model: TabularModel, spec: OutputSpec | None = None) -> None:
        """spec: the columns of the predictions; None for the model's default columns."""
        import pyarrow as pa

        self._spec = spec or model.output_spec
        self.schema = response_schema(model, self._spec)
        self.head = to_message(self.schema)
        self._tensors = [
            (tensor, np.dtype(np.intp), pa.array(tensor.categories))
            if tensor.categories
            else (tensor, np.dtype(tensor.dtype), None)
            for tensor in self._spec.tensors
        ]
        self._around_values = functools.lru_cache(16)(self._split_message)

    def message(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> bytes:
        """A record batch as a message of a stream."""
        fast = self._fast_message(accepted, outputs)
        return to_message(self.batch(accepted, outputs, first_row)) if fast is None else fast

    def _fast_message(self, accepted: ValidatedRows, outputs: Outputs) -> bytes | None:
        """The message for a small batch of plain values without warnings or errors; None for any other batch. pyarrow
        writes the bytes around the values only once per number of rows."""
        plain = accepted.valid is None and not accepted.warnings and not accepted.errors
        if self._spec.common != "value" or not plain or accepted.count > CACHED_ROWS:
            return None
        before, after = self._around_values(accepted.count)
        return before + outputs.primary.astype(np.float64, copy=False).tobytes() + after

    def _split_message(self, rows: int) -> tuple[bytes, bytes]:
        """The bytes before and after the values in a message of `rows` rows without warnings or errors."""
        import pyarrow as pa

        values = np.zeros((rows, 1))
        accepted = ValidatedRows(Frame(values, np.empty((rows, 0), np.int64)), rows)
        content = to_message(self.batch(accepted, Outputs(values), 0))
        buffer = pa.py_buffer(content)
        start = buffer_offset(pa.ipc.read_record_batch(buffer, self.schema).column(0), buffer)
        assert start is not None
        return content[:start], content[start + values.nbytes :]

    def batch(self, accepted: ValidatedRows, outputs: Outputs, first_row: int) -> Any:
        import pyarrow as pa

        columns = self._arrays(outputs)
        if accepted.valid is not None:
            gather = np.full(accepted.count, -1)
            gather[accepted.valid] = np.arange(len(accepted.valid))
            places = pa.array(gather, mask=gather < 0)
            columns = [column.take(places) for column in columns]
        warnings: list[str | None] = [None] * accepted.count
        for row, found in accepted.warnings.items():
            warnings[row_position(accepted, row)] = join_messages(found)
        errors: list[str | None] = [None] * accepted.count
        for row, row_errors in errors_by_row(accepted, first_row).items():
            errors[row] = join_messages(row_errors)
        texts = [
            pa.array(list(map(encodable, column)), pa.string()) if any(column) else pa.nulls(len(column), pa.string())
            for column in (warnings, errors)
        ]
        return pa.record_batch([*columns, *texts], schema=self.schema)

    def _arrays(self, outputs: Outputs) -> list[Any]:
        """An array for each column of the predictions."""
        import pyarrow as pa

        arrays: list[Any] = []
        for tensor, dtype, categories in self._tensors:
            values = np.ascontiguousarray(tensor.array(outputs).T, dtype)  # (columns, rows) for a matrix
            if tensor.matrix:
                arrays += map(pa.array, values)
            else:
                arrays.append(pa.array(values) if categories is None else categories.take(pa.array(values)))
        return arrays

    def stop_row(self, reason: StopReason) -> Any:
        """A record batch with an additional row, whose `error` begins with `stopped:`."""
        import pyarrow as pa

        columns = [pa.nulls(1, field.type) for field in self.schema]
        return pa.record_batch([*columns[:-1], pa.array([encodable(stop_message(reason))])], schema=self.schema)


def encodable(text: str | None) -> str | None:
    """The text without lone surrogates, which UTF-8 cannot encode."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def to_message(part: Any) -> bytes:
    """A schema or a record batch as a message of a stream."""
    content: bytes = part.serialize().to_pybytes()
    return content
