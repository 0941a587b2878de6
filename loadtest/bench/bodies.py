"""Body formats compared with the lower limit of their cost: one row as JSON tensors, 1,000 rows as binary tensors and
as Arrow, and a large Parquet file, which has to be answered in bounded memory.

The lower limits are bare ASGI functions (`bare_asgi`, `bare_model`): for tensors the forward pass of the same model,
from the body to values in the target's unit, and the network alone, without scaling. Cost is CPU time, as in `servers`.
"""

import http.client
import io
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from loadtest.bench.server_process import BenchServer, ServerMeasurements, rows_of
from loadtest.bench.server_scenarios import (
    BARE,
    BodyEncoder,
    Contender,
    EncodedBody,
    Row,
    ServerGoal,
    ServerScenario,
    tabserve_server,
    uvicorn,
)
from loadtest.bench.servers import measure, table, train
from models import text_tables
from models.text import counted

GOAL = 2.0  # maximum cost, as a multiple of that of the bare function
TEXT_GOAL = 5.0  # maximum cost of CSV and NDJSON, relative to binary tensors
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
CELL = 8  # bytes of a float64
COLUMNS = 8
GROUP_ROWS = 65_536  # rows per row group of the Parquet file
SAMPLE_S = 0.02
"""The interval between readings of the memory."""


# Body formats


def matrix(rows: Sequence[Row]) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """(rows, features), in the order of the rows' keys, which is the order in the schema."""
    return np.array([[*row.values()] for row in rows], "<f4")


def raw(rows: Sequence[Row]) -> EncodedBody:
    return EncodedBody(matrix(rows).tobytes(), {"content-type": "application/octet-stream"})


