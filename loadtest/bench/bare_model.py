"""The limit for one model: its own check, encoder and network behind nothing but an HTTP server and JSON.

What a server of this model has to do in any case; no limits, metrics, warnings, request ids or short ways. Run by
uvicorn like `bare_asgi`; BENCH_VERSION is the folder of the version.
"""

import os
from pathlib import Path

import orjson

from loadtest.bench.bare_asgi import Message, Receive, Send, body_of
from models import store
from models.store import Stored

folder = Path(os.environ["BENCH_VERSION"])
model = store.read(Stored(folder.parent.name, int(folder.name), folder), "numpy")


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    rows = model.schema.accept_json(await body_of(receive))
    assert rows is not None
    body = orjson.dumps({"predictions": model.present(model.predict_rows(rows))})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
