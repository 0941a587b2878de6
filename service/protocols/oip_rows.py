"""Converts the input tensors of a request to validated rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.column_validation import validate_columns
from models.columns import Array, Column
from models.date_parsing import EPOCH_UNITS
from models.fast.common_numbers import common_columns, common_matrix
from models.feature import Feature
from models.json_text import short_floats
from models.rows import RowError, ValidatedRows, validate_rows
from models.schema import FeatureSchema
from models.text import counted, did_you_mean, render, truncate
from service.error_mapping import require_valid
from service.errors import TooManyRows
from service.protocols.oip_tensors import NUMBERS, InferRequest, InputTensor, Parameters, as_array, invalid_input
from service.protocols.parsing import error_entry, invalid_request

BOOLEANS = {"true": True, "false": False}


def validate_inputs(schema: FeatureSchema, inference: InferRequest, max_rows: int) -> ValidatedRows:
    """Validate the rows in the input tensors. Raises RequestNotValid, RowsNotValid or TooManyRows."""
    skip = inference.skip
    fast = fast_matrix(schema, inference.inputs, max_rows) or fast_columns(schema, inference.inputs, max_rows)
    if fast is not None:
        return fast
    inputs = columns_of_matrix(schema, inference.inputs)
    count = row_count(inputs, max_rows)
    check_names(schema, inputs)
    used = [tensor for tensor in inputs if tensor.name in schema.by_name]
    values = [cells(schema.by_name[tensor.name], tensor, inference.parameters) for tensor in used]
    names = [tensor.name for tensor in used]
    if any(isinstance(tensor.data, np.ndarray) for tensor in used):
        arrays = dict(zip(names, map(as_array, values), strict=True))
        return require_valid(validate_arrays(schema, arrays, count), skip=skip)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    return require_valid(validate_rows(schema, rows or [{}] * count), skip=skip)


def fast_matrix(schema: FeatureSchema, inputs: list[InputTensor], max_rows: int) -> ValidatedRows | None:
    """The rows of one binary tensor [rows, features] if all rows are valid and have no warnings, else None."""
    if not is_matrix(schema, inputs):
        return None
    (matrix,) = inputs
    count, width = matrix.shape
    if not isinstance(matrix.data, np.ndarray) or matrix.datatype not in NUMBERS or count > max_rows:
        return None
    frame = common_matrix(schema, matrix.data.reshape(count, width))
    return None if frame is None else ValidatedRows(frame, count)


def fast_columns(schema: FeatureSchema, inputs: list[InputTensor], max_rows: int) -> ValidatedRows | None:
    """The rows of one binary tensor per feature if all rows are valid and have no warnings, else None."""
    if not inputs or len(inputs) != len(schema.features):
        return None
    count = inputs[0].shape[0]
    arrays = {
        tensor.name: tensor.data
        for tensor in inputs
        if isinstance(tensor.data, np.ndarray) and (len(tensor.shape) == 1 or tensor.shape[1] == 1)
    }
    frame = common_columns(schema, arrays, count) if count <= max_rows else None
    return None if frame is None else ValidatedRows(frame, count)


def is_matrix(schema: FeatureSchema, inputs: list[InputTensor]) -> bool:
    """Whether the only input is a matrix of all features. It may have any name; the model has only number features."""
    is_single = len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].name not in schema.by_name
    return is_single and schema.only_numbers


def validate_arrays(schema: FeatureSchema, arrays: Mapping[str, Array], count: int) -> ValidatedRows:
    """Validate columns. After errors or warnings, 32-bit floats are validated again with their shortest digits."""
    validated = validate_columns(schema, {name: Column(array) for name, array in arrays.items()}, count)
    if not (validated.warnings or validated.errors) or not any(map(is_narrow, arrays.values())):
        return validated
    return validate_columns(schema, {name: Column(widen_floats(array)) for name, array in arrays.items()}, count)


def columns_of_matrix(schema: FeatureSchema, inputs: list[InputTensor]) -> list[InputTensor]:
    """Split a matrix of all features into one tensor per feature. Other inputs are returned unchanged."""
    if not is_matrix(schema, inputs):
        return inputs
    matrix, width = inputs[0], len(schema.features)
    if matrix.shape[1] != width:
        names = truncate(", ".join(feature.name for feature in schema.features), 200)
        columns, features = counted(matrix.shape[1], "column"), counted(width, "feature")
        message = f"input {truncate(matrix.name)!r} has {columns}, expected the {features}: {names}"
        raise invalid_input("bad_tensor", message, matrix.name)
    rows = matrix.shape[0]
    return [
        InputTensor(feature.name, matrix.datatype, (rows,), matrix.data[position::width], matrix.parameters)
        for position, feature in enumerate(schema.features)
    ]


def row_count(inputs: Sequence[InputTensor], max_rows: int) -> int:
    """The number of rows. Raises RequestNotValid if the inputs have different numbers of rows, or TooManyRows."""
    if not inputs:
        raise invalid_input("empty_rows", "there are no inputs, expected a tensor for each feature")
    count = inputs[0].shape[0]
    for tensor in inputs:
        name, shape = tensor.name, tensor.shape
        if shape[0] != count:
            first = inputs[0].name
            rows = counted(shape[0], "row")
            message = f"input {truncate(name)!r} has {rows}, and input {truncate(first)!r} has {count}"
            raise invalid_input("bad_tensor", message, name)
        if len(shape) == 2 and shape[1] != 1:
            message = f"input {truncate(name)!r}: its shape {list(shape)} is not [{count}] or [{count}, 1]"
            raise invalid_input("bad_tensor", message, name)
    if count > max_rows:
        raise TooManyRows(count, max_rows)
    if count == 0:
        raise invalid_input("empty_rows", "the inputs have no rows, expected one row or more")
    return count


def check_names(schema: FeatureSchema, inputs: Sequence[InputTensor]) -> None:
    """Raises RequestNotValid for unknown or missing columns and for unsuitable datatypes."""
    errors: list[RowError] = []
    known, names = schema.by_name, {tensor.name for tensor in inputs}
    if len(names) < len(inputs):
        raise invalid_input("bad_tensor", "two inputs have the same name")
    for tensor in inputs:
        name = tensor.name
        feature = known.get(name)
        if feature is not None:
            if tensor.datatype not in accepted_datatypes(feature):
                found, expected = tensor.datatype, ", ".join(accepted_datatypes(feature))
                message = f"input {truncate(name)!r}: {found} does not fit a {feature.kind} column, expected {expected}"
                errors.append(error_entry("wrong_type", message, name))
        elif name not in schema.unused:
            message = f"input {truncate(name)!r}: the table has no such column{did_you_mean(name, known)}"
            errors.append(error_entry("unknown_field", message, truncate(name)))
    if len(names) < len(known) or errors:
        for feature in schema.features:
            if feature.name not in names and not feature.nullable:
                message = f"input {feature.name!r}: is absent, and it was never missing in training"
                errors.append(error_entry("missing_field", message, feature.name))
    if errors:
        raise invalid_request(errors)


def accepted_datatypes(feature: Feature) -> tuple[str, ...]:
    """The datatypes that a column accepts."""
    if feature.kind == "number" or (feature.kind == "category" and feature.level_type == "number"):
        return (*NUMBERS, "BYTES") if feature.cells.reads_text else NUMBERS
    if feature.kind == "date" and feature.date_format in EPOCH_UNITS:
        return ("BYTES", *NUMBERS)
    if feature.kind == "boolean" or (feature.kind == "category" and feature.level_type == "boolean"):
        return ("BOOL", "BYTES")
    return ("BYTES",)


def cells(feature: Feature, tensor: InputTensor, parameters: Parameters) -> list[Any] | Array:
    """The elements of a tensor as JSON values of a row, None for a missing value."""
    data = tensor.data
    if tensor.datatype == "BYTES":
        return texts(feature, tensor, parameters)
    if isinstance(data, np.ndarray):
        return data
    return [None if value != value else value for value in data]  # only NaN differs from itself


def texts(feature: Feature, tensor: InputTensor, parameters: Parameters) -> list[Any] | Array:
    """The elements of a BYTES tensor: the names of booleans converted, None for the text in the parameter `missing`."""
    values = tensor.data
    missing = tensor.parameters.get("missing", parameters.get("missing"))
    if missing is not None:
        if not isinstance(missing, str):
            raise invalid_input("unknown_option", f"missing={render(missing)} is not a string", "missing")
        values = [None if value == missing else value for value in values]
    if "BOOL" in accepted_datatypes(feature):
        values = [BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value for value in values]
    return values


def is_narrow(array: Array) -> bool:
    """Whether the values are floats of less than 64 bits, the precision of the schema's limits."""
    return array.dtype.kind == "f" and array.dtype.itemsize < 8


def widen_floats(array: Array) -> Array:
    """32-bit floats as 64-bit floats with the same shortest digits: 0.1 stays 0.1 and is not above a limit of 0.1."""
    if not is_narrow(array):
        return array
    wide, finite = array.astype(np.float64), np.isfinite(array)
    wide[finite] = short_floats(array[finite].astype(np.float32))
    return wide
