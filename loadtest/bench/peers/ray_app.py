"""Ray Serve with one replica."""

import sys
import time
from typing import Any

import ray
from ray import serve

from loadtest.bench.peers.peer_network import FIELDS, forward


@serve.deployment(num_replicas=1, max_ongoing_requests=64)
class ServeNetwork:
    async def __call__(self, request: Any) -> Any:
        rows = (await request.json())["rows"]
        x = [[float(row[name]) for name in FIELDS] for row in rows]
        return {"predictions": [{"value": value} for value in forward(x)[:, 0].tolist()]}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(ServeNetwork.bind(), route_prefix="/predict")  # type: ignore[attr-defined]
    while True:
        time.sleep(3600)
