"""Large responses are compressed as requested by `Accept-Encoding`, in any format, streamed or not."""

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from backports import zstd

import service.http.asgi
from models.tabular_model import TabularModel
from service.http.compression import MIN_COMPRESSED_BYTES, Compressor, preferred_coding
from service.settings import Settings

ROW = {"age": 20, "job": "Private"}
LARGE = {"rows": [ROW] * 1500}
JSON = "application/json"
DECOMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: zlib.decompress(content, 31),
    "zstd": zstd.decompress,
}


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (b"gzip", b"gzip"),
        (b"zstd", b"zstd"),
        (b"gzip, deflate, br, zstd", b"zstd"),
        (b"gzip, deflate", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"GZIP;Q=0.8", b"gzip"),
        (b"zstd;q=0.5, gzip;q=0.9", b"gzip"),
        (b"gzip;q=0, zstd;q=0", None),
        (b"gzip;q=0.5, identity", None),
        (b"identity;q=0.1, gzip;q=0.5", b"gzip"),
        (b"identity", None),
        (b"br, deflate", None),
        (b"*", b"gzip"),
        (b"*;q=0", None),
        (b"gzip;q=0, *", None),
        (b"gzip;q=many", None),
        (b"", None),
    ],
)
def test_the_content_coding_with_the_highest_quality_is_selected(header: bytes, coding: bytes | None) -> None:
    assert preferred_coding(header) == coding


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("accept", [JSON, "text/csv", "application/x-ndjson", "application/vnd.apache.arrow.stream"])
def test_a_compressed_response_has_the_same_content(
    send_asgi: Any, monkeypatch: pytest.MonkeyPatch, coding: str, accept: str
) -> None:
    monkeypatch.setattr(service.http.asgi, "MIN_COMPRESSED_BYTES", 10_000)
    plain = send_asgi("POST", "/predict/income", LARGE, content_type=JSON, accept=accept)
    reply = send_asgi("POST", "/predict/income", LARGE, content_type=JSON, accept=accept, accept_encoding=coding)
    assert "content-encoding" not in plain.headers
    assert "vary" not in plain.headers
    assert (reply.headers["content-encoding"], reply.headers["vary"]) == (coding, "accept-encoding")
    assert int(reply.headers["content-length"]) == len(reply.content) < len(plain.content) / 4
    assert DECOMPRESSED[coding](reply.content) == plain.content


def test_responses_of_other_protocols_are_compressed(send_asgi: Any) -> None:
    path, body = "/v1/models/house_class:predict", {"instances": [ROW] * 2000}
    plain = send_asgi("POST", path, body, content_type=JSON)
    reply = send_asgi("POST", path, body, content_type=JSON, accept_encoding="gzip")
    assert len(plain.content) > MIN_COMPRESSED_BYTES
    assert DECOMPRESSED["gzip"](reply.content) == plain.content


def test_pages_are_compressed(send_asgi: Any) -> None:
    plain = send_asgi("GET", "/docs.json")
    reply = send_asgi("GET", "/docs.json", accept_encoding="zstd")
    assert DECOMPRESSED["zstd"](reply.content) == plain.content


def test_an_uncompressed_large_response_also_has_the_vary_header(send_asgi: Any) -> None:
    reply = send_asgi("GET", "/docs.json", accept_encoding="identity")
    assert reply.headers["vary"] == "accept-encoding"
    assert "content-encoding" not in reply.headers


def test_small_responses_and_parquet_are_not_compressed(send_asgi: Any) -> None:
    small = send_asgi("POST", "/predict/income", {"rows": [ROW]}, content_type=JSON, accept_encoding="gzip")
    assert not small.headers.keys() & {"content-encoding", "vary"}
    parquet = "application/vnd.apache.parquet"
    table = send_asgi("POST", "/predict/income", LARGE, content_type=JSON, accept=parquet, accept_encoding="gzip")
    assert "content-encoding" not in table.headers
    assert table.content.startswith(b"PAR1")


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("rows", [6000, 40_000])
def test_a_table_that_is_answered_in_blocks_is_compressed(
    make_app: Any, asgi: Any, tabular_models: list[TabularModel], coding: str, rows: int
) -> None:
    """A response of up to 1 MiB is complete before it is sent; a larger response is streamed."""
    body = b"age,job\n" + b"20,Private\n" * rows
    asgi_app = make_app(tabular_models, Settings(max_body_bytes=4000))
    headers = {"content-type": "text/csv"}

    async def send_request(**more: str) -> Any:
        return await asgi(asgi_app, "POST", "/predict/income", body, "", headers | more)

    with asyncio.Runner() as runner:
        plain, reply = runner.run(send_request()), runner.run(send_request(**{"accept-encoding": coding}))
    asgi_app.plane.close()
    assert ("content-length" not in plain.headers) == (rows == 40_000)
    assert plain.content.count(b"\n") == rows + 1
    assert (reply.headers["content-encoding"], reply.headers["vary"]) == (coding, "accept-encoding")
    assert DECOMPRESSED[coding](reply.content) == plain.content


def test_each_chunk_of_a_compressed_stream_can_be_decompressed_on_arrival() -> None:
    gzip, whole = Compressor(b"gzip"), zlib.decompressobj(wbits=31)
    assert whole.decompress(gzip.feed(b"first\n")) == b"first\n"
    assert whole.decompress(gzip.end(b"last\n")) == b"last\n"
    zst, whole_zstd = Compressor(b"zstd"), zstd.ZstdDecompressor()
    assert whole_zstd.decompress(zst.feed(b"first\n")) == b"first\n"
    assert whole_zstd.decompress(zst.end(b"last\n")) == b"last\n"
