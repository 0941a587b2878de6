"""The description of a prediction's columns, which all writers use.

A prediction contains `value`, or `label` and `probabilities`. To add a column, add an `OutputColumn` to the
`OutputSpec` of the model (`TabularModel.output_spec`) and its array to `Outputs.extras` (`TabularModel.predict`). JSON,
NDJSON, CSV, Arrow, Parquet, the tensor protocols, their metadata and /docs.json then contain it, too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Literal, Self

import numpy as np

from models.json_text import dumps, numbers, template_json
from models.outputs import Array, Outputs
from models.schema import FeatureSchema
from models.text import class_key

Label = bool | int | float | str
DType = Literal["float64", "float32", "int64", "bool", "text"]
Values = Callable[[Outputs], Array]
Cells = tuple[bytes, ...]  # the JSON texts of a row's values

JSON_TYPES: Mapping[DType, str] = {
    "float64": "number",
    "float32": "number",
    "int64": "integer",
    "bool": "boolean",
    "text": "string",
}


@dataclass(frozen=True, eq=False)
class OutputTensor:
    """Values of one type: one output of a tensor protocol, and one or more columns of a table."""

    name: str
    dtype: DType
    values: Values  # returns (rows,), or (rows, len(columns)) for a matrix; called by `array`
    columns: tuple[str, ...]  # names in CSV, Arrow and Parquet
    matrix: bool = False
    categories: tuple[Label, ...] = ()  # empty for a matrix; `values` are positions in it, `dtype` is its type

    def __post_init__(self) -> None:
        if self.matrix and self.categories:
            raise ValueError(f"output {self.name!r}: a matrix has no categories")
        if self.dtype == "text" and not self.categories:
            raise ValueError(f"output {self.name!r}: text needs categories")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of a row's values: () or (columns,)."""
        return (len(self.columns),) if self.matrix else ()

    @cached_property
    def json_categories(self) -> list[bytes]:
        return [*map(dumps, self.categories)]

    def array(self, outputs: Outputs) -> Array:
        """The values (rows, *row_shape); positions if there are categories."""
        if len(outputs.primary):
            return self.values(outputs)
        return np.empty((0, *self.row_shape), np.intp if self.categories else self.dtype)

    def texts(self, outputs: Outputs, categories: Sequence[bytes]) -> list[bytes]:
        """The values of each row as text; the values of a matrix are joined by commas. categories: the texts of
        `categories`."""
        if not len(outputs.primary):
            return []
        values = self.values(outputs)
        if self.matrix:
            return numbers(values)[1:-1].split(b"],[")
        if self.categories:
            return [categories[position] for position in values.tolist()]
        return numbers(values).split(b",")

    def lines(self, outputs: Outputs, categories: Sequence[bytes], end: bytes) -> bytes:
        """The same texts, each followed by `end`."""
        if self.categories or not len(outputs.primary):
            return b"".join([text + end for text in self.texts(outputs, categories)])
        values = numbers(self.values(outputs))
        return (values[1:-1].replace(b"],[", end) if self.matrix else values.replace(b",", end)) + end

    def json_texts(self, outputs: Outputs) -> list[bytes]:
        return self.texts(outputs, self.json_categories)

    def json_array(self, outputs: Outputs) -> bytes:
        """The values of all rows as a JSON array without its brackets."""
        if self.categories:
            return b",".join(self.json_texts(outputs))
        return numbers(self.values(outputs)) if len(outputs.primary) else b""

    def json_cells(self, outputs: Outputs) -> Iterator[Cells]:
        """The values of each row as JSON."""
        texts = self.json_texts(outputs)
        return (tuple(text.split(b",")) for text in texts) if self.matrix else ((text,) for text in texts)


