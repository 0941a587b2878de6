"""The index of a pandas table is ignored in every table body, unless the model's table has such a column."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from models.fast.arrow_block import common_block
from models.feature import Feature
from models.formats.arrow_decoder import ArrowDecoder
from models.formats.blocks import Block, decode_whole
from models.formats.csv_decoder import CsvDecoder
from models.formats.parquet_decoder import ParquetDecoder
from models.schema import FeatureSchema

CASES = Path(__file__).parents[2] / "training" / "cases"
FEATURES = [Feature(name=name, kind="number", nullable=False) for name in ("x", "z")]
SCHEMA = FeatureSchema(name="t", task="regression", target="y", features=FEATURES)
FRAME = pd.DataFrame({"x": [1.0, 2.0, 3.0], "z": [4.0, 5.0, 6.0]})
INDEXED: dict[str, pd.DataFrame] = {
    "filtered": FRAME[FRAME["x"] != 2],
    "text": FRAME.set_index(pd.Index(["a", "b", "c"])),
    "named": FRAME.set_index(pd.Index([7, 9, 8], name="id")),
    "two levels": FRAME.set_index([pd.Index([7, 8, 9]), pd.Index([1, 1, 2])]),
    "dates": FRAME.set_index(pd.date_range("2024-01-01", periods=3)),
}


def arrow(frame: pd.DataFrame) -> bytes:
    sink, table = io.BytesIO(), pa.Table.from_pandas(frame)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


def fast_arrow(body: bytes, schema: FeatureSchema) -> Block | None:
    return common_block(schema, body, 100) or decode_whole(ArrowDecoder(schema, 100, 10**6), body)


READ: dict[str, tuple[Callable[[pd.DataFrame], bytes], Callable[[bytes, FeatureSchema], Block | None]]] = {
    "arrow": (arrow, lambda body, schema: decode_whole(ArrowDecoder(schema, 100, 10**6), body)),
    "fast arrow": (arrow, fast_arrow),
    "parquet": (parquet, lambda body, schema: decode_whole(ParquetDecoder(schema, 100, 10**6), body)),
}


def errors(block: Block | None, schema: FeatureSchema = SCHEMA) -> list[Any]:
    assert block is not None
    return list(block.validate(schema).errors)


@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("name", INDEXED)
def test_pandas_index_is_ignored(form: str, name: str) -> None:
    write, read = READ[form]
    block = read(write(INDEXED[name]), SCHEMA)
    assert not errors(block)
    assert block is not None
    assert block.validate(SCHEMA).frame.numbers[:, 0].tolist() == INDEXED[name]["x"].tolist()


@pytest.mark.parametrize("form", READ)
def test_pandas_index_that_is_a_feature_is_read(form: str) -> None:
    write, read = READ[form]
    schema = FeatureSchema(
        name="t", task="regression", target="y", features=[*FEATURES, Feature(name="id", kind="number", nullable=True)]
    )
    block = read(write(INDEXED["named"]), schema)
    assert block is not None
    assert block.validate(schema).frame.numbers[:, 2].tolist() == [7, 9, 8]


@pytest.mark.parametrize("form", READ)
def test_unknown_column_that_is_not_an_index_is_an_error(form: str) -> None:
    write, read = READ[form]
    assert [error.code for error in errors(read(write(FRAME.assign(w=1.0)), SCHEMA))] == ["unknown_field"] * 3


def csv(body: str, schema: FeatureSchema = SCHEMA) -> Block | None:
    return decode_whole(CsvDecoder(schema, 100, 10**6), body.encode())


@pytest.mark.parametrize(
    "body",
    [
        FRAME.to_csv(),
        FRAME.to_csv(sep=";"),
        "\ufeff" + FRAME.to_csv(lineterminator="\r\n"),
        "sep=;\r\n" + FRAME.to_csv(sep=";", index=False),
        "x,z\n1,4,\n2,5,\n",
    ],
)
def test_csv_with_an_index_column_is_read(body: str) -> None:
    block = csv(body)
    assert not errors(block)
    assert block is not None
    assert block.validate(SCHEMA).frame.numbers[:2].tolist() == [[1, 4], [2, 5]]


@pytest.mark.parametrize("body", ["x,,z\n1,2,3\n", "x,z\n1,2,3\n", "x,z\n1,2,,\n"])
def test_unnamed_column_at_another_position_is_an_error(body: str) -> None:
    assert errors(csv(body))


def test_shuffled_pandas_table_is_a_valid_body() -> None:
    block = decode_whole(ParquetDecoder(SCHEMA, 100, 10**6), (CASES / "f15_shuffled_pandas.parquet").read_bytes())
    assert not errors(block)
