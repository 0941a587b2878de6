"""Predictions as CSV."""

from typing import ClassVar

from models.formats.encoders import ALL, by_row, place, sentence, stopped
from models.json_text import numbers
from models.outputs import Answers
from models.rows import ValidatedRows
from models.tabular_model import TabularModel
from models.text import class_key
from service.errors import RequestError


def written(value: object) -> str:
    """One cell."""
    text = class_key(value)  # type: ignore[arg-type]  # str() of whatever it is
    return '"' + text.replace('"', '""') + '"' if set(text) & set('",\r\n') or text != text.strip() else text


class CsvEncoder:
    """One line for each row of the request, in order: `value`, or `label` and a `probability_…` for each class, then
    `warnings` and `error`. Where the answer ends too early, the `error` of its last line begins with `stopped:`."""

    kind: ClassVar[bytes] = b"text/csv; charset=utf-8"
    told: ClassVar[int] = ALL

    def __init__(self, model: TabularModel) -> None:
        classes = model.schema.classes
        self._labels = None if classes is None else [written(label).encode() + b"," for label in classes]
        names = ["value"] if classes is None else ["label", *(f"probability_{class_key(label)}" for label in classes)]
        self._names = [*names, "warnings", "error"]

    def head(self) -> bytes:
        return ",".join(map(written, self._names)).encode() + b"\n"

    def block(self, accepted: ValidatedRows, answers: Answers, first_row: int) -> bytes:
        lines = self._lines(answers)
        if not accepted.warnings and accepted.valid is None:
            return b"".join([line + b",,\n" for line in lines])
        said = {row: written(sentence(warnings)).encode() for row, warnings in accepted.warnings.items()}
        written_lines: list[bytes] = [b""] * accepted.count
        for row, line in enumerate(lines):
            written_lines[place(accepted, row)] = b"%s,%s,\n" % (line, said.get(row, b""))
        for row, errors in by_row(accepted, first_row).items():
            written_lines[row] = self._without_answer(sentence(errors))
        return b"".join(written_lines)

    def _lines(self, answers: Answers) -> list[bytes]:
        if not len(answers):
            return []
        if self._labels is None:
            return numbers(answers.reshape(-1)).split(b",")
        texts = numbers(answers)[1:-1].split(b"],[")
        return [self._labels[best] + text for best, text in zip(answers.argmax(axis=1).tolist(), texts, strict=True)]

    def _without_answer(self, error: str) -> bytes:
        return b"," * (len(self._names) - 1) + written(error).encode() + b"\n"

    def stop(self, error: RequestError) -> bytes:
        return self._without_answer(stopped(error))

    def end(self) -> bytes:
        return b""
