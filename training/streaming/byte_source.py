"""Reads and decompresses the content of a file as often as it is needed."""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from training.errors import UsageError
from training.file_content import (
    CHUNK_BYTES,
    DAMAGED,
    ZIP_START,
    Compression,
    check_expansion,
    compression_of,
    zip_member,
)

HEAD_BYTES = (1 << 22) + CHUNK_BYTES  # size of the first chunk: the first lines determine the format
MAX_LINE_BYTES = 1 << 24


class CountedFile(io.RawIOBase):
    """A file that reports its reading position and hashes each byte once, in order from the beginning."""

    def __init__(self, file: Any, read: Callable[[int], None]) -> None:
        self._file, self._report = file, read
        self._hash = hashlib.sha256()
        self._place = self._hashed = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = self._file.seek(offset, whence)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        end = self._place + len(content)
        if self._place <= self._hashed < end:
            self._hash.update(content[self._hashed - self._place :])
            self._hashed = end
        self._place = end
        self._report(end)
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()

    def fingerprint(self) -> str:
        """SHA-256 of the whole file."""
        self.seek(self._hashed)
        while self.read(CHUNK_BYTES):
            pass
        return self._hash.hexdigest()


class ByteSource:
    """A file that can be opened repeatedly.

    where: its name in messages. size: in bytes. on_read: receives the number of bytes that have been read.
    """

    def __init__(
        self, where: str, size: int, opener: Callable[[], Any], on_read: Callable[[int], None] = lambda end: None
    ) -> None:
        self.where, self.size, self._open, self._on_read = where, size, opener, on_read
        self.fingerprint = ""  # known after the file was read completely once
        with closing(self.open_raw()) as file:
            self._start = file.read(8)
        self.compression: Compression | None = compression_of(self._start)

    def open_raw(self) -> Any:
        return self._open()

    @property
    def is_zip(self) -> bool:
        return bool(self._start.startswith(ZIP_START))

    def chunks(self) -> Iterator[bytes]:
        """The content in chunks that end at the ends of lines, unless a line is very long. Raises UsageError."""
        pending, wanted = [], HEAD_BYTES
        size = 0
        for block in self.blocks():
            pending.append(block)
            size += len(block)
            if size < wanted:
                continue
            content = b"".join(pending)
            end = content.rfind(b"\n") + 1
            if not end and size < MAX_LINE_BYTES:
                pending = [content]
                continue
            yield content[: end or size]
            rest = content[end or size :]
            pending, size, wanted = [rest], len(rest), CHUNK_BYTES
        if size:
            yield b"".join(pending)

    def blocks(self) -> Iterator[bytes]:
        """The content in blocks of any size. Raises UsageError."""
        with closing(CountedFile(self._open(), self._on_read)) as raw:
            if self.compression is None and not self.is_zip:
                while block := raw.read(CHUNK_BYTES):
                    yield block
            else:
                yield from self._expanded(raw)
            if not self.fingerprint:
                self.fingerprint = raw.fingerprint()

    def _expanded(self, raw: CountedFile) -> Iterator[bytes]:
        name = "ZIP" if self.compression is None else self.compression.name
        expanded = 0
        try:
            opened = zip_member(raw, self.where) if self.compression is None else self.compression.open(raw)
            with opened as file:
                while block := file.read(CHUNK_BYTES):
                    expanded += len(block)
                    check_expansion(expanded, self.size, self.where)
                    yield block
        except DAMAGED:
            raise UsageError(f"{self.where} is a {name} file that is cut off or damaged") from None
        except NotImplementedError:
            raise UsageError(
                f"{self.where} is a ZIP archive with a compression that Python does not support; decompress it"
            ) from None