def v2_columns(rows: Sequence[Row]) -> EncodedBody:
    inputs = [
        {"name": name, "datatype": "FP64", "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name in rows[0]
    ]
    return EncodedBody(json.dumps({"inputs": inputs}).encode())


def v2_matrix(rows: Sequence[Row]) -> EncodedBody:
    x = [[*row.values()] for row in rows]
    tensor = {"name": "x", "datatype": "FP64", "shape": [len(rows), len(x[0])], "data": x}
    return EncodedBody(json.dumps({"inputs": [tensor]}).encode())


def binary(tensors: Sequence[tuple[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]]) -> EncodedBody:
    raws = [tensor.tobytes() for _, tensor in tensors]
    inputs = [
        {"name": name, "datatype": "FP32", "shape": tensor.shape, "parameters": {"binary_data_size": len(content)}}
        for (name, tensor), content in zip(tensors, raws, strict=True)
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return EncodedBody(b"".join([head, *raws]), headers)


def binary_matrix(rows: Sequence[Row]) -> EncodedBody:
    return binary([("x", matrix(rows))])


def binary_columns(rows: Sequence[Row]) -> EncodedBody:
    return binary([*zip(rows[0], matrix(rows).T, strict=True)])


def arrow(rows: Sequence[Row]) -> EncodedBody:
    return EncodedBody(stream(pa.table(dict(zip(rows[0], matrix(rows).T, strict=True)))), {"content-type": ARROW})


def stream(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def ndjson(rows: Sequence[Row]) -> EncodedBody:
    lines = [json.dumps(row) for row in rows]
    return EncodedBody("\n".join(lines).encode(), {"content-type": "application/x-ndjson"})


def csv(rows: Sequence[Row]) -> EncodedBody:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return EncodedBody("\n".join(lines).encode(), {"content-type": "text/csv"})


# Scenarios and goals

LIMIT = Contender(
    "frombuffer + this model (the limit)",
    uvicorn("loadtest.bench.bare_model:tensors"),
    "/",
    {"BENCH_VERSION": "{store}/eight/1"},
    form=raw,
)
NETWORK = Contender("frombuffer + the network alone", uvicorn("loadtest.bench.bare_asgi:tensors"), "/", form=raw)


def with_format(name: str, form: BodyEncoder, path: str = "/predict/eight") -> Contender:
    made = tabserve_server(name, "eight")
    return Contender(made.name, made.command, path, made.settings, form=form)


V2 = "/v2/models/eight/infer"
JSON_COLUMNS = with_format("v2 JSON, one tensor per column", v2_columns, V2)
JSON_MATRIX = with_format("v2 JSON, one tensor", v2_matrix, V2)
BINARY_MATRIX = with_format("v2 binary, one tensor", binary_matrix, V2)
BINARY_COLUMNS = with_format("v2 binary, one tensor per column", binary_columns, V2)
ARROW_STREAM = with_format("Arrow IPC stream", arrow)
TEXTS = (with_format("NDJSON", ndjson), with_format("CSV", csv))
LIMITED = {measured.name for measured in (JSON_COLUMNS, JSON_MATRIX, BINARY_MATRIX, BINARY_COLUMNS, ARROW_STREAM)}
SCENARIOS = (
    ServerScenario(
        "eight",
        1,
        32,
        (BARE, tabserve_server("native JSON", "eight"), JSON_MATRIX, JSON_COLUMNS),
        "one row of 8 numbers, network 8-32-1",
    ),
    ServerScenario(
        "eight",
        1000,
        8,
        (
            LIMIT,
            NETWORK,
            BINARY_MATRIX,
            BINARY_COLUMNS,
            ARROW_STREAM,
            tabserve_server("native JSON", "eight"),
            *TEXTS,
        ),
        "1,000 rows of 8 float32",
    ),
)


def goal_results(measurements: Sequence[ServerMeasurements]) -> tuple[list[str], int]:
    """One line per goal, and the number of missed goals. Ratios are medians over rounds."""
    by_name = {measured.server.contender.name: measured for measured in measurements}
    first = measurements[0].server.contender.name
    goals = [ServerGoal(name, first, "cost", GOAL) for name in by_name if name in LIMITED]
    if BINARY_MATRIX.name in by_name:
        goals += [ServerGoal(text.name, BINARY_MATRIX.name, "cost", TEXT_GOAL) for text in TEXTS]
    results = [goal.evaluate(by_name) for goal in goals]
    return [f"- {line}" for _, line in results], sum(not good for good, _ in results)


# A large file


class LargeFileResult(NamedTuple):
    """The cost of one request with a file."""

    rows: int
    sent_mb: float
    seconds: float
    cpu_seconds: float
    before_mb: float  # memory of all processes before the request
    peak_growth_mb: float


def write(path: Path, rows: Sequence[Row], count: int) -> None:
    """Write a Parquet file of random rows within the range of `rows`, which are nearly incompressible."""
    rng = np.random.default_rng(0)
    x = np.array([[*row.values()] for row in rows])
    low, high = x.min(axis=0), x.max(axis=0)
    schema = pa.schema([(name, pa.float64()) for name in rows[0]])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, GROUP_ROWS):
            part = rng.uniform(low, high, (min(GROUP_ROWS, count - start), len(x[0])))
            writer.write_table(pa.table(dict(zip(rows[0], part.T, strict=True)), schema))


def post(server: BenchServer, path: Path, response_path: Path) -> None:
    """Send a file and write the response to another file. Raises RuntimeError if the status is not 200."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    with path.open("rb") as body, response_path.open("wb") as content:
        headers = {"content-type": PARQUET, "content-length": str(path.stat().st_size)}
        connection.request("POST", server.contender.path, body, headers)
        response = connection.getresponse()
        shutil.copyfileobj(response, content)
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"status {response.status} for a Parquet file: {response_path.read_bytes()[:300]!r}")


def measure_file(server: BenchServer, folder: Path, rows: Sequence[Row], count: int) -> LargeFileResult:
    """Send a file and sample the server's memory until the response is complete."""
    file, scored_file = folder / f"{count}.parquet", folder / "answer.parquet"
    write(file, rows, count)
    samples: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_S):
            samples.append(server.memory()[1])

    _, before = server.memory()
    sampler, cpu, started = threading.Thread(target=sample), server.cpu(), time.monotonic()
    sampler.start()
    try:
        post(server, file, scored_file)
    finally:
        seconds = time.monotonic() - started
        done.set()
        sampler.join()
    scored = pq.ParquetFile(scored_file).read(["value", "error"])
    if scored.num_rows != count or scored["error"].null_count != count or scored["value"].null_count:
        raise RuntimeError(f"{scored.num_rows} of {count} rows have a prediction, and some of these have no value")
    growth = max([*samples, before]) - before
    return LargeFileResult(count, file.stat().st_size / 1e6, seconds, server.cpu() - cpu, before, growth)


def measure_files(store: Path, home: Path, count: int) -> list[LargeFileResult]:
    """Measure a tenth of the rows, then all rows, after a small file as a warm-up."""
    rows = rows_of(store, "eight", 1000)
    contender = tabserve_server("tabserve", "eight")
    server = BenchServer(contender, store, home, *contender.form(rows[:1]))
    try:
        server.wait()
        measure_file(server, home, rows, 20_000)
        return [measure_file(server, home, rows, size) for size in (max(count // 10, 1), count)]
    finally:
        server.stop()


def large_table(results: Sequence[LargeFileResult]) -> list[list[str]]:
    head = ["rows", "body MB", "rows / s", "CPU µs / row", "MB before", "peak growth MB", "rows as float64, MB"]
    return [
        head,
        *(
            [
                f"{one.rows:,}",
                f"{one.sent_mb:.1f}",
                f"{one.rows / one.seconds:,.0f}",
                f"{1e6 * one.cpu_seconds / one.rows:.2f}",
                f"{one.before_mb:.0f}",
                f"{one.peak_growth_mb:.0f}",
                f"{one.rows * COLUMNS * CELL / 1e6:.0f}",
            ]
            for one in results
        ),
    ]


# The command


def run(rounds: int, seconds: float, rows: int, markdown: Path | None) -> int:
    """Print a Markdown table for each scenario. Returns 1 if a goal is missed."""
    missed, written = 0, []
    with tempfile.TemporaryDirectory(prefix="tabserve-bodies-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        store = train(home, {"eight"})
        client = "wrk" if shutil.which("wrk") else "the bundled client (wrk is not installed)"
        for scenario in SCENARIOS:
            measurements = measure(scenario, store, home, rounds, seconds)
            connections = counted(scenario.connections, "connection")
            title = f"{scenario.text}; {connections} of {client}, median of {counted(rounds, 'round')}"
            lines, over = goal_results(measurements)
            missed += over
            written.append(
                "\n\n".join([title, text_tables.markdown(table(measurements), numbers=True), "\n".join(lines)])
            )
            print(f"\n{written[-1]}", flush=True)
        found = measure_files(store, home, rows)
        bounded = found[-1].peak_growth_mb < rows * COLUMNS * CELL / 1e6
        missed += not bounded
        memory_line = f"- memory: {'bounded' if bounded else 'grows with the file'} (goal: less than the rows)"
        title = "a Parquet file with 8 float64 per row, answered as Parquet, one worker"
        written.append("\n\n".join([title, text_tables.markdown(large_table(found), numbers=True), memory_line]))
        print(f"\n{written[-1]}", flush=True)
    if markdown:
        markdown.write_text("\n\n".join(written) + "\n", encoding="utf-8")
    return int(bool(missed))
