"""Content negotiation: the format of a body by Content-Type, the format of a response by Accept."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

from models.formats import arrow_columns
from models.text import truncate
from service.errors import NotAcceptable, UnsupportedMediaType

JSON = b"application/json"
JSON_TYPES = frozenset([b"", JSON, b"application/json; charset=utf-8", b"application/json;charset=utf-8"])


def check_json(headers: Mapping[bytes, bytes]) -> None:
    """Raises UnsupportedMediaType unless the content type is JSON in UTF-8, or none is told."""
    kind = headers.get(b"content-type", b"")
    if kind in JSON_TYPES:
        return
    media, *parameters = [part.strip().lower() for part in kind.split(b";")]
    charset = dict(parameter.partition(b"=")[::2] for parameter in parameters).get(b"charset", b"utf-8").strip(b'"')
    if media not in (JSON, b"") or charset not in (b"utf-8", b"utf8"):
        text = truncate(kind.decode("latin-1"))
        raise UnsupportedMediaType(f"content type {text!r} is not supported, expected application/json in UTF-8")


class Form(NamedTuple):
    """A form that bodies and answers have; `name` is the label of metrics."""

    name: str
    kinds: tuple[bytes, ...]  # media types, our own first
    by_pyarrow: bool = False


JSON_FORM = Form("json", (b"application/json",))
FORMS = (
    JSON_FORM,
    Form("ndjson", (b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/x-jsonlines")),
    Form("csv", (b"text/csv", b"application/csv")),
    Form("arrow", (b"application/vnd.apache.arrow.stream",), by_pyarrow=True),
    Form("parquet", (b"application/vnd.apache.parquet", b"application/x-parquet"), by_pyarrow=True),
)
BY_KIND = {kind: form for form in FORMS for kind in form.kinds}
ANYTHING = frozenset([b"*/*", b"application/json"])  # the ways of asking for JSON that need no thought
EXTRA = "needs pyarrow, which is not installed here (pip install 'tabserve[arrow]')"


def plain(headers: Mapping[bytes, bytes]) -> bool:
    """Whether it is JSON in, JSON out, as can be seen at once."""
    return headers.get(b"content-type", b"") in JSON_TYPES and headers.get(b"accept", b"*/*") in ANYTHING


def negotiate(headers: Mapping[bytes, bytes]) -> tuple[Form, Form]:
    """The form of the body, and of the answer. Raises UnsupportedMediaType or NotAcceptable."""
    content_type, accept = headers.get(b"content-type", b""), headers.get(b"accept", b"")
    given = form_of(content_type)
    if given.by_pyarrow and not arrow_columns.installed():
        raise UnsupportedMediaType(f"content type {truncate(content_type.decode('latin-1'))!r} {EXTRA}")
    best = wanted(accept, given)
    if best.by_pyarrow and not arrow_columns.installed():
        raise NotAcceptable(f"an answer as {best.kinds[0].decode()} {EXTRA}")
    return given, best


@functools.lru_cache(64)
def form_of(kind: bytes) -> Form:
    """Raises UnsupportedMediaType."""
    media, *parameters = [part.strip().lower() for part in kind.split(b";")]
    form = BY_KIND.get(media) if media else JSON_FORM
    told = dict(parameter.partition(b"=")[::2] for parameter in parameters)
    charset, header = (told.get(name, b"").strip(b'"') for name in (b"charset", b"header"))
    text = truncate(kind.decode("latin-1"))
    if form is None or charset not in (b"", b"utf-8", b"utf8", b"us-ascii"):
        listed = ", ".join(form.kinds[0].decode() for form in FORMS)
        raise UnsupportedMediaType(f"content type {text!r} is not supported, expected one of {listed}, text in UTF-8")
    if header == b"absent":
        raise UnsupportedMediaType(f"content type {text!r} is not supported: a CSV needs a header line")
    return form


@functools.lru_cache(64)
def wanted(accept: bytes, given: Form) -> Form:
    """What is liked best of what can be had; the body's own form where that is liked as well. Raises NotAcceptable."""
    if not accept.strip():
        return given
    liked = dict(map(quality, accept.lower().split(b",")))

    def how_much(form: Form) -> float:
        of_form = [liked[kind] for kind in form.kinds if kind in liked]
        group = form.kinds[0].partition(b"/")[0] + b"/*"
        return max(of_form) if of_form else liked.get(group, liked.get(b"*/*", 0.0))

    best = max((given, *FORMS), key=how_much)
    if not how_much(best):
        text, listed = truncate(accept.decode("latin-1")), ", ".join(form.kinds[0].decode() for form in FORMS)
        raise NotAcceptable(f"answers are not given as {text!r}, but as one of {listed}")
    return best


def quality(part: bytes) -> tuple[bytes, float]:
    media, *parameters = [one.strip() for one in part.split(b";")]
    given = dict(parameter.partition(b"=")[::2] for parameter in parameters).get(b"q", b"1")
    try:
        return media, min(max(float(given), 0.0), 1.0)
    except ValueError:
        return media, 0.0
