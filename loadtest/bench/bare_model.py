"""The lower limit for a model: its validators, encoder and network with only an HTTP server and JSON.

The application does the minimum work of a server for this model, without limits, metrics, warnings, request ids or fast
paths. `tensors` reads the body as a float32 matrix, row by row, without validation. Run by uvicorn like `bare_asgi`;
BENCH_VERSION is the folder of the version.
"""

import os
from pathlib import Path

import numpy as np

from loadtest.bench.bare_asgi import Message, Receive, Send, read_body, send_response
from models import version_files
from models.fast.json_entries import fastest_entries
from models.frame import Frame
from models.version_files import StoredVersion

folder = Path(os.environ["BENCH_VERSION"])
model = version_files.read(StoredVersion(folder.parent.name, int(folder.name), folder), "numpy")
entries = fastest_entries(model.output_spec)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    rows = model.schema.validators.parse_body(await read_body(receive))
    assert rows is not None
    body = b'{"predictions":[%s]}' % entries.joined(model.predict_rows(rows))
    await send_response(b"application/json", body, send)


async def tensors(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    numbers = np.frombuffer(await read_body(receive), "<f4").reshape(-1, len(model.schema.numeric)).astype(np.float64)
    frame = Frame(numbers, np.empty((len(numbers), 0), np.int64))
    await send_response(b"application/octet-stream", model.predict(frame).primary.tobytes(), send)
