"""Compressed files are read; damaged files, archives of several files and decompression bombs are rejected."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable

import pytest
from backports import zstd

from tests.training.tables import CSV, read_column
from training import file_content
from training.config import DataOptions
from training.errors import UsageError
from training.reading import read_table

Write = Callable[..., str]


def zipped(**files: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return archive.getvalue()


COMPRESSED = {
    "gzip": gzip.compress(CSV.encode()),
    "gzip, two members": gzip.compress(CSV[:100].encode()) + gzip.compress(CSV[100:].encode()),
    "bzip2": bz2.compress(CSV.encode()),
    "xz": lzma.compress(CSV.encode()),
    "zstd": zstd.compress(CSV.encode()),
    "zip": zipped(table_csv=CSV.encode()),
    "zip from a Mac": zipped(table_csv=CSV.encode(), **{"__MACOSX/._table_csv": b"x"}),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_compressed_file_is_recognised_by_its_content(write: Write, name: str) -> None:
    path = write(COMPRESSED[name], "table.data")
    assert len(read_column(path, "x")) == 60
    assert read_table(DataOptions(data=path)).origin["compression"] == name.split(",")[0].split()[0]


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_compressed_file_that_is_cut_off_is_rejected(write: Write, name: str) -> None:
    content = COMPRESSED[name]
    for end in (len(content) // 2, len(content) - 3):
        with pytest.raises(UsageError, match="cut off or damaged"):
            read_table(DataOptions(data=write(content[:end])))


@pytest.mark.parametrize("name", COMPRESSED)
def test_damaged_bytes_in_a_compressed_file_are_rejected(write: Write, name: str) -> None:
    content = bytearray(COMPRESSED[name])
    middle = len(content) // 2
    content[middle : middle + 8] = b"\xff\0\xff\0\xff\0\xff\0"
    with pytest.raises(UsageError, match="damaged"):
        read_table(DataOptions(data=write(bytes(content))))


@pytest.mark.parametrize("files", [{}, {"a_csv": b"x,y\n1,2\n", "b_csv": b"x,y\n1,2\n"}])
def test_a_zip_archive_needs_one_file(write: Write, files: dict[str, bytes]) -> None:
    content = zipped(**files) if files else zipped(**{"folder/": b""})
    with pytest.raises(UsageError, match=f"ZIP archive with {len(files)} files, one is needed"):
        read_table(DataOptions(data=write(content)))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_an_archive_that_expands_without_end_is_rejected(
    write: Write, monkeypatch: pytest.MonkeyPatch, compress: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(file_content, "FREE_BYTES", 1 << 20)
    with pytest.raises(UsageError, match="expands to more than 200 times"):
        read_table(DataOptions(data=write(compress(b"x,y\n" + b"1,2\n" * 2_000_000))))


def test_file_that_is_compressed_twice_is_rejected(write: Write) -> None:
    with pytest.raises(UsageError, match="not a table"):
        read_table(DataOptions(data=write(gzip.compress(gzip.compress(CSV.encode())))))
