"""Footers, ^Z, quotes escaped by backslashes and invisible characters: the file can be trained from and posted."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest

from models.formats.csv_decoder import CsvDecoder
from models.rows import concatenate
from models.schema import FeatureSchema
from tests.training.posting import MAX_BYTES, arrow_of, assert_frame, decoded, posted
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.dataset import Dataset
from training.errors import UsageError

Write = Callable[..., str]
WORDS = ('a 5" pipe', "plain", 'say "hi", he said', "C:\\temp")


def rows_of(words: tuple[str, ...] = ("red", "blue", "green"), rows: int = 90) -> str:
    return "".join(f"{row * 7 % 31},{words[row % len(words)]},{row * 3 % 17}\n" for row in range(rows))


def load(path: str) -> tuple[Dataset, FeatureSchema]:
    dataset = load_dataset(DataOptions(data=path, target="y", task="regression"))
    return dataset, FeatureSchema.from_json(dataset.schema.to_json())


def check_posted(schema: FeatureSchema, dataset: Dataset, body: bytes) -> None:
    """Assert that the body is read correctly in chunks and blocks of several sizes."""
    for size, block_rows in (
        (len(body), 1_000_000),
        (1, 1_000_000),
        (7, 1),
        (64, 10),
        (len(body), len(dataset.target)),
    ):
        decoder = CsvDecoder(schema, block_rows, MAX_BYTES)
        chunks = (body[start : start + size] for start in range(0, len(body), size))
        blocks = chain(chain.from_iterable(map(decoder.feed, chunks)), decoder.rest())
        assert_frame(concatenate([block.validate(schema) for block in blocks]), dataset, f"{size}, {block_rows}")


@pytest.mark.parametrize("end", ["\x1a", "\n\x1a", "\x1a\r\n", "\x1a" * 200])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_end_mark_of_dos_is_neither_a_row_nor_part_of_a_cell(write: Write, end: str, encoding: str) -> None:
    body = ("x,colour,y\n" + rows_of().removesuffix("\n") + end).encode(encoding)
    dataset, schema = load(write(body))
    assert len(dataset.row_numbers) == 90
    assert not any("fewer cells" in notice for notice in dataset.notices)
    check_posted(schema, dataset, body)
    check_posted(schema, dataset, body.decode(encoding).rstrip("\x1a\r\n").encode())


def test_an_end_mark_within_a_file_is_not_a_row(write: Write) -> None:
    body = ("x,colour,y\n" + rows_of() + "\x1a\n" + rows_of()).encode()
    _, schema = load(write(("x,colour,y\n" + rows_of()).encode()))
    assert decoded(CsvDecoder, schema, body).count == 180


@pytest.mark.parametrize("footer", ["Total,1200\n", "Source: a register", "\nTotal,3\nSource: a register\n"])
def test_files_with_and_without_a_footer_can_be_posted(write: Write, footer: str) -> None:
    body = ("x,colour,y\n" + rows_of() + footer).encode()
    dataset, schema = load(write(body))
    assert any("fewer cells" in notice for notice in dataset.notices)
    check_posted(schema, dataset, body)
    check_posted(schema, dataset, ("x,colour,y\n" + rows_of()).encode())


def test_short_lines_beyond_the_footer_length_of_training_are_errors(write: Write) -> None:
    _, schema = load(write(("x,colour,y\n" + rows_of() + "Total,3\n").encode()))
    body = b"x,colour\n1,red\n2\nTotal\n"
    found = decoded(CsvDecoder, schema, body)
    assert (found.count, [error.row for error in found.errors]) == (2, [1])
    _, plain = load(write(("x,colour,y\n" + rows_of()).encode()))
    assert [error.row for error in decoded(CsvDecoder, plain, body).errors] == [1, 2]  # the end may be cut off


def test_a_schema_with_a_footer_has_format_2(write: Write) -> None:
    _, schema = load(write(("x,colour,y\n" + rows_of() + "Total,3\n").encode()))
    assert (schema.format, schema.footer_lines) == (2, 1)


def escaped(cell: str) -> str:
    return '"' + cell.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("blank", ["", " "])
def test_quotes_escaped_by_backslashes_are_read(write: Write, delimiter: str, blank: str) -> None:
    lines = [["x", '"word"', "y"]] + [
        [str(row * 7 % 31), blank + escaped(WORDS[row % 4]), str(row * 3 % 17)] for row in range(90)
    ]
    body = "".join(delimiter.join(line) + "\n" for line in lines).encode()
    dataset, schema = load(write(body))
    assert set(dataset.columns["word"].tolist()) == set(WORDS)
    assert any("escaped by backslashes" in notice for notice in dataset.notices)
    check_posted(schema, dataset, body)
    cells = {"x": [line[0] for line in lines[1:]], "word": [WORDS[row % 4] for row in range(90)]}
    for form, found in posted(schema, cells).items():
        assert_frame(found, dataset, form)


def test_backslashes_that_escape_nothing_are_kept(write: Write) -> None:
    words = ("C:\\dir\\", "D:\\", 'a "quoted" one')
    cells = ['"' + word.replace('"', '""') + '"' for word in words]
    body = ("x,word,y\n" + rows_of(tuple(cells))).encode()
    dataset, schema = load(write(body))
    assert set(dataset.columns["word"].tolist()) == set(words)
    assert schema.escape is None
    check_posted(schema, dataset, body)


def test_inconsistent_quotes_are_not_read_as_escaped(write: Write) -> None:
    _, schema = load(write(("x,word,y\n" + rows_of(('"a \\" b"', '"c" d"'))).encode()))
    assert schema.escape is None


@pytest.mark.parametrize("sign", ["\u200b", "\ufeff", "\u00ad", "\u00a0", "\u200e", "\u202a", "\u2060"])
def test_invisible_characters_in_names_and_levels_are_ignored(write: Write, sign: str) -> None:
    dirty = ("red", f"{sign}red", f"red{sign}", "blue", f" blue {sign}", "green")
    body = (f"{sign}x,colour{sign},y\n" + rows_of(dirty)).encode("utf-8-sig")
    dataset, schema = load(write(body))
    assert list(schema.by_name) == ["x", "colour"]
    assert set(dataset.columns["colour"].tolist()) == {"red", "blue", "green"}
    check_posted(schema, dataset, body)
    lines = [line.split(",") for line in body.decode("utf-8-sig").splitlines()[1:]]
    for form, found in posted(schema, {"x": [x for x, _, _ in lines], "colour": [c for _, c, _ in lines]}).items():
        assert_frame(found, dataset, form)


def test_joiners_between_letters_and_emoji_are_kept(write: Write) -> None:
    words = ("\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u062e\u0648", "\U0001f469\u200d\U0001f680", "plain")
    dataset, _ = load(write(("x,word,y\n" + rows_of(words)).encode()))
    assert set(dataset.columns["word"].tolist()) == set(words)


def test_a_cell_of_invisible_characters_is_missing(write: Write) -> None:
    body = ("x,word,y\n" + rows_of(("red", "blue", "\u200b"))).encode()
    dataset, schema = load(write(body))
    assert schema.by_name["word"].nullable
    check_posted(schema, dataset, body)


def test_names_that_differ_only_in_invisible_characters_are_an_error(write: Write) -> None:
    with pytest.raises(UsageError, match="2 columns with the name 'x'"):
        load(write(("x,x\u200b,y\n" + rows_of()).encode()))


def test_an_arrow_table_has_its_levels_without_invisible_characters(write: Write) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from models.formats.arrow_decoder import ArrowDecoder

    words: list[Any] = ["red", "red\u200b", "blue"] * 30
    table = pa.table({"x": [*range(90)], "word": words, "y": [row % 17 for row in range(90)]})
    path = write("")
    pq.write_table(table, path)
    dataset, schema = load(path)
    assert set(dataset.columns["word"].tolist()) == {"red", "blue"}
    assert_frame(decoded(ArrowDecoder, schema, arrow_of(table)), dataset, "Arrow")
