"""Compresses large response bodies by `Accept-Encoding`: zstd or gzip."""

import functools
import zlib
from collections.abc import Mapping
from typing import Any

from backports import zstd

from service.data_plane import DataPlane
from service.http.asgi_types import Header
from service.http.http_exchange import Response
from service.http.negotiation import parse_accept

MIN_COMPRESSED_BYTES = 64 * 1024  # a smaller body is not compressed
LEVEL = 1  # of gzip and zstd; higher levels take two to three times as long and reduce the size by a tenth
GZIP_WBITS = 31
VARY: Header = (b"vary", b"accept-encoding")
COMPRESSED_TYPES = frozenset([b"application/vnd.apache.parquet"])  # the content of these types is already compressed


@functools.lru_cache(64)
def preferred_coding(accept_encoding: bytes) -> bytes | None:
    """The content coding that Accept-Encoding prefers, zstd on a tie. None means no coding.

    `*` means gzip: a client that names no encoding may not support zstd.
    """
    qualities = parse_accept(accept_encoding)
    gzip = qualities.get(b"gzip", qualities.get(b"x-gzip", qualities.get(b"*", 0.0)))
    coding, best = max(((b"zstd", qualities.get(b"zstd", 0.0)), (b"gzip", gzip)), key=lambda pair: pair[1])
    return coding if best > 0 and best >= qualities.get(b"identity", 0.0) else None


class Compressor:
    """Compresses a response chunk by chunk. Each chunk can be decompressed when it arrives."""

    def __init__(self, coding: bytes) -> None:
        self._zstd = coding == b"zstd"
        self._compressor: Any = zstd.ZstdCompressor(LEVEL) if self._zstd else zlib.compressobj(LEVEL, wbits=GZIP_WBITS)

    def feed(self, content: bytes) -> bytes:
        if self._zstd:
            compressed: bytes = self._compressor.compress(content, zstd.ZstdCompressor.FLUSH_BLOCK)
            return compressed
        return bytes(self._compressor.compress(content) + self._compressor.flush(zlib.Z_SYNC_FLUSH))

    def end(self, content: bytes) -> bytes:
        return bytes(self._compressor.compress(content) + self._compressor.flush())


def negotiated_coding(headers: Mapping[bytes, bytes], content_type: bytes) -> tuple[bytes | None, list[Header]]:
    """The content coding of a large response (None for no coding), and the headers that it adds."""
    accept_encoding = headers.get(b"accept-encoding")
    if accept_encoding is None or content_type in COMPRESSED_TYPES:
        return None, []
    coding = preferred_coding(accept_encoding)
    return coding, [(b"content-encoding", coding), VARY] if coding else [VARY]


async def compressed(headers: Mapping[bytes, bytes], response: Response, plane: DataPlane) -> Response:
    """A large response in the coding that the request prefers. It is compressed in the data plane's thread."""
    coding, more = negotiated_coding(headers, response.content_type)
    body = response.body
    if coding:
        body = await plane.run_in_thread(Compressor(coding).end, body)
    return response._replace(body=body, headers=[*response.headers, *more])
