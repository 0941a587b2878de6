"""The decoded size of a Parquet file is computed before decoding, and does not depend on what the file declares."""

import io
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.formats import parquet_pages
from models.formats.errors import FormatError, TooLarge
from models.formats.parquet_decoder import ParquetDecoder
from models.formats.thrift_compact import ThriftError, ThriftReader
from tests.models.income import SCHEMA

TEXTS = pa.table({"job": ["clerk", "pilot", None] * 1000})


def file_of(table: pa.Table, **options: Any) -> io.BytesIO:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink


def pages_of(table: pa.Table, **options: Any) -> parquet_pages.ColumnPages:
    file = file_of(table, **options)
    return parquet_pages.read_column_pages(file, pq.ParquetFile(file).metadata, ["job"])["job"]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd", "snappy", "gzip"])
@pytest.mark.parametrize("row_group_size", [10, 100_000])
def test_the_pages_of_a_column_are_found(version: str, compression: str, row_group_size: int) -> None:
    options = {"compression": compression, "row_group_size": row_group_size, "data_page_version": version}
    plain, dictionary = (pages_of(TEXTS, use_dictionary=use, **options) for use in (False, True))
    assert not plain.has_dictionary
    assert dictionary.has_dictionary
    size = sum(
        pq.ParquetFile(file_of(TEXTS, use_dictionary=False, compression="none", row_group_size=100_000))
        .metadata.row_group(0)
        .column(0)
        .total_uncompressed_size
        for _ in range(1)
    )
    assert plain.decompressed_bytes == pytest.approx(size, rel=0.5)


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_delta_encodings_of_pages_are_detected(encoding: str) -> None:
    pages = pages_of(TEXTS, use_dictionary=False, column_encoding={"job": encoding})
    assert (pages.has_deltas, pages.repeats) == (True, encoding == "DELTA_BYTE_ARRAY")


def test_a_large_page_is_refused_before_it_is_decompressed() -> None:
    table = pa.table({"job": ["x" * 10**6] * 20})
    with pytest.raises(TooLarge):
        pages_of(table, use_dictionary=False, compression="zstd", data_page_size=10**9)


def test_a_column_with_fewer_values_than_rows_is_refused() -> None:
    file = file_of(pa.table({"job": [["a"], ["b", "c"]]}))
    metadata = pq.ParquetFile(file).metadata
    name = metadata.row_group(0).column(0).path_in_schema
    with pytest.raises(FormatError):
        parquet_pages.read_column_pages(file, metadata, [name])


def test_a_large_footer_is_refused() -> None:
    content = bytes(5 * 1024**2)
    file = io.BytesIO(b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(TooLarge):
        parquet_pages.check_footer(file)


def test_bytes_without_a_footer_are_left_to_pyarrow() -> None:
    parquet_pages.check_footer(io.BytesIO(b"PAR1" + bytes(4) + (2**31).to_bytes(4, "little") + b"PAR1"))


@pytest.mark.parametrize(
    "data", [b"", b"\x15", b"\x15\x80", b"\x1c" * 20 + b"\0" * 20, b"\x19\0", b"\x15" + b"\xff" * 12]
)
def test_bytes_without_a_page_header_are_refused(data: bytes) -> None:
    with pytest.raises(ThriftError):
        ThriftReader(data).struct()


def test_damaged_parquet_files_raise_only_format_errors() -> None:
    rng = random.Random(0)
    content = file_of(TEXTS.slice(0, 50), compression="zstd").getvalue()
    for _ in range(300):
        body = bytearray(content)
        for _ in range(rng.choice([1, 3])):
            body[rng.randrange(len(body))] = rng.randrange(256)
        decoder = ParquetDecoder(SCHEMA, 100, 10**6)
        try:
            list(decoder.feed(bytes(body)))
            list(decoder.rest())
        except FormatError:
            pass
        finally:
            decoder.close()
