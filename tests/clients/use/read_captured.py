"""Runs LINE, a line of the documentation that reads captured files, and prints a summary as JSON. argv: LIBRARY LINE"""

import glob
import json
import sys
from typing import Any

import duckdb
import polars as pl


def read(library: str, line: str) -> list[dict[str, Any]]:
    if library == "DuckDB":
        found: Any = duckdb.sql(line)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    table = eval(line, {"pl": pl, "glob": glob})
    rows: list[dict[str, Any]] = table.to_dicts()
    return rows


rows = read(*sys.argv[1:])
print(
    json.dumps(
        {
            "ids": sorted(row["tabserve_id"] for row in rows),
            "towns": sorted({row["town"] for row in rows}),
            "ages": sorted(row["age"] for row in rows if row["tabserve_version"] == "2"),
        }
    )
)
