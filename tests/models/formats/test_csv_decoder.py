"""CSV: delimiters, quotes, and undecodable bytes."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.feature import Feature
from models.formats import blocks
from models.formats.csv_decoder import CsvDecoder, delimiter_of, without_extra_lines
from models.schema import FeatureSchema


def test_delimiter_is_detected_from_the_columns_of_the_schema() -> None:
    feature = Feature(name="a", kind="number", nullable=False)
    schema = FeatureSchema(name="a", task="regression", target="y", features=[feature])
    assert delimiter_of("a;b\n", schema) == ";"


QUOTES = ['5" pipe', '"5"" pipe"', '5"', 'a""b', '"two\nlines"', '"a"', '"x, ""y"""', '""', "plain", ""]


@given(st.lists(st.sampled_from(QUOTES), min_size=1, max_size=12), st.integers(1, 40), st.sampled_from(",;|\t"))
@settings(max_examples=200, deadline=None)
def test_quoted_cells_are_parsed_like_csv(cells: list[str], size: int, delimiter: str) -> None:
    feature = Feature(name="job", kind="category", nullable=True)
    schema = FeatureSchema(name="a", task="regression", target="y", features=[feature])
    text = "\n".join(delimiter.join(line) for line in (["job", "y"], *([cell, '"1"'] for cell in cells)))
    body = b"\xef\xbb\xbf\n" * (size % 2) + text.encode()
    decoder = CsvDecoder(schema, 100, max_bytes=10**6)
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    assert [block for chunk in chunks for block in decoder.feed(chunk)] == []
    (block,) = decoder.rest()
    assert isinstance(block, blocks.ColumnBlock)
    expected = [line[0] or None for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)][1:]
    assert [block.columns["job"].item(row) for row in range(block.count)] == expected


@pytest.mark.parametrize("rows", [1, 90_000])
def test_quote_inside_a_cell_does_not_open_a_quoted_cell(rows: int) -> None:
    feature = Feature(name="size", kind="number", nullable=False)
    schema = FeatureSchema(name="a", task="regression", target="y", features=[feature])
    body = b'size,part\n1.0,5" pipe\n' + b"2.0,a longer name\n" * rows
    block = blocks.decode_whole(CsvDecoder(schema, 100_000, len(body)), body)
    assert block is not None
    assert block.count == rows + 1


TITLED = b"Report of March; 2024\r\n\r\na;b\r\n1;2\r\n3;4\r\n"
COMMENTED = b'# made by "a tool\na,b\n1,2\n  # a, note\n3,4\n#end'
BOTH = b'\xef\xbb\xbfsep=;\n"a ""title"" of\n# note\na;b\n1;2\n#x\n3;4'


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("body", "skip_rows", "comment"), [(TITLED, 2, None), (COMMENTED, None, "#"), (BOTH, 2, "#"), (BOTH, 3, "#")]
)
def test_lines_that_are_not_rows_are_skipped_as_in_training(
    body: bytes, skip_rows: int | None, comment: str | None, size: int
) -> None:
    features = [Feature(name=name, kind="number", nullable=False) for name in "ab"]
    schema = FeatureSchema(
        format=2, name="a", task="regression", target="y", features=features, skip_rows=skip_rows, comment=comment
    )
    for content in (body, b"a,b\n1,2\n3,4\n", b"\n\na;b\n1;2\n3;4\n"):
        decoder = CsvDecoder(schema, 100, max_bytes=10**6)
        chunks = [content[start : start + size] for start in range(0, len(content), size)]
        assert [block for chunk in chunks for block in decoder.feed(chunk)] == []
        (block,) = decoder.rest()
        assert block.validate(schema).frame.numbers.tolist() == [[1, 2], [3, 4]]
        assert without_extra_lines(content, schema).splitlines()[-1] in (b"3;4", b"3,4", b"")


def test_csv_blocks_have_a_limited_size() -> None:
    """The blocks of a body need little memory, whatever the length of its lines."""
    schema = FeatureSchema(
        name="a", task="regression", target="y", features=[Feature(name="class", kind="number", nullable=True)]
    )
    decoder = CsvDecoder(schema, 10_000, max_bytes=10_000)
    found = [block.count for _ in range(12) for block in decoder.feed(b"class,id\n" + b"," * 1000 + b"\n" * 2)]
    assert sum(found) >= 8
