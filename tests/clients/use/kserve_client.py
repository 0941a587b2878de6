"""Requests versions of a model with the clients of KServe: kserve_client.py URL GRPC_ADDRESS ROW. Prints JSON."""

import asyncio
import importlib
import json
import sys
from typing import Any

kserve: Any = importlib.import_module("kserve")
url, address, row = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
MODEL, VERSIONS = "housing", ("1", "2")


def request(version: str | None = None) -> Any:
    inputs = [kserve.InferInput(name, [1], "FP64", data=[float(cell)]) for name, cell in row.items()]
    return kserve.InferRequest(MODEL, inputs, model_version=version)


def prediction_in(response: Any) -> float:
    """The prediction of a response with one row; the REST client does not return the version."""
    return float(response.outputs[0].as_numpy()[0])


async def main() -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2")) as rest:
        found["live"] = await rest.is_server_live(url)
        for version in VERSIONS:
            name = f"{MODEL}/versions/{version}"
            found[f"ready {version}"] = await rest.is_model_ready(url, name)
            found[f"REST {version}"] = prediction_in(await rest.infer(url, request(), model_name=name))
    async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v1")) as rest:
        found["v1"] = await rest.infer(url, {"instances": [row]}, model_name=MODEL)
    async with kserve.InferenceGRPCClient(address) as client:
        for version in VERSIONS:
            found[f"gRPC {version}"] = prediction_in(await client.infer(request(version)))
    return found


print(json.dumps(asyncio.run(main())))
