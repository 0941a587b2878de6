"""`NumberRows` reads rows of numbers like the validators, and reads no text that the validators refuse."""

import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from models.feature import Feature
from models.frame import FloatMatrix
from models.number_rows import NumberRows, Separator, can_read_rows
from models.schema import FeatureSchema

NAMES = ("MedInc", "b", "a long name of a column of 34 bytes", "größe", "e", "x1", "Latitude", "nine char")
NUMBERS = ("0", "-0", "7", "-1.5", "2e3", "1E-400", "18446744073709551616", "0.1", "123456789.123456789", "1e308")


def features(names: Sequence[str] = NAMES, **options: Any) -> list[Feature]:
    return [Feature(name=name, kind="number", nullable=False, **options) for name in names]


def schema_of(columns: Sequence[Feature]) -> FeatureSchema:
    return FeatureSchema(name="numbers", task="regression", target="y", features=[*columns])


def general(schema: FeatureSchema, text: bytes) -> FloatMatrix | None:
    """The matrix that the validators read from a text, or None if the text is not valid."""
    rows = schema.validators.parse_body(b'{"rows":[%b]}' % text)
    return None if rows is None else schema.frames.from_rows(rows).numbers


def text_of(rows: Sequence[Mapping[str, str]], comma: str = ", ", colon: str = ": ", between: str = ", ") -> bytes:
    return between.join(
        "{" + comma.join(f"{json.dumps(name, ensure_ascii=False)}{colon}{value}" for name, value in row.items()) + "}"
        for row in rows
    ).encode()


def random_rows(generator: random.Random, count: int, names: Sequence[str] = NAMES) -> list[dict[str, str]]:
    ordered = generator.sample(names, len(names))
    return [{name: generator.choice(NUMBERS) for name in ordered} for _ in range(count)]


@pytest.mark.parametrize("seed", range(12))
def test_regular_texts_give_the_values_of_the_validators(seed: int) -> None:
    generator = random.Random(seed)
    columns = features(NAMES[: generator.choice([1, 2, 5, 8])])
    schema, names = schema_of(columns), [feature.name for feature in columns]
    rows = random_rows(generator, generator.choice([1, 2, 300]), names)
    comma, colon, between = generator.choice([", ", ","]), generator.choice([": ", ":"]), generator.choice([", ", ","])
    text = text_of(rows, comma, colon, between)
    matrix, expected = NumberRows(columns).read(text), general(schema, text)
    assert matrix is not None
    assert expected is not None
    np.testing.assert_array_equal(matrix, expected)
    lines = NumberRows(columns).read(text_of(rows, comma, colon, "\n"), b"\n")
    np.testing.assert_array_equal(lines, expected)


def test_texts_may_differ_in_format() -> None:
    """The format of the previous text is tried first."""
    columns = features(NAMES[:3])
    reader, schema, generator = NumberRows(columns), schema_of(columns), random.Random(1)
    for _ in range(60):
        rows = random_rows(generator, generator.choice([1, 4]), NAMES[:3])
        text = text_of(rows, *(generator.choice([mark, mark + " "]) for mark in (",", ":", ",")))
        np.testing.assert_array_equal(reader.read(text), general(schema, text))
        assert reader.read(text.replace(b'"b"', b'"c"')) is reader.read(text[:-1]) is None


def test_long_values_are_left_to_the_validators() -> None:
    for digits in (38, 39, 40):
        text = b'{"a":1,"b":%b},{"a":2,"b":3}' % (b"0." + b"1" * (digits - 2))
        assert (NumberRows(features(("a", "b"))).read(text) is None) == (digits > 39)


def test_column_names_may_be_written_with_escapes() -> None:
    columns = features(("größe", "b"))
    text = json.dumps([{"größe": 1, "b": 2}, {"größe": 3, "b": 4}]).encode()[1:-1]
    assert b"\\u00f6" in text
    np.testing.assert_array_equal(NumberRows(columns).read(text), [[1, 2], [3, 4]])


@pytest.mark.parametrize("separator", [b",", b"\n"])
@pytest.mark.parametrize("seed", range(8))
def test_changed_texts_give_the_result_of_the_validators(seed: int, separator: Separator) -> None:
    """200 texts, each with a few changed, added, removed or swapped characters."""
    generator = random.Random(seed)
    columns = features(NAMES[:3])
    schema, reader, read = schema_of(columns), NumberRows(columns), 0
    for _ in range(200):
        between = "\n" if separator == b"\n" else generator.choice([", ", ","])
        text = bytearray(text_of(random_rows(generator, 3, NAMES[:3]), between=between))
        for _ in range(generator.choice([1, 1, 2, 4])):
            change(generator, text)
        found = reader.read(bytes(text), separator)
        if found is None:
            continue
        read += 1
        lines = bytes(text).replace(b"}\n{", b"},{") if separator == b"\n" else bytes(text)
        np.testing.assert_array_equal(found, general(schema, lines), err_msg=repr(text))
    assert read  # some changes leave a valid text


