"""MLServer with a custom runtime, in one process, without parallel workers."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from loadtest.bench.peers.peer_network import forward


class RuntimeNetwork(MLModel):  # type: ignore[misc]
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        output: Any = NumpyCodec.encode_output("value", forward(NumpyCodec.decode_input(payload.inputs[0])))
        return InferenceResponse(model_name=self.name, outputs=[output])


def main(port: str) -> int:
    ports = {"MLSERVER_HTTP_PORT": port, "MLSERVER_GRPC_PORT": "0", "MLSERVER_METRICS_PORT": "0"}
    quiet = {"MLSERVER_HOST": "127.0.0.1", "MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false"}
    with tempfile.TemporaryDirectory() as folder:
        implementation = "loadtest.bench.peers.mlserver_app.RuntimeNetwork"
        text = json.dumps({"name": "eight", "implementation": implementation})
        (Path(folder) / "model-settings.json").write_text(text)
        command = [sys.executable, "-c", "from mlserver.cli.main import main; main()", "start", folder]
        return subprocess.run(command, env={**os.environ, **ports, **quiet}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
