"""Small request bodies that expand to large content, in random variations of several kinds."""

import gzip
import io
import json
import random
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
PREDICT = "/predict/texts"
MIB = 1024**2


class Bomb(NamedTuple):
    name: str
    path: str
    headers: dict[str, str]
    body: bytes


def parquet_bomb(name: str, table: pa.Table, **options: object) -> Bomb:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return Bomb(name, PREDICT, {"content-type": PARQUET}, sink.getvalue())


def arrow_bomb(name: str, *batches: pa.RecordBatch) -> Bomb:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return Bomb(name, PREDICT, {"content-type": ARROW}, sink.getvalue())


def compressed_bomb(name: str, media: str, content: bytes, coding: str, path: str = PREDICT) -> Bomb:
    body = gzip.compress(content, 6) if coding == "gzip" else zstd.compress(content)
    return Bomb(name, path, {"content-type": media, "content-encoding": coding}, body)


def long_text(rng: random.Random) -> str:
    return "x" * rng.choice([10_000, 300_000, 1_000_000, 3_000_000])


# Parquet


def shared_text_parquet(rng: random.Random) -> Bomb:
    rows, kind = rng.choice([900, 5_000, 50_000]), rng.choice([pa.string(), pa.large_string()])
    codes = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([long_text(rng)], kind))
    compression = rng.choice(["zstd", "snappy", "gzip", "none"])
    return parquet_bomb(f"{rows} rows share a {kind}", pa.table({"job": codes}), compression=compression)


