"""LitServe with one worker."""

import sys
from typing import Any

import litserve
from fastapi import Request

from loadtest.bench.peers.peer_network import FIELDS, forward


class LitNetwork(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None: ...

    def decode_request(self, request: Request) -> Any:  # LitServe passes the parsed body
        return [[float(row[name]) for name in FIELDS] for row in request["rows"]]

    def predict(self, x: Any) -> Any:
        return forward(x)[:, 0].tolist()

    def encode_response(self, output: Any) -> Any:
        return {"predictions": [{"value": value} for value in output]}


if __name__ == "__main__":
    server = litserve.LitServer(LitNetwork(api_path="/predict"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
