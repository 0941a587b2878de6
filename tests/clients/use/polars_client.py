"""polars_client.py URL KEY: scores a polars frame with the Python client and describes the result as JSON."""

import json
import sys
from importlib.util import find_spec

import polars as pl
from tabserve_client import Client

with Client(sys.argv[1], key=sys.argv[2]) as client:
    row = dict(client.schema("homes").examples[0])
    frame = pl.DataFrame([row] * 9000).with_columns(pl.Series("educational-num", [16 * n / 9000 for n in range(9000)]))
    found = client.predict("homes", frame, interval=0.9).to_polars()
assert found["value"].n_unique() > 4500
assert found.schema == dict.fromkeys(["value", "low", "high"], pl.Float64) | dict.fromkeys(
    ["warnings", "error"], pl.String
)
print(json.dumps({"rows": len(found), "columns": found.columns, "pyarrow": find_spec("pyarrow") is not None}))
