"""Content negotiation: Content-Type selects the format of the body, Accept the format of the response."""

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from models.formats import arrow_columns
from models.text import truncate
from service.errors import NotAcceptable, UnsupportedMediaType

JSON = b"application/json"
NDJSON = (
    b"application/x-ndjson",
    b"application/ndjson",
    b"application/jsonl",
    b"application/jsonlines",
    b"application/x-jsonlines",
)
PARQUET = (b"application/vnd.apache.parquet", b"application/x-parquet", b"application/parquet")
CSV = (b"text/csv", b"application/csv")
PLAIN_JSON = frozenset([b"", JSON, b"application/json; charset=utf-8", b"application/json;charset=utf-8"])
PLAIN_ACCEPT = frozenset([b"*/*", JSON])
CHARSETS = frozenset([b"", b"utf-8", b"utf8", b"us-ascii"])  # the charsets that are decoded as UTF-8, the default
CSV_CHARSETS = frozenset(
    b"""windows-1250 windows-1251 windows-1252 windows-1253 windows-1254 windows-1257 cp1250 cp1251 cp1252 iso-8859-1
    iso-8859-2 iso-8859-5 iso-8859-7 iso-8859-9 iso-8859-15 latin1 latin-1 koi8-r macintosh utf-16 utf-16le utf-16be
    shift_jis euc-jp euc-kr gbk gb18030 big5""".split()
)  # the other charsets that a CSV may have
PYARROW_MISSING = "needs pyarrow, which is not installed (pip install 'tabserve[arrow]')"


class BodyFormat(NamedTuple):
    """A format of request and response bodies of the native API. `name` is the protocol label of the metrics."""

    name: str
    media_types: tuple[bytes, ...]  # the preferred type first
    needs_pyarrow: bool = False
    encoding: str | None = None  # the encoding of a CSV if Content-Type declares a charset other than UTF-8


JSON_FORMAT = BodyFormat("json", (JSON,))
FORMATS = (
    JSON_FORMAT,
    BodyFormat("ndjson", NDJSON),
    BodyFormat("csv", CSV),
    BodyFormat("arrow", (b"application/vnd.apache.arrow.stream",), needs_pyarrow=True),
    BodyFormat("parquet", PARQUET, needs_pyarrow=True),
)
FORMAT_BY_MEDIA_TYPE = {media_type: known for known in FORMATS for media_type in known.media_types}
LISTED = ", ".join(known.media_types[0].decode() for known in FORMATS)


class ContentType(NamedTuple):
    """A parsed Content-Type header, all in lower case."""

    media_type: bytes  # JSON if the header is absent or empty
    parameters: Mapping[bytes, bytes]

    @property
    def encoding(self) -> str | None:
        """The declared charset; None for UTF-8."""
        charset = self.parameters.get(b"charset", b"")
        return None if charset in CHARSETS else charset.decode("latin-1")


@functools.lru_cache(64)
def parse_content_type(header: bytes) -> ContentType:
    media_type, *rest = [part.strip() for part in header.lower().split(b";")]
    parameters = {name: value.strip(b'"') for name, _, value in (part.partition(b"=") for part in rest)}
    return ContentType(media_type or JSON, parameters)


def check_content_type(header: bytes, media_types: Collection[bytes], expected: str) -> ContentType:
    """Raises UnsupportedMediaType for other media types, and for charsets other than UTF-8 except in a CSV."""
    content_type = parse_content_type(header)
    charset = content_type.parameters.get(b"charset", b"")
    known = charset in CHARSETS or (content_type.media_type in CSV and charset in CSV_CHARSETS)
    if content_type.media_type not in media_types or not known:
        raise UnsupportedMediaType(f"content type {rendered(header)} is not supported, expected {expected}")
    return content_type


def is_json(headers: Mapping[bytes, bytes]) -> bool:
    """Whether Content-Type names JSON or is absent."""
    return b"json" in parse_content_type(headers.get(b"content-type", b"")).media_type


def is_plain_json(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the headers declare JSON for the request and the response in a common spelling; False for other
    spellings."""
    return headers.get(b"content-type", b"") in PLAIN_JSON and headers.get(b"accept", b"*/*") in PLAIN_ACCEPT


def negotiate(headers: Mapping[bytes, bytes]) -> tuple[BodyFormat, BodyFormat]:
    """The formats of the body and of the response. Raises UnsupportedMediaType or NotAcceptable."""
    content_type, accept = headers.get(b"content-type", b""), headers.get(b"accept", b"")
    body = body_format(content_type)
    if body.needs_pyarrow and not arrow_columns.is_pyarrow_installed():
        raise UnsupportedMediaType(f"content type {rendered(content_type)} {PYARROW_MISSING}")
    response = response_format(accept, body)
    if response.needs_pyarrow and not arrow_columns.is_pyarrow_installed():
        raise NotAcceptable(f"response type {response.media_types[0].decode()} {PYARROW_MISSING}")
    return body, response


@functools.lru_cache(64)
def body_format(header: bytes) -> BodyFormat:
    """Raises UnsupportedMediaType."""
    content_type = check_content_type(header, FORMAT_BY_MEDIA_TYPE, f"one of {LISTED} (text in UTF-8)")
    if content_type.parameters.get(b"header") == b"absent":
        raise UnsupportedMediaType(f"content type {rendered(header)} is not supported: a CSV needs a header line")
    known, encoding = FORMAT_BY_MEDIA_TYPE[content_type.media_type], content_type.encoding
    return known if encoding is None else known._replace(encoding=encoding)


@functools.lru_cache(64)
def response_format(accept: bytes, body: BodyFormat) -> BodyFormat:
    """The format that Accept prefers, or the format of the body on a tie. Raises NotAcceptable."""
    if not accept.strip():
        return body
    qualities = parse_accept(accept)
    best = max((body, *FORMATS), key=lambda known: quality(qualities, known.media_types))
    if not quality(qualities, best.media_types):
        raise NotAcceptable(f"no response type matches Accept {rendered(accept)}, expected one of {LISTED}")
    return best


@functools.lru_cache(64)
def parse_accept(header: bytes) -> Mapping[bytes, float]:
    """The quality of each media type or range in an Accept header, 0 to 1."""
    return dict(map(_media_range, header.lower().split(b",")))


def _media_range(text: bytes) -> tuple[bytes, float]:
    media_range, *rest = [part.strip() for part in text.split(b";")]
    value = dict(part.partition(b"=")[::2] for part in rest).get(b"q", b"1")
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    return media_range, min(number, 1.0) if number > 0 else 0.0  # NaN counts as 0


def quality(qualities: Mapping[bytes, float], media_types: Sequence[bytes]) -> float:
    """The quality of a format: that of its media types, else that of its range (`text/*`), else that of `*/*`."""
    named = [qualities[media_type] for media_type in media_types if media_type in qualities]
    if named:
        return max(named)
    media_range = media_types[0].partition(b"/")[0] + b"/*"
    return qualities.get(media_range, qualities.get(b"*/*", 0.0))


def prefers(accept: bytes, media_type: bytes, default: bytes) -> bool:
    """Whether Accept prefers a media type to the default: by a higher quality, or by name at the same quality."""
    qualities = parse_accept(accept)
    ours, other = quality(qualities, (media_type,)), quality(qualities, (default,))
    return ours > other or (media_type in qualities and ours == other > 0)


def rendered(header: bytes) -> str:
    return repr(truncate(header.decode("latin-1")))
