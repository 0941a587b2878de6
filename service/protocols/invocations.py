"""MLflow's scoring protocol, which SageMaker and Vertex AI share: converts bodies to rows, and outputs to bodies. Pure
functions.

`instances` and `inputs` are read as in TF Serving, `dataframe_split` and `dataframe_records` as pandas writes them. A
regression returns numbers. A classification returns the objects of the native API, so that clients need not know the
order of the classes.
"""

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models.formats.blocks import Block, decode_whole, first_repeated
from models.formats.csv_decoder import CsvDecoder, delimiter_of, without_extra_lines
from models.formats.json_encoder import JsonWriter
from models.formats.text_encoding import to_utf8
from models.json_text import dumps
from models.output_columns import OutputColumn, OutputSpec
from models.outputs import Outputs
from models.rows import RowError
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import class_key, counted, truncate
from service.error_mapping import translate_format_errors
from service.errors import RequestError, TooManyRows
from service.protocols import error_text
from service.protocols.parsing import error_entry, invalid_request
from service.protocols.tfserving import cell_value, check_count, read_inputs, read_instances, read_object

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
PARAMETERS = ("params", "parameters")  # the names in MLflow and in Vertex AI
CODES = {
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""MLflow's error code for each status; BAD_REQUEST for other statuses."""


class InvocationsRequest(NamedTuple):
    """The rows of a request. parameters: the content of `params` and `parameters`."""

    rows: list[Any]
    parameters: Mapping[str, Any]


def read(schema: FeatureSchema, body: bytes, max_rows: int) -> InvocationsRequest:
    """Parse a JSON body. Raises BadJson, RequestNotValid or TooManyRows."""
    document = read_object(body)
    found = [key for key in FORMATS if key in document]
    if len(found) != 1:
        keys = ", ".join(truncate(key) for key in list(document)[:20]) or "none"
        message = f"The input must be a JSON dictionary with exactly one of the input fields {', '.join(FORMATS)}"
        raise invalid_request([error_entry("missing_rows", f"{message}; received {keys}")])
    (key,) = found
    content = document[key]
    if key == "dataframe_split":
        rows = read_split(content, max_rows)
    elif key == "inputs":
        rows = read_inputs(schema, content, max_rows)
    else:
        rows = read_instances(schema, content, max_rows, key)
    return InvocationsRequest(rows, parameters_of(document))


def parameters_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters under both names. Unknown parameters are ignored, as MLflow ignores undeclared parameters."""
    found = [parameters for key in PARAMETERS if isinstance(parameters := document.get(key), dict)]
    return {name: value for parameters in found for name, value in parameters.items()}


def read_split(content: Any, max_rows: int) -> list[Any]:
    """`{"columns": [...], "data": [[...], ...]}`, the format of `DataFrame.to_dict("split")`; `index` is ignored."""
    if not isinstance(content, dict) or not isinstance(columns := content.get("columns"), list):
        message = "'dataframe_split' is not an object with lists of 'columns' and 'data'"
        raise invalid_request([error_entry("wrong_type", message, "dataframe_split")])
    if not all(isinstance(name, str) for name in columns):
        raise invalid_request([error_entry("wrong_type", "'columns' has a name that is not a string", "columns")])
    if (name := first_repeated(columns)) is not None:
        raise invalid_request([error_entry("unknown_key", f"'columns' names {truncate(name)!r} twice", truncate(name))])
    data = content.get("data")
    check_count(data, max_rows, "data")
    assert isinstance(data, list)
    values = counted(len(columns), "value")
    errors = [
        RowError(number, None, "wrong_type", f"row {number}: not a list of {values}, one per column")
        for number, row in enumerate(data)
        if not isinstance(row, list) or len(row) != len(columns)
    ]
    if errors:
        raise invalid_request(errors)
    return [dict(zip(columns, map(cell_value, row), strict=True)) for row in data]


def decode_text(schema: FeatureSchema, body: bytes, declared: str | None) -> bytes:
    """A CSV, converted to UTF-8 from the declared encoding or from that of the training file, without titles and
    comments like those of the training file. Raises BadBody."""
    with translate_format_errors():
        text = to_utf8(body, declared or schema.encoding, declared=declared is not None)
        return without_extra_lines(text, schema)


def with_header(schema: FeatureSchema, body: bytes, header: bytes = b"") -> bytes:
    """A CSV with a header line. If the body has no header line, the columns of the schema are added in their order.

    header: `present` or `absent` as in the content type; otherwise a first line with any column name is a header.
    SageMaker's batch jobs split a file, so only the first part could have a header.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    if header == b"present":
        return body
    names = [feature.name for feature in schema.features]
    first = body.lstrip(b"\r\n").partition(b"\n")[0].decode(errors="replace")
    try:
        cells = next(csv.reader([first], delimiter=delimiter_of(first, schema)), [])
    except csv.Error:  # `read_csv` will report the error
        return body
    if header != b"absent" and not schema.unused.union(names).isdisjoint(cell.strip() for cell in cells):
        return body
    return csv_line(names) + body


def read_csv(schema: FeatureSchema, body: bytes, max_rows: int) -> Block:
    """Decode a CSV with a header line. Raises BadBody, RequestNotValid or TooManyRows."""
    with translate_format_errors():
        block = decode_whole(CsvDecoder(schema, max_rows, len(body)), body)
    if block is None:
        raise TooManyRows(body.count(b"\n"), max_rows)
    return block


def csv_line(cells: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


class InvocationsWriter(JsonWriter):
    """Writes the native API's objects, with Vertex AI's names for the ends of an interval."""

    def __init__(self, model: TabularModel) -> None:
        super().__init__(model, with_vertex_bounds(model.output_spec))


def with_vertex_bounds(spec: OutputSpec) -> OutputSpec:
    """The same columns with `lower_bound` and `upper_bound` in place of the object `interval`."""
    if not any(column.key == "interval" for column in spec.columns):
        return spec
    columns: list[OutputColumn] = []
    for column in spec.columns:
        if column.key == "interval":
            columns += [
                OutputColumn.scalar(name, "float64", tensor.values)
                for name, tensor in zip(("lower_bound", "upper_bound"), column.tensors, strict=True)
            ]
        else:
            columns.append(column)
    return OutputSpec(columns)


def write(writer: JsonWriter, outputs: Outputs) -> bytes:
    """The JSON response: a number for each row if the model has one value as output, else the native API's objects."""
    if writer.spec.common != "value":
        return writer.write_plain(outputs)
    return b"%s%s]}" % (writer.head, writer.spec.tensors[0].json_array(outputs))


def write_csv(spec: OutputSpec, outputs: Outputs) -> bytes:
    """The CSV response: a line for each row and no header, so that SageMaker's batch jobs can join it to the input.

    The columns are the value, or the label and the probability of each class, then any further output columns.
    """
    if spec.common == "value":
        return spec.tensors[0].json_array(outputs).replace(b",", b"\n") + b"\n"
    texts = [
        tensor.texts(outputs, [csv_line([class_key(label)])[:-1] for label in tensor.categories])
        for tensor in spec.tensors
    ]
    return b"\n".join(map(b",".join, zip(*texts, strict=True))) + b"\n"


def error_body(error: RequestError) -> bytes:
    return dumps({"error_code": CODES.get(error.status, "BAD_REQUEST"), "message": error_text.sentence(error)})
