"""Which columns of the sample each input of a model takes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from training.column_options import list_names
from training.errors import UsageError
from training.importing.import_options import Preprocessing
from training.importing.layer_graph import LayerGraph, ModelInput, Value
from training.importing.model_file import LOOKUPS


@dataclass(frozen=True)
class ColumnMatch:
    """columns: of each input, in order. coded: the columns whose levels a lookup of the model turns into numbers."""

    preprocessing: Preprocessing
    columns: dict[str, list[str]]
    coded: list[str]

    @property
    def all(self) -> list[str]:
        return [name for names in self.columns.values() for name in names]


def match_columns(graph: LayerGraph, columns: Sequence[str], requested: Preprocessing | None) -> ColumnMatch:
    """Decide by the names and the widths of the inputs. columns: of the sample, without the target.

    Raises UsageError if an input has no column, a column has two inputs, or the numbers differ.
    """
    coded = [given.name for number, given in enumerate(graph.inputs) if _is_coded(graph, number, given)]
    preprocessing = requested or ("inside" if len(graph.inputs) > 1 or coded else "none")
    if preprocessing != "inside" and (len(graph.inputs) > 1 or coded):
        what = f"{len(graph.inputs)} inputs" if len(graph.inputs) > 1 else "an input of names"
        raise UsageError(
            f"--preprocessing {preprocessing} is for a model with one matrix of numbers; this one has {what}: inside"
        )
    if preprocessing == "fit":
        return ColumnMatch("fit", {graph.inputs[0].name: list(columns)}, [])
    single = [given for given in graph.inputs if given.width == 1]
    matrices = [given for given in graph.inputs if given.width != 1]
    found = {given.name: [_column_of(given, graph.inputs, columns)] for given in single}
    taken = [name for names in found.values() for name in names]
    if len(set(taken)) < len(taken):
        twice = next(name for name in taken if taken.count(name) > 1)
        raise UsageError(f"column {twice!r} is taken by two inputs: rename one of the inputs")
    if len(matrices) > 1:
        raise UsageError(f"inputs {list_names([given.name for given in matrices])} all take several columns: which?")
    for given in matrices:
        found[given.name] = _matrix_columns(given, [name for name in columns if name not in taken])
    return ColumnMatch(preprocessing, found, [name for given in coded for name in found[given]])


def _is_coded(graph: LayerGraph, number: int, given: ModelInput) -> bool:
    """Whether lookups take an input, and nothing else does. Raises UsageError for text that anything else takes."""
    value = Value(-1 - number)
    users = [graph.calls[user] for user in graph.users(value)]
    others = [call for call in users if type(call.layer).__name__ not in LOOKUPS]
    if given.dtype == "string" and (others or given.width != 1):
        what = others[0].called if others else f"input {given.name!r}"
        raise UsageError(f"{what} takes text; only a StringLookup of one column can be described by the schema")
    if others and len(others) < len(users):
        raise UsageError(f"{others[0].called} takes the same values as a lookup, input {given.name!r}")
    return bool(users) and not others


def _column_of(given: ModelInput, inputs: Sequence[ModelInput], columns: Sequence[str]) -> str:
    """The column with the name of an input; of a model with one input and a sample with one column, that column."""
    if given.name in columns:
        return given.name
    similar = [name for name in columns if _plain(name) == _plain(given.name)]
    if len(similar) == 1:
        return similar[0]
    if len(inputs) == 1 and len(columns) == 1:
        return columns[0]
    raise UsageError(
        f"input {given.name!r} of the model has no column of that name in the sample, which has {list_names(columns)}"
    )


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").casefold()


def _matrix_columns(given: ModelInput, columns: list[str]) -> list[str]:
    if len(columns) != given.width:
        raise UsageError(
            f"input {given.name!r} takes {given.width} numbers, and the sample has {len(columns)} columns for it: "
            f"{list_names(columns)}. Leave columns out with --drop, or name the columns in their order with --schema; "
            "if the rows were scaled and encoded before training, see --preprocessing fit"
        )
    return columns