@dataclass(frozen=True, eq=False)
class OutputColumn:
    """One key of a prediction: a value, a list, or an object of one or more tensors.

    A column that no template can write, such as a list whose length differs from row to row, overrides `json_values`.
    """

    key: str
    tensors: tuple[OutputTensor, ...]
    template: bytes  # the JSON of a row, with %s for each value of the tensors, in order
    json_schema: Mapping[str, Any]

    @classmethod
    def scalar(
        cls, name: str, dtype: DType, values: Values, *, title: str = "", categories: Sequence[Label] = ()
    ) -> Self:
        """A column with one value per row. values: returns (rows,)."""
        tensor = OutputTensor(name, dtype, values, (name,), categories=tuple(categories))
        kinds = sorted(set(map(json_type, categories))) or [JSON_TYPES[dtype]]
        schema = {"title": title or name.title(), "type": kinds[0] if len(kinds) == 1 else kinds}
        return cls(name, (tensor,), b"%s", schema)

    @classmethod
    def mapping(cls, name: str, dtype: DType, values: Values, keys: Sequence[str], columns: Sequence[str]) -> Self:
        """A column with one JSON object per row. values: returns (rows, len(keys))."""
        tensor = OutputTensor(name, dtype, values, tuple(columns), matrix=True)
        template = b"{%s}" % b",".join(template_json(key) + b":%s" for key in keys)
        return cls(name, (tensor,), template, mapping_schema(name.title(), keys, JSON_TYPES[dtype]))

    def json_values(self, outputs: Outputs) -> list[bytes]:
        """The JSON value of each row."""
        if self.template == b"%s":
            return self.tensors[0].json_texts(outputs)
        cells = [tensor.json_cells(outputs) for tensor in self.tensors]
        if len(cells) == 1:
            return [self.template % row for row in cells[0]]
        return [self.template % tuple(chain.from_iterable(row)) for row in zip(*cells, strict=True)]


class OutputSpec:
    """The columns of a prediction, in order.

    common: the name of a common form of predictions, for which a writer may have a fast path that reads
    `Outputs.primary` directly; None for all other predictions.
    """

    def __init__(self, columns: Sequence[OutputColumn], common: Literal["value", "classes"] | None = None) -> None:
        self.columns = tuple(columns)
        self.common = common
        self.tensors = tuple(chain.from_iterable(column.tensors for column in columns))
        self.column_names = [name for tensor in self.tensors for name in tensor.columns]
        for names in ([column.key for column in columns], [tensor.name for tensor in self.tensors], self.column_names):
            if len(set(names)) < len(names):
                raise ValueError(f"two outputs have the same name: {', '.join(names)}")
        self.by_name = {tensor.name: tensor for tensor in self.tensors}
        self._entry = b"{%s}" % b",".join(template_json(column.key) + b":%s" for column in columns)

    @classmethod
    def from_schema(cls, schema: FeatureSchema) -> Self:
        """The default columns: `value` of a regression, `label` and `probabilities` of a classification."""
        if schema.classes is None:
            return cls([OutputColumn.scalar("value", "float64", _values, title=schema.target)], "value")
        label_type = type_of_labels(schema.classes)
        label = OutputColumn.scalar(
            "label", label_type, _predicted_labels, title=schema.target, categories=schema.classes
        )
        keys = [class_key(one) for one in schema.classes]
        names = [f"probability_{key}" for key in keys]
        probabilities = OutputColumn.mapping("probabilities", "float32", _probabilities, keys, names)
        return cls([label, probabilities], "classes")

    def with_columns(self, *columns: OutputColumn) -> "OutputSpec":
        """The specification with more columns at the end."""
        return OutputSpec([*self.columns, *columns])

    def json_entries(self, outputs: Outputs) -> list[bytes]:
        """The prediction of each row as a JSON object, without warnings."""
        return [
            self._entry % row for row in zip(*[column.json_values(outputs) for column in self.columns], strict=True)
        ]


def _values(outputs: Outputs) -> Array:
    return outputs.primary[:, 0]


def _predicted_labels(outputs: Outputs) -> Array:
    winners: Array = outputs.primary.argmax(axis=1)
    return winners


def _probabilities(outputs: Outputs) -> Array:
    return outputs.primary


def type_of_labels(labels: Sequence[Label]) -> DType:
    """The type of labels; float64 for integers of more than 64 bits."""
    if all(isinstance(label, str) for label in labels):
        return "text"
    if all(isinstance(label, bool) for label in labels):
        return "bool"
    small = (isinstance(label, int) and -(2**63) <= label < 2**63 for label in labels)
    return "int64" if all(small) else "float64"


def mapping_schema(title: str, keys: Sequence[str], value_type: str) -> dict[str, Any]:
    """The JSON Schema of an object with all of these keys.

    The keys are not `properties`, because client generators convert properties to identifiers, and `<=50K` and `>50K`
    would get the same identifier.
    """
    described = f"An entry for each of: {', '.join(keys)}"
    values = {"type": value_type}
    return {"title": title, "description": described, "type": "object", "additionalProperties": values, "x-keys": keys}


def json_type(value: Label) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "integer" if isinstance(value, int) else "number"
