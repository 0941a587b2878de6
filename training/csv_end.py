"""Removes the character ^Z (0x1A) that DOS programs write at the end of a file, once or up to the end of a block."""

from collections.abc import Iterable, Iterator

END_MARK = b"\x1a"


def without_end_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same content without ^Z at its end."""
    held = b""
    for chunk in chunks:
        if held:
            yield held
            held = b""
        content = chunk.rstrip(END_MARK + b"\r\n")
        if END_MARK in chunk[len(content) :]:
            chunk, held = content, chunk[len(content) :]
        yield chunk
    if held:
        yield held.replace(END_MARK, b"")
