"""The fast path for whole bodies of numbers reads the same rows as the decoders, even from damaged bodies."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from models.cell_format import CellFormat
from models.fast.number_blocks import common_csv, common_ndjson
from models.feature import Feature
from models.formats.blocks import Block, TableDecoder, decode_whole
from models.formats.csv_decoder import CsvDecoder
from models.formats.errors import FormatError
from models.formats.ndjson_decoder import NdjsonDecoder
from models.number_rows import MIN_BYTES
from models.schema import FeatureSchema

NAMES = ("a", "größe", "c")
VALUES = ("0", "-1.5", "2e3", "17", "0.25", "123456.789")
ROWS = 400  # over MIN_BYTES
Common = Callable[[FeatureSchema, bytes, int], Block | None]


def schema_of(**options: object) -> FeatureSchema:
    features = [Feature(name=name, kind="number", nullable=False) for name in NAMES]
    return FeatureSchema.model_validate(
        {"name": "t", "task": "regression", "target": "y", "features": features, "format": 2, **options}
    )


SCHEMA = schema_of()


def lines_of(generator: random.Random, order: tuple[str, ...] = NAMES) -> bytes:
    rows = ["{" + ", ".join(f'"{name}": {generator.choice(VALUES)}' for name in order) + "}\n" for _ in range(ROWS)]
    return "".join(rows).encode()


def csv_of(generator: random.Random, order: tuple[str, ...] = NAMES, end: str = "\n") -> bytes:
    rows = [",".join(generator.choice(VALUES) for _ in order) for _ in range(2 * ROWS)]
    return end.join([",".join(order), *rows, ""]).encode()


def decoder(common: Common) -> TableDecoder:
    return (CsvDecoder if common is common_csv else NdjsonDecoder)(SCHEMA, 10_000, 10**6)


def numbers(block: Block | None) -> np.ndarray:
    assert block is not None
    rows = block.validate(SCHEMA)
    assert (rows.valid, [*rows.errors], rows.warnings, rows.count) == (None, [], {}, block.count)
    return rows.frame.numbers


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_bodies_of_numbers_give_the_rows_of_the_decoders(order: tuple[str, ...], end: bytes) -> None:
    generator = random.Random(0)
    for common, body in ((common_ndjson, lines_of(generator, order)), (common_csv, csv_of(generator, order))):
        body = body.removesuffix(b"\n") + end
        expected = numbers(decode_whole(decoder(common), body))
        np.testing.assert_array_equal(numbers(common(SCHEMA, body, 10_000)), expected)
    body = csv_of(generator, order, "\r\n")
    np.testing.assert_array_equal(
        numbers(common_csv(SCHEMA, body, 10_000)), numbers(decode_whole(decoder(common_csv), body))
    )


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("common", [common_ndjson, common_csv])
def test_damaged_bodies_give_the_rows_of_the_decoders(common: Common, seed: int) -> None:
    generator = random.Random(seed)
    body = bytearray((lines_of if common is common_ndjson else csv_of)(generator))
    for _ in range(generator.choice([1, 2])):
        at = generator.choice([generator.randrange(len(body)), generator.randrange(40)])
        body[at : at + generator.choice([0, 1])] = generator.choice(
            [
                b"",
                b",",
                b"\n",
                b"\r",
                b'"',
                b"{",
                b"}",
                b"[",
                b"1",
                b".",
                b"-",
                b" ",
                b"\t",
                b"\0",
                b"e",
                b"true",
                b"\xff",
            ]
        )
    found = common(SCHEMA, bytes(body), 10_000)
    if found is None:
        return
    try:
        expected = numbers(decode_whole(decoder(common), bytes(body)))
    except FormatError as error:
        pytest.fail(f"the decoder refuses this body: {error}")
    np.testing.assert_array_equal(numbers(found), expected)


@pytest.mark.parametrize("body", [b"a" + b" " * MIN_BYTES + b"\n", b"a\n" + b" " * MIN_BYTES])
def test_a_single_column_without_values_is_left_to_the_decoder(body: bytes) -> None:
    schema = FeatureSchema(
        name="t", task="regression", target="y", features=[Feature(name="a", kind="number", nullable=False)]
    )
    assert common_csv(schema, b"a\n" + b"1\n" * MIN_BYTES, MIN_BYTES) is not None
    assert common_csv(schema, body, 10) is None


def test_other_bodies_are_left_to_the_decoders() -> None:
    generator = random.Random(1)
    lines, table = lines_of(generator), csv_of(generator)
    assert common_ndjson(SCHEMA, lines, ROWS - 1) is None
    assert common_csv(SCHEMA, table, 2 * ROWS - 1) is None
    assert common_ndjson(SCHEMA, lines[:200], ROWS) is None  # a short body would not be read faster
    for body in (
        table.replace(b",", b";"),
        table + b"1,2\n",
        table + b"1,2,\n",
        table + b"1,2,true\n",
        table + b"1,2,1e999\n",
        table + b"\n1,2,3\n",
        table.replace(b"a,", b"x,", 1),
        table.replace(b"a,", b"c,", 1),
        table.replace(b"a,", b"", 1),
    ):
        assert common_csv(SCHEMA, body, 10_000) is None


@pytest.mark.parametrize(
    "options",
    [
        {"missing": ["0"]},
        {"comment": "#"},
        {"skip_rows": 1},
        {"encoding": "cp1252"},
    ],
)
def test_tables_with_other_csv_options_are_left_to_the_decoder(options: dict[str, object]) -> None:
    body = csv_of(random.Random(2))
    assert common_csv(SCHEMA, body, 10_000) is not None
    assert common_csv(schema_of(**options), body, 10_000) is None


def test_a_column_with_a_decimal_comma_is_left_to_the_decoder() -> None:
    features = [*SCHEMA.features[:2], SCHEMA.features[2].model_copy(update={"cells": CellFormat(decimal=",")})]
    changed = FeatureSchema(name="t", task="regression", target="y", features=features, format=2)
    assert common_csv(changed, csv_of(random.Random(3)), 10_000) is None
