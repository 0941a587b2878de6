"""Maps the columns of a row to the input matrix of an imported network, and the matrix to the model's inputs.

Numbers and booleans are the first columns of the matrix, in the order of the schema, then the codes of categories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.encoding.column_encodings import CodeEncoding, NumberEncoding, RawEncoding, stable_moments
from models.encoding.encoder import Encoder
from models.encoding.target_scaling import TargetScaling
from models.frame import Frame
from models.schema import FeatureSchema
from models.text import counted
from training.errors import UsageError
from training.importing.input_columns import ColumnMatch
from training.importing.layer_graph import ModelInput

Array = npt.NDArray[Any]
UNKNOWN = "\x1ftabserve: unknown"
UNKNOWN_NUMBER = -(2**31) + 7
"""A text and a number that do not occur in any vocabulary."""
MAX_TABLE_NUMBERS = 16_000_000  # maximum size of one table, which a version stores and a server loads


@dataclass(frozen=True)
class MatrixColumns:
    """Columns of the matrix that an input receives unchanged."""

    places: tuple[int, ...]


@dataclass(frozen=True)
class CodedColumn:
    """A column of codes that a table turns into columns: (levels + 1, columns), the last row for unseen levels."""

    place: int
    table: Array


InputParts = list[MatrixColumns | CodedColumn]


def make_encoder(
    schema: FeatureSchema, frame: Frame, target: npt.NDArray[np.float64] | None, columns: ColumnMatch
) -> Encoder:
    """The encoder of an imported model. frame: the rows of the sample. target: the target of a regression, else
    None."""
    numbers: list[Any] = []
    for feature, values in zip(schema.numeric, frame.numbers.T, strict=True):
        if columns.preprocessing == "fit" and feature.kind == "number":
            mean, deviation = stable_moments(values)
            numbers.append(NumberEncoding(name=feature.name, mean=mean, deviation=deviation, fill=0.0, missing=False))
        else:
            numbers.append(RawEncoding(name=feature.name))
    codes: list[Any] = [CodeEncoding(name=feature.name, count=feature.levels) for feature in schema.categorical]
    scaling = TargetScaling() if target is None else TargetScaling.fit(target)
    return Encoder(numbers=numbers, categories=codes, target=scaling)


def input_parts(schema: FeatureSchema, columns: ColumnMatch) -> dict[str, InputParts]:
    """The parts of the matrix for each input, without the inputs of `columns.coded`, which only lookups read."""
    places = {feature.name: place for place, feature in enumerate(schema.in_frame_order)}
    if columns.preprocessing != "fit":
        return {
            input_name: [MatrixColumns(tuple(places[name] for name in names))]
            for input_name, names in columns.columns.items()
            if not set(names) & set(columns.coded)
        }
    (input_name,) = columns.columns
    parts: InputParts = [MatrixColumns(tuple(range(len(schema.numeric))))] if schema.numeric else []
    parts += [CodedColumn(places[feature.name], one_hot(feature.levels)) for feature in schema.categorical]
    return {input_name: parts}


def one_hot(levels: int) -> Array:
    """(levels + 1, levels): a row for each level, zeros for an unseen level. Raises UsageError for too many levels."""
    check_table_size("a column for each level", levels + 1, levels)
    return np.eye(levels + 1, levels, dtype=np.float32)


def original_inputs(
    schema: FeatureSchema, encoder: Encoder, columns: ColumnMatch, frame: Frame, inputs: Sequence[ModelInput]
) -> dict[str, Array]:
    """The inputs of the original model for these rows, computed from the frame, with text for its text inputs."""
    numbers = {feature.name: frame.numbers[:, place] for place, feature in enumerate(schema.numeric)}
    codes = {feature.name: frame.codes[:, place] for place, feature in enumerate(schema.categorical)}
    levels = {feature.name: np.array([*(feature.seen.levels or ())], dtype=object) for feature in schema.categorical}
    if columns.preprocessing == "fit":
        scaled = [
            (numbers[part.name] - part.mean) / part.deviation
            if isinstance(part, NumberEncoding)
            else numbers[part.name]
            for part in encoder.numbers
        ]
        flags = [one_hot(len(levels[name]))[values] for name, values in codes.items()]
        matrix = np.concatenate([*(column[:, np.newaxis] for column in scaled), *flags], axis=1)
        return {inputs[0].name: matrix.astype(np.float32)}
    found = {}
    for model_input in inputs:
        names = columns.columns[model_input.name]
        if names[0] in codes:
            text = model_input.dtype == "string"
            known = [*(map(str, levels[names[0]]) if text else levels[names[0]]), UNKNOWN if text else UNKNOWN_NUMBER]
            values = np.array(known, dtype=object)[codes[names[0]]]  # the code of an unseen level is -1
            matrix = values.astype(object if text else model_input.dtype)[:, np.newaxis]
        else:
            matrix = np.stack([numbers[name] for name in names], axis=1).astype(model_input.dtype)
        found[model_input.name] = matrix[:, 0] if not model_input.shape else matrix
    return found


def check_table_size(title: str, rows: int, columns: int) -> None:
    """Raises UsageError for a table that is too large."""
    if rows * columns > MAX_TABLE_NUMBERS:
        size = f"{counted(rows, 'row', spec=',')} and {counted(columns, 'column', spec=',')}"
        raise UsageError(f"{title} would be a table of {size}: use an Embedding instead")
