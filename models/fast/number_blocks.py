"""Reads whole NDJSON and CSV bodies that contain only valid numbers, without creating an object for each row or cell.

The general code is `NdjsonDecoder` and `CsvDecoder`. The result is None for every other body, valid or not.
"""

import numpy as np

from models.formats.blocks import Block, ValidBlock
from models.frame import FloatMatrix
from models.number_rows import MIN_BYTES, NumberRows
from models.rows import from_valid_matrix, read_number_rows
from models.schema import FeatureSchema

COMMA, NEWLINE = b",\n"


def common_ndjson(schema: FeatureSchema, body: bytes, max_rows: int) -> Block | None:
    """The rows of an NDJSON body of common numbers; None for any other body."""
    rows = read_number_rows(schema, body.removesuffix(b"\n"), b"\n")
    return None if rows is None or rows.count > max_rows else ValidBlock(rows)


def common_csv(schema: FeatureSchema, body: bytes, max_rows: int) -> Block | None:
    """The rows of a CSV body in UTF-8 with commas between cells that are all JSON numbers; None for any other body."""
    reader = schema.number_rows
    if reader is None or len(body) < MIN_BYTES or not has_plain_cells(schema):
        return None
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n")
    header, _, text = body.removesuffix(b"\n").partition(b"\n")
    matrix = None if b"\r" in body else read_cells(reader, header, text)
    return None if matrix is None or len(matrix) > max_rows else ValidBlock(from_valid_matrix(schema, matrix))


def has_plain_cells(schema: FeatureSchema) -> bool:
    """Whether the cells of a CSV are numbers as in other formats, and every line after the header is a row."""
    return (
        schema.comment is None
        and schema.skip_rows is None
        and schema.footer_lines is None
        and schema.escape is None
        and schema.encoding is None
        and all(reader.reads_plain_numbers for reader in schema.readers.values())
    )


def read_cells(reader: NumberRows, header: bytes, text: bytes) -> FloatMatrix | None:
    """The cells of lines that all have as many cells as the header; None if a line has more or fewer."""
    order = reader.columns([name.strip() for name in header.split(b",")])
    if order is None:
        return None
    characters = np.frombuffer(text, np.uint8)
    line_ends = characters == NEWLINE
    ends = np.flatnonzero(line_ends | (characters == COMMA))
    width = len(order)
    rows, rest = divmod(len(ends) + 1, width)
    if rest or np.count_nonzero(line_ends) != rows - 1 or not line_ends[ends[width - 1 :: width]].all():
        return None
    return reader.matrix(b"[%b]" % text.replace(b"\n", b","), rows, order)
