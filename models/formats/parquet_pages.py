"""Reads the decoded sizes of a Parquet file's pages from their headers, before any page is decoded.

The sizes in the footer of a file may be false, and a few bytes of a page can expand to gigabytes. The decoder uses the
headers of pages, so the limits are checked against these headers.
"""

from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from models.formats.errors import FormatError, TooLarge
from models.formats.thrift_compact import Struct, ThriftError, ThriftReader

MAX_FOOTER_BYTES = 4 * 1024**2
MAX_PAGE_BYTES = 16 * 1024**2  # decompressed; most writers limit pages to 1 MB
MAX_PAGES = 100_000  # pages of a file, because reading a header takes about 30 µs
HEADER_BYTES = 256  # size of the first read; statistics may make a header longer
MAX_HEADER_BYTES = 64 * 1024  # the longest header
DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = range(4)
DICTIONARY_ENCODINGS = {2, 8}  # PLAIN_DICTIONARY, RLE_DICTIONARY
DELTA_LENGTH_ENCODING, DELTA_ENCODING = 6, 7  # for texts; the second encoding shares prefixes with the previous value


class ParquetPage(NamedTuple):
    type: int
    decompressed_bytes: int
    values: int
    encoding: int


class ColumnPages(NamedTuple):
    """The sizes and encodings of a column's pages."""

    decompressed_bytes: int
    largest_page: int
    has_dictionary: bool  # some of its values are indices into a dictionary
    has_deltas: bool  # some of its texts have an encoding that cannot be read as a dictionary
    repeats: bool  # texts may be far longer than their encoded bytes


def check_footer(file: IO[bytes]) -> None:
    """Raises TooLarge if the footer is too large, because it is parsed as a whole."""
    file.seek(0, 2)
    if (size := file.tell()) >= 12:
        file.seek(size - 8)
        length = int.from_bytes(file.read(4), "little")
        if MAX_FOOTER_BYTES < length < size:  # pyarrow refuses a footer that is longer than the file
            raise TooLarge(MAX_FOOTER_BYTES, what="its footer")
    file.seek(0)


def read_column_pages(file: IO[bytes], metadata: Any, names: list[str]) -> dict[str, ColumnPages]:
    """The pages of the columns with these names. Raises FormatError if a page is too large or a header is invalid."""
    found: dict[str, ColumnPages] = {}
    wanted = frozenset(names)
    pages = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for index in range(row_group.num_columns):
            chunk = row_group.column(index)
            name = chunk.path_in_schema
            if name not in wanted:
                continue
            if chunk.num_values != row_group.num_rows:
                raise FormatError(f"column {name!r} does not have a value for each row")
            read = list(chunk_pages(file, chunk, MAX_PAGES - pages))
            pages += len(read)
            found[name] = merge_pages(found.get(name), summarize_pages(read))
    if metadata.num_row_groups and (missing := wanted - found.keys()):
        raise FormatError(f"column {min(missing)!r} has no pages")
    return found


def chunk_pages(file: IO[bytes], chunk: Any, max_pages: int) -> Iterator[ParquetPage]:
    """The pages of one column in one row group, in the order in which pyarrow reads them."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    end, values = start + chunk.total_compressed_size, 0
    while start < end and values < chunk.num_values:
        if max_pages <= 0:
            raise FormatError(f"it has more than {MAX_PAGES} pages")
        page, length = read_page(file, start)
        max_pages -= 1
        start += length
        if page.type in (DATA_PAGE, DATA_PAGE_V2):
            values += page.values
        if page.decompressed_bytes > MAX_PAGE_BYTES:
            raise TooLarge(MAX_PAGE_BYTES, what="a page (write smaller pages with data_page_size)")
        yield page


def read_page(file: IO[bytes], start: int) -> tuple[ParquetPage, int]:
    """A page, and its size in the file including its header."""
    file.seek(start)
    data = file.read(HEADER_BYTES)
    try:
        header, length = parse_header(data)
    except ThriftError:
        file.seek(start)
        try:
            header, length = parse_header(file.read(MAX_HEADER_BYTES))
        except ThriftError as error:
            raise FormatError(f"a page has no header ({error})") from None
    number, decompressed, compressed = (header.get(field, 0) for field in (1, 2, 3))
    if not all(isinstance(value, int) and value >= 0 for value in (number, decompressed, compressed)):
        raise FormatError("the header of a page has a negative size")
    detail = header.get({DATA_PAGE: 5, DICTIONARY_PAGE: 7, DATA_PAGE_V2: 8}.get(number, 0), {})
    if not isinstance(detail, dict):
        raise FormatError("a page has no header")
    encoding = detail.get(4 if number == DATA_PAGE_V2 else 2, 0)
    return ParquetPage(number, decompressed, max(int(detail.get(1, 0)), 0), encoding), length + compressed


def parse_header(data: bytes) -> tuple[Struct, int]:
    reader = ThriftReader(data)
    return reader.struct(), reader.place


def summarize_pages(pages: list[ParquetPage]) -> ColumnPages:
    encodings = {page.encoding for page in pages if page.type in (DATA_PAGE, DATA_PAGE_V2)}
    return ColumnPages(
        sum(page.decompressed_bytes for page in pages),
        max((page.decompressed_bytes for page in pages), default=0),
        bool(encodings & DICTIONARY_ENCODINGS),
        bool(encodings & {DELTA_LENGTH_ENCODING, DELTA_ENCODING}),
        DELTA_ENCODING in encodings,
    )


def merge_pages(first: ColumnPages | None, other: ColumnPages) -> ColumnPages:
    if first is None:
        return other
    return ColumnPages(
        first.decompressed_bytes + other.decompressed_bytes,
        max(first.largest_page, other.largest_page),
        first.has_dictionary or other.has_dictionary,
        first.has_deltas or other.has_deltas,
        first.repeats or other.repeats,
    )
