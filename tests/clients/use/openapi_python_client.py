"""Uses the client of openapi-python-client: openapi_python_client.py URL. Prints the predictions as JSON."""

import importlib
import json
import sys
from typing import Any
from urllib.request import urlopen

url = sys.argv[1]
client: Any = importlib.import_module("tabserve_client").Client(base_url=url)
requests: Any = importlib.import_module("tabserve_client.models")
found = {}
for model, request in (
    ("housing", requests.HousingRequest),
    ("income", requests.IncomeRequest),
    ("penguins", requests.PenguinsRequest),
    ("odd_names", requests.OddNamesOddNamesRequest),
):
    operation: Any = importlib.import_module(f"tabserve_client.api.predictions.predict_{model}")
    row = json.load(urlopen(f"{url}/models/{model}"))["examples"][0]["row"]
    body = request.from_dict({"rows": [row]})
    found[model] = operation.sync(client=client, body=body).to_dict()["predictions"][0]
infer: Any = importlib.import_module("tabserve_client.api.open_inference_protocol_v_2.v2_models_housing_infer")
housing = json.load(urlopen(f"{url}/models/housing"))["examples"][0]["row"]
inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [cell]} for name, cell in housing.items()]
response = infer.sync_detailed(
    client=client, body=requests.V2ModelsHousingInferInferRequest.from_dict({"inputs": inputs})
)
found["infer"] = json.loads(response.content)["outputs"][0]["data"]
print(json.dumps(found))
