"""Bulk scoring with the default models writes the predictions, warnings and errors that a real server returns."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from models.golden_rows import TOLERANCE
from tests.docs.conftest import ROOT, Server

ARROW = "application/vnd.apache.arrow.stream"


@pytest.mark.parametrize(("model", "option"), [("housing", "interval"), ("penguins", "set")])
def test_bulk_scoring_writes_the_predictions_of_the_server(
    model: str, option: str, docs_server: Server, tmp_path: Path
) -> None:
    description = requests.get(f"{docs_server.url}/models/{model}", timeout=60).json()
    row = description["examples"][0]["row"]
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in variations(row)))
    response = requests.post(
        f"{docs_server.url}/predict/{model}?on_invalid=skip&{option}=0.9",
        data=path.read_bytes(),
        headers={"Content-Type": "application/x-ndjson", "Accept": ARROW},
        timeout=60,
    )
    assert response.status_code == 200, response.text
    expected = pa.ipc.open_stream(response.content).read_all()
    words = [model, str(path), "--out", str(tmp_path / "out"), f"--{option}", "0.9", "--max-bad", "100%"]
    done = subprocess.run(
        [sys.executable, "-m", "scoring", *words, "--workers", "1"],
        cwd=ROOT,
        env=docs_server.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    actual = pq.ParquetFile(tmp_path / "out" / "part-00000-00000.parquet").read()
    assert actual.schema.names == expected.schema.names
    for name in expected.schema.names:
        before, after = expected.column(name).combine_chunks(), actual.column(name).combine_chunks()
        if pa.types.is_floating(before.type):
            assert after.is_null().equals(before.is_null()), name
            wanted, found = (column.drop_null().to_numpy() for column in (before, after))
            assert np.max(np.abs(found - wanted) / np.maximum(np.abs(wanted), 1)) <= TOLERANCE, name
        else:
            assert after.equals(before), name
    assert 0 < actual.column("error").null_count < actual.num_rows
    assert actual.column("warnings").null_count < actual.num_rows


def variations(row: dict[str, Any]) -> list[Any]:
    """A row; the same row with each value null, changed, out of range or absent; and values that are not valid rows."""
    rows: list[Any] = [row, {**row, "unknown": 1}, {}, [1], "text"]
    for name, value in row.items():
        number = isinstance(value, int | float)
        rows += [{**row, name: None}, {**row, name: value * 1.01 if number else "never seen"}]
        rows += [{**row, name: 1e9 if number else 5}, {key: kept for key, kept in row.items() if key != name}]
    return rows
