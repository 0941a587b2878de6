"""Decompresses the content of a file."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from backports import zstd

from models.text import truncate
from training.errors import UsageError

CHUNK_BYTES = 1 << 20
BLANK = b" \r\n\t\0\xef\xbb\xbf\xff\xfe"  # the bytes that occur in a file without content, in any encoding
FREE_BYTES = 1 << 28  # any archive may expand to this size
MAX_EXPANSION = 200  # maximum expansion as a multiple of the file's size, beyond FREE_BYTES
ZIP_START = b"PK\x03\x04"
WORKBOOK_PART = "[Content_Types].xml"  # a ZIP archive with this member is a file of Microsoft Office


class Compression(NamedTuple):
    """The first bytes of a compression format, and a function that opens its files."""

    name: str
    start: bytes
    open: Callable[[Any], Any]


COMPRESSIONS = (
    Compression("gzip", b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    Compression("bzip2", b"BZh", bz2.BZ2File),
    Compression("xz", b"\xfd7zXZ\0", lzma.LZMAFile),
    Compression("zstd", b"\x28\xb5\x2f\xfd", zstd.ZstdFile),
)
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, zipfile.BadZipFile)


def decompress(content: bytes, where: str) -> tuple[bytes, str | None]:
    """The decompressed content, and the name of the compression. Raises UsageError."""
    found = compression_of(content)
    if found is not None:
        return _expand(found.name, lambda: found.open(io.BytesIO(content)), content, where), found.name
    if content.startswith(ZIP_START) and not is_workbook(content):
        return _unzip(content, where), "zip"
    return content, None


def compression_of(start: bytes) -> Compression | None:
    """The compression of content that begins with these bytes, or None, also for a ZIP archive."""
    return next((compression for compression in COMPRESSIONS if start.startswith(compression.start)), None)


def is_workbook(content: bytes) -> bool:
    """Whether the content is a file of Microsoft Office."""
    if not content.startswith(ZIP_START):
        return False
    try:
        return WORKBOOK_PART in zipfile.ZipFile(io.BytesIO(content)).namelist()
    except DAMAGED:
        return False


def check_expansion(expanded: int, size: int, where: str) -> None:
    """Raises UsageError if an archive of `size` bytes expands to more than any table would."""
    if expanded > max(FREE_BYTES, MAX_EXPANSION * size):
        raise UsageError(
            f"{where} expands to more than {MAX_EXPANSION} times its size of {size:,} bytes, as no table does; "
            "if it is a table, decompress it and pass the result to --data"
        )


def _expand(name: str, open_file: Callable[[], Any], content: bytes, where: str) -> bytes:
    chunks, expanded = [], 0
    try:
        with open_file() as file:
            while chunk := file.read(CHUNK_BYTES):
                expanded += len(chunk)
                check_expansion(expanded, len(content), where)
                chunks.append(chunk)
    except DAMAGED:
        raise UsageError(f"{where} is a {name} file that is cut off or damaged") from None
    return b"".join(chunks)


def _unzip(content: bytes, where: str) -> bytes:
    try:
        return _expand("ZIP", lambda: zip_member(io.BytesIO(content), where), content, where)
    except NotImplementedError:
        raise UsageError(
            f"{where} is a ZIP archive with a compression that Python does not support; decompress it"
        ) from None


def zip_member(file: Any, where: str) -> Any:
    """Open the only file of an archive. Raises UsageError."""
    try:
        archive = zipfile.ZipFile(file)
    except DAMAGED:
        raise UsageError(f"{where} is a ZIP archive that is cut off or damaged") from None
    members = [member for member in archive.infolist() if _is_content(member)]
    if len(members) != 1:
        listed = ", ".join(truncate(member.filename) for member in members[:5]) + (", …" if len(members) > 5 else "")
        raise UsageError(
            f"{where} is a ZIP archive with {len(members)} files, one is needed: {listed or 'it is empty'}"
        )
    if members[0].flag_bits & 1:
        raise UsageError(f"{where} is a ZIP archive with a password; decompress it and pass the result to --data")
    return archive.open(members[0])


def _is_content(member: zipfile.ZipInfo) -> bool:
    hidden = member.filename.startswith("__MACOSX/") or Path(member.filename).name.startswith(".")
    return not member.is_dir() and not hidden
