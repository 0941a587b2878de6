"""The limit for one model: its own check, encoder and network behind nothing but an HTTP server and JSON.

What a server of this model has to do in any case; no limits, metrics, warnings, request ids or short ways. `tensors`
takes the body as the matrix that it is, float32 row by row, and checks nothing. Run by uvicorn like `bare_asgi`;
BENCH_VERSION is the folder of the version.
"""

import os
from pathlib import Path

import numpy as np

from loadtest.bench.bare_asgi import Message, Receive, Send, body_of, send_whole
from models import version_files
from models.fast.json_entries import entries_of
from models.frame import Frame
from models.version_files import Stored

folder = Path(os.environ["BENCH_VERSION"])
model = version_files.read(Stored(folder.parent.name, int(folder.name), folder), "numpy")
entries = entries_of(model.output_spec)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    rows = model.schema.validators.parse_body(await body_of(receive))
    assert rows is not None
    body = b'{"predictions":[%s]}' % entries.joined(model.predict_rows(rows))
    await send_whole(b"application/json", body, send)


async def tensors(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    numbers = np.frombuffer(await body_of(receive), "<f4").reshape(-1, len(model.schema.numeric)).astype(np.float64)
    frame = Frame(numbers, np.empty((len(numbers), 0), np.int64))
    await send_whole(b"application/octet-stream", model.predict(frame).primary.tobytes(), send)
