"""The requests of a load test with their expected responses, which are recorded before the load."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from loadtest import random_rows, response_check
from loadtest.api_key import key_headers
from loadtest.request_mix import INVALID, MANY_ROWS, ONE_ROW, RequestMix
from loadtest.response_check import MISSING, MIXED_UP, WRONG
from loadtest.run_errors import LoadTestUsageError
from models.schema import FeatureSchema, SchemaError

POOL = {ONE_ROW: 200, MANY_ROWS: 10, INVALID: 20}  # distinct requests per model
RECORD_TIMEOUT_S = 30.0


class PlanError(Exception):
    """The server does not answer, or its responses contradict its model metadata; the message is one line."""


@dataclass(frozen=True)
class PlannedRequest:
    """A request and the response that the server gave to it before the load."""

    kind: str
    model: str
    path: str
    content_type: str
    body: bytes
    rows: int
    status: int = 0
    response: bytes = b""  # the body
    scale: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.model}, {self.kind}"


def json_request(model: str, some_rows: Sequence[random_rows.Row]) -> tuple[str, str, bytes]:
    """The native protocol: path, content type and body."""
    return f"/predict/{model}", "application/json", json.dumps({"rows": some_rows}, ensure_ascii=False).encode()


Wire = Callable[[str, Sequence[random_rows.Row]], tuple[str, str, bytes]]
PROTOCOLS: Mapping[str, Wire] = {"json": json_request}


class RequestPlan:
    """All requests of a run with their expected responses and weights."""

    def __init__(self, requests: Sequence[PlannedRequest], mix: RequestMix, models: Sequence[dict[str, Any]]) -> None:
        self.requests = list(requests)
        self.mix = mix
        self.models = list(models)
        self.index_by_response = {
            request.response: index for index, request in enumerate(self.requests) if request.kind != INVALID
        }

    def weights(self) -> list[float]:
        """The probability of each request; the sum is 1."""
        first = self.requests[0].model
        others = len({request.model for request in self.requests}) - 1
        share = {request.model: (1 - self.mix.hot) / others if others else 1.0 for request in self.requests}
        share[first] = self.mix.hot if others else 1.0
        kinds = self.mix.weights()
        counts: dict[tuple[str, str], int] = {}
        for request in self.requests:
            counts[request.model, request.kind] = counts.get((request.model, request.kind), 0) + 1
        return [
            share[request.model] * kinds[request.kind] / counts[request.model, request.kind]
            for request in self.requests
        ]

    def error_of(self, index: int, status: int, body: bytes) -> str | None:
        """The kind of error of a response to a request of this plan, or None."""
        request = self.requests[index]
        if status == request.status and (
            body == request.response or response_check.equal_bodies(body, request.response, request.scale)
        ):
            return None
        if self.index_by_response.get(body, index) != index:
            return MIXED_UP
        if status != request.status and not 200 <= status < 300:
            return response_check.unexpected_status(status)
        return MISSING if not body else WRONG

    def to_message(self) -> dict[str, Any]:
        """Data for the workers of a distributed run, which do not record responses themselves."""
        return {"requests": [vars(request) for request in self.requests], "mix": vars(self.mix), "models": self.models}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> "RequestPlan":
        mix = {**message["mix"], "models": tuple(message["mix"]["models"])}
        return cls([PlannedRequest(**request) for request in message["requests"]], RequestMix(**mix), message["models"])


def make(url: str, mix: RequestMix, *, protocol: str = "json", seed: int = 0) -> RequestPlan:
    """Make requests from the server's model metadata and record their responses one by one. Raises PlanError."""
    try:
        headers = key_headers()
    except LoadTestUsageError as error:
        raise PlanError(str(error)) from error
    with httpx.Client(base_url=url, timeout=RECORD_TIMEOUT_S, headers=headers) as client:
        try:
            models = [model_metadata(client, name) for name in model_names(client, mix)]
            requests = [
                request
                for number, model in enumerate(models)
                for request in record_responses(
                    client, model, mix, PROTOCOLS[protocol], np.random.default_rng([seed, number])
                )
            ]
        except httpx.HTTPError as error:
            raise PlanError(f"no response from {url}: {error or type(error).__name__}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(f"{url} is not a tabserve server: {type(error).__name__}: {error}") from error
    models_used = [{"name": m["name"], "version": m["version"], "engine": m["engine"]["name"]} for m in models]
    return RequestPlan(requests, mix, models_used)


def model_names(client: httpx.Client, mix: RequestMix) -> list[str]:
    served = [model["name"] for model in get_json(client, "/models")["models"]]
    unknown = [name for name in mix.models if name not in served]
    if unknown:
        raise PlanError(f"the server has no model {unknown[0]!r}, only {', '.join(served)}")
    return list(mix.models) or served


def model_metadata(client: httpx.Client, name: str) -> dict[str, Any]:
    return dict(get_json(client, f"/models/{name}"))


def get_json(client: httpx.Client, path: str) -> Any:
    response = client.get(path)
    if response.status_code != 200:
        raise PlanError(f"{response.url} returned status {response.status_code}")
    return response.json()


def record_responses(
    client: httpx.Client, model: Mapping[str, Any], mix: RequestMix, wire: Wire, rng: np.random.Generator
) -> list[PlannedRequest]:
    """The requests of a model with their responses. Valid rows must get status 200, invalid rows 422."""
    name = str(model["name"])
    try:
        schema = FeatureSchema.from_json(json.dumps(model["schema"]))
    except SchemaError as error:
        raise PlanError(f"invalid schema of {name!r}: {error}") from error
    examples = [example["row"] for example in model["examples"]]
    requests = []
    for kind, share in mix.weights().items():
        for _ in range(POOL[kind] if share else 0):
            count = mix.rows if kind == MANY_ROWS else 1
            some_rows = [random_rows.valid_row(schema, examples, rng) for _ in range(count)]
            if kind == INVALID:
                some_rows = [random_rows.invalid_row(schema, examples, rng)]
            path, content_type, body = wire(name, some_rows)
            response = client.post(path, content=body, headers={"Content-Type": content_type})
            if response.status_code != (422 if kind == INVALID else 200):
                raise PlanError(f"{name}: unexpected status {response.status_code} for {kind}: {response.text[:300]}")
            requests.append(
                PlannedRequest(kind, name, path, content_type, body, count, response.status_code, response.content)
            )
    scale = response_check.scale_of(model, [request.response for request in requests if request.kind != INVALID])
    check_examples(client, model, wire, scale)
    return [PlannedRequest(**{**vars(request), "scale": scale}) for request in requests]


def check_examples(client: httpx.Client, model: Mapping[str, Any], wire: Wire, scale: float) -> None:
    """Check that the examples in the model metadata get the predictions that are listed there. Raises PlanError."""
    examples = model["examples"]
    if not examples:
        return
    path, content_type, body = wire(str(model["name"]), [example["row"] for example in examples])
    response = client.post(path, content=body, headers={"Content-Type": content_type})
    expected = [example["prediction"] for example in examples]
    if not response_check.equal_predictions(response.json().get("predictions"), expected, scale):
        raise PlanError(f"{model['name']}: the responses to its examples differ from those in /models/{model['name']}")
