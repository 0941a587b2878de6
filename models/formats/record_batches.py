"""Predictions as Arrow record batches."""

import functools
from typing import Any

import numpy as np

from models.formats.arrow_columns import start_of
from models.formats.encoders import by_row, place, sentence, stopped
from models.frame import Frame
from models.outputs import Answers
from models.rows import ValidatedRows
from models.tabular_model import TabularModel
from models.text import class_key
from service.errors import RequestError

KNOWN_ROWS = 4096  # of an answer whose form is kept


def answer_schema(model: TabularModel) -> Any:
    """`value`, or `label` and a `probability_…` for each class, then `warnings` and `error`, both text."""
    import pyarrow as pa

    classes = model.schema.classes
    if classes is None:
        fields = [pa.field("value", pa.float64())]
    else:
        label = pa.array(classes).type
        probabilities = [pa.field(f"probability_{class_key(one)}", pa.float32()) for one in classes]
        fields = [pa.field("label", label), *probabilities]
    texts = [pa.field("warnings", pa.string()), pa.field("error", pa.string())]
    return pa.schema([*fields, *texts], metadata={"model": model.name, "version": model.version})


class RecordBatchWriter:
    """Answers as record batches: one row for each row of the request, null where there is none to be given."""

    def __init__(self, model: TabularModel) -> None:
        import pyarrow as pa

        self.schema = answer_schema(model)
        self.head = message_of(self.schema)
        classes = model.schema.classes
        self._labels = None if classes is None else pa.array(classes)
        self._around = functools.lru_cache(16)(self._around_values)

    def message(self, accepted: ValidatedRows, answers: Answers, first_row: int) -> bytes:
        """A record batch as a message of a stream."""
        silent = accepted.valid is None and not accepted.warnings and not accepted.errors
        if self._labels is None and silent and accepted.count <= KNOWN_ROWS:
            before, after = self._around(accepted.count)
            return before + answers.astype(np.float64, copy=False).tobytes() + after
        return message_of(self.batch(accepted, answers, first_row))

    def _around_values(self, rows: int) -> tuple[bytes, bytes]:
        """What stands before and after the values of so many rows of which nothing is said."""
        import pyarrow as pa

        values = np.zeros((rows, 1))
        content = message_of(self.batch(ValidatedRows(Frame(values, np.empty((rows, 0), np.int64)), rows), values, 0))
        buffer = pa.py_buffer(content)
        start = start_of(pa.ipc.read_record_batch(buffer, self.schema).column(0), buffer)
        assert start is not None
        return content[:start], content[start + values.nbytes :]

    def batch(self, accepted: ValidatedRows, answers: Answers, first_row: int) -> Any:
        import pyarrow as pa

        columns = self._columns(answers)
        if accepted.valid is not None:
            gather = np.full(accepted.count, -1)
            gather[accepted.valid] = np.arange(len(accepted.valid))
            places = pa.array(gather, mask=gather < 0)
            columns = [column.take(places) for column in columns]
        warnings: list[str | None] = [None] * accepted.count
        for row, found in accepted.warnings.items():
            warnings[place(accepted, row)] = sentence(found)
        errors: list[str | None] = [None] * accepted.count
        for row, wrong in by_row(accepted, first_row).items():
            errors[row] = sentence(wrong)
        texts = [
            pa.array(list(map(sendable, said)), pa.string()) if any(said) else pa.nulls(accepted.count, pa.string())
            for said in (warnings, errors)
        ]
        return pa.record_batch([*columns, *texts], schema=self.schema)

    def _columns(self, answers: Answers) -> list[Any]:
        import pyarrow as pa

        if self._labels is None:
            return [pa.array(np.ascontiguousarray(answers.reshape(-1), dtype=np.float64))]
        if not len(answers):
            answers = np.empty((0, len(self._labels)), dtype=np.float32)
        best = self._labels.take(pa.array(answers.argmax(axis=1)))
        columns = np.ascontiguousarray(answers.T, dtype=np.float32)
        return [best, *map(pa.array, columns)]

    def stopped(self, error: RequestError) -> Any:
        """One more row, of no row of the request, whose `error` begins with `stopped:`."""
        import pyarrow as pa

        columns = [pa.nulls(1, field.type) for field in self.schema]
        return pa.record_batch([*columns[:-1], pa.array([sendable(stopped(error))])], schema=self.schema)


def sendable(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "replace").decode()


def message_of(part: Any) -> bytes:
    """A schema or a record batch as a message of a stream."""
    content: bytes = part.serialize().to_pybytes()
    return content
