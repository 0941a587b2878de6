"""A hand-written FastAPI file: a pydantic model of the row, the network, a dictionary as the response."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, create_model

from loadtest.bench.peers.peer_network import FIELDS, forward

fields: Any = dict.fromkeys(FIELDS, (float, ...))
Row = create_model("Row", __config__=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False), **fields)


class Body(BaseModel):
    rows: list[Row]  # type: ignore[valid-type]


app = FastAPI()


@app.post("/predict")  # type: ignore[untyped-decorator]
async def predict(body: Body) -> dict[str, list[dict[str, float]]]:
    x = [[getattr(row, name) for name in FIELDS] for row in body.rows]
    return {"predictions": [{"value": value} for value in forward(x)[:, 0].tolist()]}
