"""A training file is a valid body in its own encoding, and UTF-8 is always read as UTF-8."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.feature import Feature
from models.formats.blocks import decode_whole
from models.formats.csv_decoder import CsvDecoder
from models.formats.errors import FormatError
from models.formats.text_encoding import Utf8Converter, to_utf8
from models.schema import FeatureSchema, SchemaError
from service.http.negotiation import CSV_CHARSETS

CITIES = "city,y\nKöln,1\nMünchen,2\nSão Paulo,3\n"
RUSSIAN = "город,y\nЕё,1\nВсё ещё,2\nМосква,3\n"  # noqa: RUF001 - "Её" in cp1251 is valid UTF-8
TEXTS = {
    "cp1252": CITIES,
    "latin-1": CITIES,
    "cp1250": "city,y\nŁódź,1\nKraków,2\n",
    "cp1251": RUSSIAN,
    "koi8-r": RUSSIAN,
    "shift_jis": "都市,y\n東京,1\n表|ソ,2\nプラハ,3\n",
    "gb18030": "城市,y\n北京,1\n上海,2\n重庆,3\n",
    "utf-16": CITIES,
    "utf-16-le": CITIES,
    "utf-16-be": CITIES,
    "utf-32": CITIES,
}


def in_chunks(encoding: str, body: bytes, size: int, declared: bool = False) -> str:
    decoder = Utf8Converter(encoding, declared=declared)
    parts = [decoder.feed(body[start : start + size]) for start in range(0, len(body), size)]
    return b"".join([*parts, decoder.feed(b"", final=True)]).decode()


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("encoding", TEXTS)
def test_declared_text_is_decoded_in_any_chunks(encoding: str, size: int) -> None:
    assert in_chunks(encoding, TEXTS[encoding].encode(encoding), size, declared=True) == TEXTS[encoding]


@pytest.mark.parametrize("encoding", TEXTS)
def test_training_file_is_decoded_in_its_encoding(encoding: str) -> None:
    assert to_utf8(TEXTS[encoding].encode(encoding), encoding).decode() == TEXTS[encoding]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("encoding", TEXTS)
def test_utf8_body_is_read_as_utf8_for_any_encoding_of_the_training_file(encoding: str, size: int) -> None:
    assert in_chunks(encoding, TEXTS[encoding].encode(), size) == TEXTS[encoding]


@given(st.text(alphabet="aä€,\n", max_size=30), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_text_is_the_same_for_any_chunks(text: str, size: int) -> None:
    assert in_chunks("cp1252", text.encode(), size) == text


def test_invalid_bytes_of_utf8_are_read_as_in_training() -> None:
    body = CITIES.encode().replace("ü".encode(), b"\xfc", 1)
    assert in_chunks("utf-8", body, 5) == CITIES


@pytest.mark.parametrize("body", [CITIES.encode() + b"K\xf6ln,4\n", CITIES.encode() + "Zürich,4\n".encode() + b"\xff"])
def test_utf8_with_an_invalid_byte_is_refused(body: bytes) -> None:
    """Decoded as cp1252, the other rows would contain `KÃ¶ln`."""
    with pytest.raises(FormatError, match="not UTF-8 text"):
        to_utf8(body, "cp1252")


def test_text_in_another_encoding_after_utf8_is_refused() -> None:
    decoder = Utf8Converter("cp1252")
    assert decoder.feed("Köln,1\n".encode()) == "Köln,1\n".encode()
    with pytest.raises(FormatError, match="not UTF-8 text"):
        decoder.feed("München, Düsseldorf\n".encode("cp1252"))


def test_text_in_neither_encoding_is_refused() -> None:
    with pytest.raises(FormatError, match="neither UTF-8 nor cp1252 text"):
        to_utf8(b"a,b\n\x81\xfe,2\n", "cp1252")


def test_rows_are_read_in_the_encoding_of_the_schema() -> None:
    feature = Feature(name="größe", kind="category", nullable=False)
    schema = FeatureSchema(name="a", task="regression", target="y", features=[feature], format=2, encoding="cp1252")
    body = "größe,y\nfünf,1\nzwölf,2\n".encode("cp1252")
    block = decode_whole(CsvDecoder(schema, 100, 10**6), body)
    assert block is not None
    rows = block.validate(schema)
    assert not rows.errors
    for declared, encoding in (("utf-16", "utf-16"), ("cp850", "cp850")):
        body = "größe,y\nfünf,1\nzwölf,2\n".encode(encoding)
        block = decode_whole(CsvDecoder(schema, 100, 10**6, declared), body)
        assert block is not None
        assert not block.validate(schema).errors


@pytest.mark.parametrize("encoding", ["klingon", "hex", "", "idna\0"])
def test_schema_with_an_unknown_encoding_is_refused(encoding: str) -> None:
    feature = Feature(name="a", kind="number", nullable=False)
    schema = FeatureSchema(name="a", task="regression", target="y", features=[feature], format=2)
    changed = json.loads(schema.to_json()) | {"encoding": encoding}
    with pytest.raises(SchemaError, match="not a known encoding"):
        FeatureSchema.from_json(json.dumps(changed))


def test_every_charset_of_a_csv_is_known() -> None:
    for charset in CSV_CHARSETS:
        assert to_utf8("a".encode(charset.decode()), charset.decode(), declared=True) == b"a"
