"""Ranges of a text file consist of whole rows, and contain the rows that the decoder reads."""

import codecs
import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.feature import Feature, TrainingRange
from models.formats.csv_decoder import CsvDecoder
from models.formats.errors import FormatError
from models.formats.ndjson_decoder import NdjsonDecoder
from models.schema import FeatureSchema
from scoring import text_ranges
from scoring.text_ranges import TextRange, csv_head, csv_ranges, ndjson_ranges

FEATURES = [
    Feature(name="a", kind="category", nullable=True, seen=TrainingRange(levels=["x"])),
    Feature(name="b", kind="number", nullable=True, seen=TrainingRange(min=0, max=9)),
]
SCHEMA = FeatureSchema(name="small", task="regression", target="y", features=FEATURES)
CELLS = st.sampled_from(["x", "", "1", ' "z"', '"x"', '"a\nb"', '"c""d"', '"e,f"', 'g"h', "ü", '"\r\n"', "k\rl"])
LINES = st.lists(st.tuples(CELLS, CELLS), max_size=40)
ENDS = st.sampled_from(["\n", "\r\n", "\n\n"])
HEADS = st.sampled_from(["a,b\n", "\ufeffa,b\n", "\n\na,b\r\n", "sep=,\na,b\n", '"a","b"\n', ",a,b\n"])


@pytest.fixture(autouse=True)
def _small_reads() -> Iterator[None]:
    """Read chunks of a few bytes, so that chunks end at every position of a row."""
    before, text_ranges.READ_BYTES = text_ranges.READ_BYTES, 7
    yield
    text_ranges.READ_BYTES = before


def rows_of(decoder: CsvDecoder | NdjsonDecoder, content: bytes) -> int:
    return sum(block.count for block in [*decoder.feed(content), *decoder.rest()])


def csv_decoder() -> CsvDecoder:
    return CsvDecoder(SCHEMA, 1000, 10**6)


def assert_consecutive(ranges: list[TextRange], start: int, stop: int) -> None:
    """Assert that the ranges are consecutive and cover everything from `start` to `stop`."""
    assert [found.start for found in ranges] == [start, *(found.stop for found in ranges[:-1])][: len(ranges)]
    assert (ranges[-1].stop if ranges else start) == stop


@given(head=HEADS, lines=LINES, end=ENDS, size=st.integers(1, 60))
def test_the_ranges_of_a_csv_contain_the_rows_that_the_decoder_reads(
    head: str, lines: list[tuple[str, str]], end: str, size: int
) -> None:
    content = (head + end.join(map(",".join, lines))).encode()
    try:
        expected = rows_of(csv_decoder(), content)
    except FormatError:
        with pytest.raises(FormatError):
            read_in_ranges(content, size)
        return
    assert read_in_ranges(content, size) == expected


def read_in_ranges(content: bytes, size: int) -> int:
    """The number of rows that the decoder reads in all ranges; asserts that each range has its declared number."""
    found = csv_head(io.BytesIO(content), SCHEMA)
    assert found is not None
    ranges = [*csv_ranges(io.BytesIO(content), found.stop, found, size)]
    assert_consecutive(ranges, found.stop, len(content))
    read = [rows_of(csv_decoder(), content[: found.stop] + content[each.start : each.stop]) for each in ranges]
    assert read == [each.rows for each in ranges]
    return sum(read)


@given(
    first=st.sampled_from(['{"a": "y"}', "\ufeff", "\ufeff{}", ""]),
    lines=st.lists(st.sampled_from(['{"a": "x"}', "", "  ", '{"b": 1}\r', "no json", "\ufeff"]), max_size=30),
    size=st.integers(1, 60),
)
def test_the_ranges_of_ndjson_contain_the_rows_that_the_decoder_reads(first: str, lines: list[str], size: int) -> None:
    content = "\n".join([first, *lines]).encode()
    ranges = [*ndjson_ranges(io.BytesIO(content), 0, size)]
    assert_consecutive(ranges, 3 * content.startswith(codecs.BOM_UTF8), len(content))
    parts = [b"\n" * (each.start > 0) + content[each.start : each.stop] for each in ranges]
    read = [rows_of(NdjsonDecoder(SCHEMA, 1000, 10**6), part) for part in parts]
    assert read == [each.rows for each in ranges]
    assert sum(read) == rows_of(NdjsonDecoder(SCHEMA, 1000, 10**6), content)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf"])
def test_a_csv_without_a_line_has_no_header(content: bytes) -> None:
    assert csv_head(io.BytesIO(content), SCHEMA) is None


def test_header_without_a_line_end_is_read() -> None:
    assert csv_head(io.BytesIO(b"a;b"), SCHEMA) == (["a", "b"], ";", 3)


def test_unclosed_quote_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_ranges, "MAX_LINE_BYTES", 50)
    content = b'a,b\n1,"' + b"x" * 100
    head = csv_head(io.BytesIO(b"a,b\n"), SCHEMA)
    assert head is not None
    with pytest.raises(FormatError, match="longer than 50 bytes"):
        list(csv_ranges(io.BytesIO(content), 4, head, 10))


def test_skipped_lines_above_the_header_belong_to_no_range() -> None:
    schema = SCHEMA.model_copy(update={"format": 2, "skip_rows": 2, "comment": "#"})
    for above in (b"", b"Report; 2024\n\n", b"\xef\xbb\xbfReport\n\n"):
        content = above + b"a,b\nx,1\nx,2\n"
        head = csv_head(io.BytesIO(content), schema)
        assert head is not None
        assert (head.names, content[head.stop :]) == (["a", "b"], b"x,1\nx,2\n")
    with pytest.raises(FormatError, match="remove its lines that begin with '#'"):
        csv_head(io.BytesIO(b"a,b\nx,1\n# half\nx,2\n"), schema)
