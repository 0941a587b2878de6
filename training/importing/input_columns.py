"""Assigns the columns of the sample to the inputs of a model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.text import counted
from training.column_options import list_names
from training.errors import UsageError
from training.importing.import_options import Preprocessing
from training.importing.layer_graph import LayerGraph, ModelInput, Value
from training.importing.model_file import LOOKUPS


@dataclass(frozen=True)
class ColumnMatch:
    """The columns of each input, in order. coded: the columns whose levels a lookup of the model turns into numbers."""

    preprocessing: Preprocessing
    columns: dict[str, list[str]]
    coded: list[str]

    @property
    def names(self) -> list[str]:
        return [name for names in self.columns.values() for name in names]


def match_columns(graph: LayerGraph, columns: Sequence[str], requested: Preprocessing | None) -> ColumnMatch:
    """Match the inputs by name and width with columns of the sample. columns: without the target.

    Raises UsageError if an input has no column, a column has two inputs, or the numbers differ.
    """
    coded = [
        model_input.name for number, model_input in enumerate(graph.inputs) if _is_coded(graph, number, model_input)
    ]
    preprocessing = requested or ("inside" if len(graph.inputs) > 1 or coded else "none")
    if preprocessing != "inside" and (len(graph.inputs) > 1 or coded):
        what = f"{len(graph.inputs)} inputs" if len(graph.inputs) > 1 else "an input with a lookup"
        raise UsageError(
            f"--preprocessing {preprocessing} is for a model with one matrix of numbers; this model has {what}: "
            "use --preprocessing inside"
        )
    if preprocessing == "fit":
        return ColumnMatch("fit", {graph.inputs[0].name: list(columns)}, [])
    single = [model_input for model_input in graph.inputs if model_input.width == 1]
    matrices = [model_input for model_input in graph.inputs if model_input.width != 1]
    found = {model_input.name: [_column_of(model_input, graph.inputs, columns)] for model_input in single}
    taken = [name for names in found.values() for name in names]
    if len(set(taken)) < len(taken):
        twice = next(name for name in taken if taken.count(name) > 1)
        raise UsageError(f"column {twice!r} matches two inputs: rename one of the inputs")
    if len(matrices) > 1:
        raise UsageError(
            f"inputs {list_names([model_input.name for model_input in matrices])} all take several columns, "
            "so their columns are unclear"
        )
    for model_input in matrices:
        found[model_input.name] = _matrix_columns(model_input, [name for name in columns if name not in taken])
    return ColumnMatch(preprocessing, found, [name for input_name in coded for name in found[input_name]])


def _is_coded(graph: LayerGraph, number: int, model_input: ModelInput) -> bool:
    """Whether only lookups read an input. Raises UsageError if another layer reads text."""
    value = Value(-1 - number)
    users = [graph.calls[user] for user in graph.users(value)]
    others = [call for call in users if type(call.layer).__name__ not in LOOKUPS]
    if model_input.dtype == "string" and (others or model_input.width != 1):
        what = others[0].title if others else f"input {model_input.name!r}"
        raise UsageError(f"{what} takes text; only a StringLookup of one column can be described by the schema")
    if others and len(others) < len(users):
        raise UsageError(f"{others[0].title} takes the same values as a lookup, input {model_input.name!r}")
    return bool(users) and not others


def _column_of(model_input: ModelInput, inputs: Sequence[ModelInput], columns: Sequence[str]) -> str:
    """The column with the name of an input, or the only column if the model has one input."""
    if model_input.name in columns:
        return model_input.name
    similar = [name for name in columns if _normal_name(name) == _normal_name(model_input.name)]
    if len(similar) == 1:
        return similar[0]
    if len(inputs) == 1 and len(columns) == 1:
        return columns[0]
    raise UsageError(
        f"input {model_input.name!r} of the model has no column of that name in the sample, which has "
        f"{list_names(columns)}"
    )


def _normal_name(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").casefold()


def _matrix_columns(model_input: ModelInput, columns: list[str]) -> list[str]:
    if len(columns) != model_input.width:
        raise UsageError(
            f"input {model_input.name!r} takes {counted(model_input.width, 'number')}, "
            f"and the sample has {counted(len(columns), 'column')} for it: {list_names(columns)}. "
            "Leave columns out with --drop, or name the columns in their order with --schema; "
            "if the rows were scaled and encoded before training, see --preprocessing fit"
        )
    return columns