def shared_prefix_parquet(rng: random.Random) -> Bomb:
    rows, text = rng.choice([900, 3_000]), "x" * rng.choice([10_000, 40_000])
    texts = pa.array([f"{text}{row}" for row in range(rows)])
    encoding = {"job": rng.choice(["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])}
    return parquet_bomb(
        "texts with a common prefix",
        pa.table({"job": texts}),
        use_dictionary=False,
        column_encoding=encoding,
        compression="zstd",
        data_page_size=rng.choice([MIB, 64 * MIB]),
    )


def large_page_parquet(rng: random.Random) -> Bomb:
    table = pa.table({"job": ["x" * MIB] * rng.choice([40, 90])})
    return parquet_bomb("one large page", table, use_dictionary=False, compression="zstd", data_page_size=512 * MIB)


def nested_parquet(rng: random.Random) -> Bomb:
    count = rng.choice([10**6, 5 * 10**6])
    kind = rng.choice(["list", "struct"])
    value = pa.nulls(count, pa.float64())
    column = (
        pa.ListArray.from_arrays([0, count], value) if kind == "list" else pa.StructArray.from_arrays([value], ["x"])
    )
    return parquet_bomb(f"a {kind} of {count}", pa.table({"a": column}), compression="zstd")


def many_rows_parquet(rng: random.Random) -> Bomb:
    rows = rng.choice([10**6, 5 * 10**6])
    return parquet_bomb(f"{rows} empty rows", pa.table({"unknown": pa.nulls(rows, pa.bool_())}), compression="zstd")


def damaged_parquet(rng: random.Random) -> Bomb:
    table = pa.table({"a": [1.0, 2.0] * 500, "job": ["x", "y"] * 500})
    made = parquet_bomb("damaged", table, use_dictionary=rng.random() < 0.5, compression="zstd")
    body = bytearray(made.body)
    for _ in range(rng.choice([1, 2, 5])):
        body[rng.randrange(4, len(body) - 8)] = rng.choice([0, 127, 128, 255, rng.randrange(256)])
    return made._replace(body=bytes(body))


# Arrow


def overlapping_views(rng: random.Random, count: int) -> pa.Array:
    """A string view array whose texts share the same bytes, or overlapping bytes."""
    text = rng.choice([100_000, MIB])
    step = rng.choice([0, 1])
    rows = [
        (text - step * row).to_bytes(4, "little") + b"xxxx" + bytes(4) + (step * row).to_bytes(4, "little")
        for row in range(count)
    ]
    buffers = [None, pa.py_buffer(b"".join(rows)), pa.py_buffer(b"x" * text)]
    return pa.Array.from_buffers(pa.string_view(), count, buffers)


def string_view_arrow(rng: random.Random) -> Bomb:
    texts = overlapping_views(rng, rng.choice([400, 4_000, 30_000]))
    if rng.random() < 0.5:
        texts = pa.DictionaryArray.from_arrays(pa.array(range(len(texts)), pa.int32()), texts)
    return arrow_bomb("string views", pa.record_batch({"job": texts}))


def run_end_encoded_arrow(rng: random.Random) -> Bomb:
    count = rng.choice([10**6, 2**30])
    column = pa.RunEndEncodedArray.from_arrays(pa.array([count], pa.int32()), pa.array([1.0]))
    return arrow_bomb("run ends", pa.record_batch({"a": column}))


def null_rows_arrow(rng: random.Random) -> Bomb:
    return arrow_bomb("nulls", pa.record_batch({"a": pa.nulls(rng.choice([10**6, 2**31 - 1]))}))


def growing_dictionary_arrow(rng: random.Random) -> Bomb:
    sink = io.BytesIO()
    schema = pa.schema({"job": pa.dictionary(pa.int32(), pa.string())})
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    levels: list[str] = []
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for number in range(rng.choice([5, 60])):
            levels.append(f"{number:03}" + "x" * MIB)
            column = pa.DictionaryArray.from_arrays(pa.array([number], pa.int32()), pa.array(levels))
            writer.write_batch(pa.record_batch({"job": column}))
    return Bomb("growing dictionary", PREDICT, {"content-type": ARROW}, sink.getvalue())


def damaged_arrow(rng: random.Random) -> Bomb:
    made = arrow_bomb("damaged stream", pa.record_batch({"a": [1.0] * 500, "job": ["x"] * 500}))
    body = bytearray(made.body)
    for _ in range(rng.choice([1, 3])):
        body[rng.randrange(8, len(body))] = rng.choice([0, 127, 255, rng.randrange(256)])
    return made._replace(body=bytes(body))


# Texts


def amplified_csv(rng: random.Random) -> Bomb:
    made = compressed_bomb("amplified CSV", "text/csv", b"a\n" + b"1\n" * rng.choice([10**6, 2 * 10**7]), "gzip")
    return made._replace(path=f"{PREDICT}?on_invalid=skip")


def compressed_repeated_byte(rng: random.Random) -> Bomb:
    media = rng.choice(["application/json", "text/csv", "application/x-ndjson", ARROW, PARQUET])
    return compressed_bomb(
        f"packed {media}",
        media,
        bytes([rng.choice(b"[x\n ,")]) * rng.choice([20, 100]) * MIB,
        rng.choice(["gzip", "zstd"]),
    )


def many_gzip_members(rng: random.Random) -> Bomb:
    made = compressed_bomb("members", "text/csv", b"a,b\n" + b"1,2\n" * 100_000, "gzip")
    return made._replace(body=made.body * rng.choice([50, 2000]))


def long_gzip_line(rng: random.Random) -> Bomb:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(compressor.compress(b"," * MIB) for _ in range(rng.choice([15, 200]))) + compressor.flush()
    return Bomb("one line", PREDICT, {"content-type": "text/csv", "content-encoding": "gzip"}, body)


def many_json_keys(rng: random.Random) -> Bomb:
    keys = ",".join(f'"k{number}":1' for number in range(rng.choice([10**5, 10**6])))
    row = rng.choice(['{"rows":[{%s}]}', "{%s}", '{"rows":[{"a":1},{%s}]}'])
    path = rng.choice([PREDICT, "/v2/models/texts/infer", "/v1/models/texts:predict", "/invocations"])
    return Bomb("keys", path, {"content-type": "application/json"}, (row % keys).encode())


def many_json_nodes(rng: random.Random) -> Bomb:
    part = rng.choice(["[],", "{},", "1,", '"",', "[[],[]],", '{"a":1},'])
    body = '{"rows":[' + part * (rng.choice([4, 15]) * MIB // len(part)) + "1]}"
    return Bomb("nodes", PREDICT, {"content-type": "application/json"}, body.encode())


def excessive_declared_shape(rng: random.Random) -> Bomb:
    shape = rng.choice([[10**9, 2], [2**31, 1], [1, 10**9], [10**18]])
    inputs = [{"name": "a", "shape": shape, "datatype": "FP64", "parameters": {"binary_data_size": 8}}]
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Bomb("claimed shape", "/v2/models/texts/infer", headers, head + bytes(8))


def empty_bytes_tensor(rng: random.Random) -> Bomb:
    count = rng.choice([10**5, 3 * 10**6])
    content = bytes(4) * count
    inputs = [{"name": "job", "shape": [count], "datatype": "BYTES", "parameters": {"binary_data_size": len(content)}}]
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Bomb("empty bytes", "/v2/models/texts/infer", headers, head + content)


KINDS: tuple[Callable[[random.Random], Bomb], ...] = (
    shared_text_parquet,
    shared_prefix_parquet,
    large_page_parquet,
    nested_parquet,
    many_rows_parquet,
    damaged_parquet,
    string_view_arrow,
    run_end_encoded_arrow,
    null_rows_arrow,
    growing_dictionary_arrow,
    damaged_arrow,
    amplified_csv,
    compressed_repeated_byte,
    many_gzip_members,
    long_gzip_line,
    many_json_keys,
    many_json_nodes,
    excessive_declared_shape,
    empty_bytes_tensor,
)


def variations(count: int, seed: int = 0) -> Iterator[Bomb]:
    rng = random.Random(seed)
    for number in range(count):
        yield KINDS[number % len(KINDS)](rng)
