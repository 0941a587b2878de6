"""MLflow's scoring server with a model of the kind pyfunc."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow.pyfunc

from loadtest.bench.peers.peer_network import FIELDS, forward


class PyfuncNetwork(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return forward(model_input[FIELDS].to_numpy())[:, 0]


def main(port: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        mlflow.pyfunc.save_model(str(path), python_model=PyfuncNetwork(), pip_requirements=[])
        serve = ["models", "serve", "-m", str(path), "--env-manager", "local", "-h", "127.0.0.1", "-p", port, "-w", "1"]
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts `uvicorn`
        return subprocess.run([sys.executable, "-m", "mlflow", *serve], env={**os.environ, "PATH": programs}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
