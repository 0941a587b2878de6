"""The static files of the page at `/`: read and compressed when a browser first requests one.

A digest of all files is part of their addresses. Modules can therefore import each other by relative addresses, and a
browser can cache each file forever.
"""

import base64
import functools
import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from models.html_page import style_sheet

FOLDER = Path(__file__).resolve().parents[1] / "page"
INDEX = "index.html"
PREFIX = "page/"
PLACEHOLDER = b"{files}"
"""The placeholder in the index for the address of the files, which is relative to the page's address."""
STYLE_PLACEHOLDER = b"{style}"
"""The placeholder for the common style sheet, which is part of the index: a separate file would delay the first
view."""
DIGEST_CHARACTERS = 16
CONTENT_TYPES = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


class BrowserContent(NamedTuple):
    """A file, compressed by gzip. Only this form is stored, because all browsers accept it."""

    content_type: bytes
    compressed: bytes

    @property
    def content(self) -> bytes:
        return gzip.decompress(self.compressed)


class BrowserFiles:
    """The index and all other files by their path below the folder."""

    def __init__(self, folder: Path) -> None:
        contents = read_files(folder)
        self.digest = digest_of(contents)
        index = contents.pop(INDEX).replace(PLACEHOLDER, f"{PREFIX}{self.digest}".encode())
        style = style_sheet().encode()
        self.index = compress(INDEX, index.replace(STYLE_PLACEHOLDER, style))
        self.style_hash = b"sha256-" + base64.b64encode(hashlib.sha256(style).digest())
        self.files = {name: compress(name, content) for name, content in contents.items()}


def read_files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix in CONTENT_TYPES)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def digest_of(contents: Mapping[str, bytes]) -> str:
    """The digest of all names and contents."""
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()[:DIGEST_CHARACTERS]


def compress(name: str, content: bytes) -> BrowserContent:
    return BrowserContent(CONTENT_TYPES[Path(name).suffix], gzip.compress(content, mtime=0))


@functools.cache
def browser_files() -> BrowserFiles:
    """The files of this installation. The first call takes some milliseconds."""
    return BrowserFiles(FOLDER)