def change(generator: random.Random, text: bytearray) -> None:
    at, other = generator.randrange(len(text)), generator.randrange(len(text))
    kind = generator.choice(["replace", "insert", "delete", "swap", "copy"])
    character = generator.choice(b'{}[]:,"\\ \0\n0159.-+eEtruefalsnNI\xc3')
    if kind == "replace":
        text[at] = character
    elif kind == "insert":
        text.insert(at, character)
    elif kind == "delete":
        del text[at]
    elif kind == "swap":
        text[at], text[other] = text[other], text[at]
    else:
        text[at:at] = text[other : other + 9]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"a":1}',
        b'{"a":1,"b":2},{"b":3,"a":4}',
        b'{"a":1,"a":2},{"a":3,"a":4}',
        b'{"a":1,"b":true}',
        b'{"a":1,"b":null}',
        b'{"a":1,"b":"2"}',
        b'{"a":1,"b":[2]}',
        b'{"a":1,"b":2\0}',
        b'{"a":1,"b":2},',
        b'{"a":1,2,"b":3},{"a":4,5,"b":6}',
        b'{"a":1,2,"b":3},{"a":,"b":6}',
        b'{"a":[1,"b":2]},{"a":3,4,"b":5}',
        b'{"a":1\x01,"b":2}',
        b'{"a":1,"b":2},{"a":3,"c":4}',
        b'{"a":1,"b":2},{"a":3, "b":4}',
        b'{"a":1,"b":2}},{{"a":3,"b":4}',
        b'{"a":1,"b":2},{"b":4},"a":3',
        b'{"a":1,"b":%b}' % b"1".zfill(41),
        b'{"a":1,"b":2},,{"a":1,"b":2}',
        b'{"a":1,"b":2}{"a":1,"b":2}',
        b'{"a":1,"b":2,"c":3}',
        b'{"a":1:"b",2}',
        b'{"a":,"b":2}',
        b'{"a":1,"b":1e400}',
        b'{"a":NaN,"b":2}',
        b'{"a":1,"b":2}}',
        b'"a":1,"b":2{}',
        b'{"a":1,"B":2}',
    ],
)
def test_other_texts_are_left_to_the_validators(text: bytes) -> None:
    assert NumberRows(features(("a", "b"))).read(text) is None


@pytest.mark.parametrize("text", [b'{"a":1,"b":\n2}\n{"a":3,"b":4}', b'{"a":1,"b":2}\n{"a":3,"b":4\n}'])
def test_row_over_several_lines_is_left_to_the_validators(text: bytes) -> None:
    reader = NumberRows(features(("a", "b")))
    assert reader.read(text, b"\n") is None
    assert reader.read(b'{"a":1,"b":2}\n{"a":3,"b":4}', b"\n") is not None


@pytest.mark.parametrize("text", [b'{"a":}', b'{"a":  }', b'{"a":\t}', b'{"a":1},{"a": }', b'{"a": },{"a": }'])
@pytest.mark.parametrize("separator", [b",", b"\n"])
def test_single_column_without_a_value_is_left_to_the_validators(text: bytes, separator: Separator) -> None:
    assert NumberRows(features(("a",))).read(text.replace(b"},", b"}" + separator), separator) is None


def test_limits_of_columns_are_checked() -> None:
    text = b'{"a":1,"b":2},{"a":3,"b":4}'
    assert NumberRows([*features(("a",), minimum=1, maximum=3), *features(("b",))]).read(text) is not None
    assert NumberRows([*features(("a",), minimum=1.5), *features(("b",))]).read(text) is None
    assert NumberRows([*features(("a",)), *features(("b",), maximum=math.nextafter(4, 0))]).read(text) is None


def test_only_columns_of_required_numbers_are_read() -> None:
    assert can_read_rows(features())
    assert not can_read_rows([*features(), Feature(name="c", kind="number", nullable=True)])
    assert not can_read_rows([*features(), Feature(name="c", kind="boolean", nullable=False)])
    for character in '":,{}\\\0':
        assert not can_read_rows(features((f"a{character}b",)))
