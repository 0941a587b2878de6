"""The encoding of a text file is detected from its content, or set by `--encoding`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.tables import read_column
from training.config import DataOptions
from training.errors import UsageError
from training.raw_table import RawTable
from training.reading import read_table

CASES = Path(__file__).parent / "cases"
CITIES = "x,city\n" + "1,Köln\n2,Łódź\n3,Zürich\n" * 20
Write = Callable[..., str]


def read(path: str, encoding: str | None = None) -> RawTable:
    return read_table(DataOptions(data=path, encoding=encoding))


def cities(table: RawTable) -> set[str]:
    return set(table.columns[table.names.index("city")].to_pylist())


def test_a_file_with_one_invalid_byte_is_read_as_utf_8_with_a_notice() -> None:
    table = read(str(CASES / "f11_one_bad_byte.csv"))
    assert cities(table) == {"Köln", "München"}
    assert table.origin["encoding"] == "utf-8"
    assert "line 31 has the byte 0xfc, read as 'ü' (--encoding overrides)" in table.notices[0]


@pytest.mark.parametrize(
    ("content", "expected", "line"),
    [
        (CITIES.encode() + "4,Genève\n".encode("latin-1"), "Genève", 62),
        (CITIES.encode().replace("Zürich".encode(), "Zürich".encode("cp1252"), 1), "Zürich", 4),
        ("\ufeff".encode() + CITIES.encode() + b"4,\x80 5\n", "€ 5", 62),
    ],
)
def test_other_invalid_bytes_are_read_as_cp1252(write: Write, content: bytes, expected: str, line: int) -> None:
    table = read(write(content))
    assert cities(table) == {"Köln", "Łódź", "Zürich", expected}
    assert f"line {line} has the byte" in table.notices[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_unicode_is_recognised(write: Write, encoding: str) -> None:
    assert cities(read(write(CITIES.encode(encoding)))) == {"Köln", "Łódź", "Zürich"}


@pytest.mark.parametrize("mark", ["utf-32-be", "utf-16-be"])
def test_a_big_endian_byte_order_mark_is_recognised(write: Write, mark: str) -> None:
    table = read(write(("\ufeff" + CITIES).encode(mark)))
    assert cities(table) == {"Köln", "Łódź", "Zürich"}
    assert "byte order mark" in table.notices[0]


def test_file_without_valid_utf_8_characters_is_read_as_cp1252(write: Write) -> None:
    table = read(write("x,city\n1,Köln\n2,Zürich\n".encode("cp1252")))
    assert cities(table) == {"Köln", "Zürich"}
    assert "is read as cp1252: it is not UTF-8; its first non-ASCII word reads 'Köln'" in table.notices[0]
    assert "--encoding overrides" in table.notices[0]


@pytest.mark.parametrize(("encoding", "word"), [("cp1250", "Łódź"), ("cp1251", "Москва"), ("shift_jis", "東京")])
def test_encoding_flag_overrides_detection(write: Write, encoding: str, word: str) -> None:
    table = read(write(f"x,city\n1,{word}\n2,{word}\n".encode(encoding)), encoding)
    assert cities(table) == {word}
    assert table.origin["encoding"] == encoding
    assert not table.notices


@pytest.mark.parametrize("encoding", ["utf-9", "base64", ""])
def test_an_unknown_encoding_is_rejected(write: Write, encoding: str) -> None:
    with pytest.raises(UsageError, match=r"--encoding .* is not a known encoding"):
        read(write(CITIES), encoding)


def test_a_wrong_declared_encoding_is_reported_with_the_line(write: Write) -> None:
    with pytest.raises(UsageError, match=r"is not utf-8 \(--encoding\): line 2 has the byte 0xf6"):
        read(write("x,city\n1,Köln\n".encode("cp1252")), "utf-8")


def test_a_wrong_encoding_in_a_schema_is_reported_with_the_schema(write: Write) -> None:
    with pytest.raises(UsageError, match=r"is not shift_jis \(--schema\): line 2 has the byte 0xf6"):
        read_table(DataOptions(data=write("x,city\n1,K\xf6ln\n".encode("latin-1"))), "shift_jis")


def test_more_invalid_bytes_than_valid_characters_require_a_flag(write: Write) -> None:
    content = "x,city\n1,Köln\n".encode() + "2,Zürich\n3,Genève\n".encode("latin-1")
    with pytest.raises(UsageError, match=r"1 character of UTF-8 and 2 bytes .* 0xfc in line 3: use --encoding"):
        read(write(content))


def test_encoding_flag_decides_an_ambiguous_file(write: Write) -> None:
    content = "x,city\n1,Köln\n".encode() + "2,Zürich\n3,Genève\n".encode("latin-1")
    assert read_column(write(content), "city", encoding="cp1252") == ["KÃ¶ln", "Zürich", "Genève"]
