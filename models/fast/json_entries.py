"""Writes the two common types of predictions as JSON, faster than column by column.

`ColumnEntries`, which iterates over the columns, is the general code. docs/performance.md lists how much time the other
classes save.
"""

from typing import Protocol

from models.json_text import numbers
from models.output_columns import OutputSpec
from models.outputs import Outputs


class Entries(Protocol):
    """The predictions of rows as JSON objects, without warnings."""

    def __call__(self, outputs: Outputs) -> list[bytes]: ...

    def joined(self, outputs: Outputs, separator: bytes = b",") -> bytes:
        """The JSON objects of all rows, with a separator between them."""
        ...


class ColumnEntries:
    """Writes any columns."""

    def __init__(self, spec: OutputSpec) -> None:
        self._spec = spec

    def __call__(self, outputs: Outputs) -> list[bytes]:
        return self._spec.json_entries(outputs)

    def joined(self, outputs: Outputs, separator: bytes = b",") -> bytes:
        return separator.join(self(outputs))


class ValueEntries:
    """Writes `value` only."""

    def __call__(self, outputs: Outputs) -> list[bytes]:
        if not len(outputs.primary):
            return []
        return [b'{"value":%s}' % value for value in numbers(outputs.primary.reshape(-1)).split(b",")]

    def joined(self, outputs: Outputs, separator: bytes = b",") -> bytes:
        if not len(outputs.primary):
            return b""
        return b'{"value":%s}' % numbers(outputs.primary.reshape(-1)).replace(b",", b'}%b{"value":' % separator)


class ClassEntries:
    """Writes `label` and `probabilities`: the template of a row already contains its label."""

    def __init__(self, spec: OutputSpec) -> None:
        label, probabilities = spec.columns
        self._templates = [
            b'{"label":%s,"probabilities":%s}' % (text.replace(b"%", b"%%"), probabilities.template)
            for text in label.tensors[0].json_categories
        ]

    def __call__(self, outputs: Outputs) -> list[bytes]:
        if not len(outputs.primary):
            return []
        winners = outputs.primary.argmax(axis=1).tolist()
        texts = numbers(outputs.primary)[1:-1].split(b"],[")
        templates = self._templates
        return [templates[winner] % tuple(text.split(b",")) for winner, text in zip(winners, texts, strict=True)]

    def joined(self, outputs: Outputs, separator: bytes = b",") -> bytes:
        primary = outputs.primary
        if len(primary) == 1:
            return self._templates[primary.argmax()] % tuple(numbers(primary)[1:-1].split(b","))
        return separator.join(self(outputs))


def fastest_entries(spec: OutputSpec) -> Entries:
    """The fastest writer for these output columns."""
    if spec.common == "value":
        return ValueEntries()
    return ClassEntries(spec) if spec.common == "classes" else ColumnEntries(spec)
