"""Uses the client of openapi-generator for Python: openapi_generator_python.py URL. Prints JSON."""

import importlib
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

client: Any = importlib.import_module("openapi_client")
url = sys.argv[1]


def example(model: str) -> Any:
    return json.load(urlopen(f"{url}/models/{model}"))["examples"][0]["row"]


def plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value


def operations(api: Any) -> dict[str, Callable[[], Any]]:
    """The operations of an API that need no argument."""
    found = {}
    for name, method in inspect.getmembers(api, callable):
        if name.startswith("_") or name.endswith(("_with_http_info", "_without_preload_content")):
            continue
        if all(parameter.default is not parameter.empty for parameter in inspect.signature(method).parameters.values()):
            found[f"{type(api).__name__}.{name}"] = method
    return found


results: dict[str, Any] = {"default host": client.Configuration().host}
failures: dict[str, str] = {}


def attempt(name: str, use: Callable[[], Any]) -> None:
    try:
        results[name] = plain(use())
    except Exception as error:
        failures[name] = f"{type(error).__name__}: {error}"


with client.ApiClient(client.Configuration(host=url)) as connection:
    predictions = client.PredictionsApi(connection)
    row = client.HousingRow(**example("housing"))
    attempt("housing", lambda: predictions.predict_housing(client.HousingRequest(rows=[row])))
    request = client.IncomeRequest.from_dict({"rows": [example("income")]})
    attempt("income", lambda: predictions.predict_income(request))
    missing = client.PenguinsRequest.from_dict({"rows": [{**example("penguins"), "sex": None}]})
    attempt("penguins", lambda: predictions.predict_penguins(missing))
    odd = getattr(client, "OddNamesOddNamesRequest", None) or client.OddNamesOddnamesRequest
    attempt("odd_names", lambda: predictions.predict_odd_names(odd.from_dict({"rows": [example("odd_names")]})))
    invalid = client.IncomeRequest.from_dict({"rows": [{**example("income"), "age": -1e300}, example("income")]})
    attempt("skip", lambda: predictions.predict_income(invalid, on_invalid="skip"))
    for name, api in inspect.getmembers(client):
        if name.endswith("Api"):
            for operation, method in operations(api(connection)).items():
                attempt(operation, method)

print(json.dumps({"results": results, "failures": failures}, default=str))
