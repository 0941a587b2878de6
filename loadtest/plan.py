"""What is asked under load and what is to be answered: found by asking the server, and the same for every generator."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from loadtest import answer_check, random_rows
from loadtest.answer_check import MISSING, MIXED_UP, WRONG
from models.schema import FeatureSchema, SchemaError

ONE_ROW, MANY_ROWS, INVALID = "one row", "many rows", "invalid row"
POOL = {ONE_ROW: 200, MANY_ROWS: 10, INVALID: 20}  # different requests of a model
QUIET_TIMEOUT_S = 30.0


class PlanError(Exception):
    """The server cannot be asked, or what it says of its models does not fit its answers; the message is one line."""


@dataclass(frozen=True)
class RequestMix:
    """What users ask. `one`, `many` and `invalid` are parts of all requests; `hot` is the first model's share."""

    one: float = 90
    many: float = 5
    invalid: float = 5
    rows: int = 100
    hot: float = 0.8
    models: tuple[str, ...] = ()

    def weights(self) -> dict[str, float]:
        parts = {ONE_ROW: self.one, MANY_ROWS: self.many, INVALID: self.invalid}
        return {kind: part / sum(parts.values()) for kind, part in parts.items()}


@dataclass(frozen=True)
class PlannedRequest:
    """A request, and the answer that a quiet server gave to it."""

    kind: str
    model: str
    path: str
    content_type: str
    body: bytes
    rows: int
    status: int = 0
    answer: bytes = b""
    scale: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.model}, {self.kind}"


def json_request(model: str, some: Sequence[random_rows.Row]) -> tuple[str, str, bytes]:
    """The service's own protocol: path, content type and body."""
    return f"/predict/{model}", "application/json", json.dumps({"rows": some}, ensure_ascii=False).encode()


Wire = Callable[[str, Sequence[random_rows.Row]], tuple[str, str, bytes]]
PROTOCOLS: Mapping[str, Wire] = {"json": json_request}


class RequestPlan:
    """All requests of a run with their answers, and how often each is chosen."""

    def __init__(self, asks: Sequence[PlannedRequest], mix: RequestMix, models: Sequence[dict[str, Any]]) -> None:
        self.asks = list(asks)
        self.mix = mix
        self.models = list(models)
        self.scores = {ask.answer: place for place, ask in enumerate(self.asks) if ask.kind != INVALID}

    def weights(self) -> list[float]:
        """The chance of each request; they sum to 1."""
        first = self.asks[0].model
        others = len({ask.model for ask in self.asks}) - 1
        share = {ask.model: (1 - self.mix.hot) / others if others else 1.0 for ask in self.asks}
        share[first] = self.mix.hot if others else 1.0
        kinds = self.mix.weights()
        alike: dict[tuple[str, str], int] = {}
        for ask in self.asks:
            alike[ask.model, ask.kind] = alike.get((ask.model, ask.kind), 0) + 1
        return [share[ask.model] * kinds[ask.kind] / alike[ask.model, ask.kind] for ask in self.asks]

    def fault(self, place: int, status: int, body: bytes) -> str | None:
        """What is wrong with an answer to a request of this plan, or None."""
        ask = self.asks[place]
        if status == ask.status and (body == ask.answer or answer_check.alike(body, ask.answer, ask.scale)):
            return None
        if self.scores.get(body, place) != place:
            return MIXED_UP
        if status != ask.status and not 200 <= status < 300:
            return answer_check.status_kind(status)
        return MISSING if not body else WRONG

    def to_message(self) -> dict[str, Any]:
        """For the workers of a distributed run, which must not ask for themselves."""
        return {"asks": [vars(ask) for ask in self.asks], "mix": vars(self.mix), "models": self.models}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> "RequestPlan":
        mix = {**message["mix"], "models": tuple(message["mix"]["models"])}
        return cls([PlannedRequest(**ask) for ask in message["asks"]], RequestMix(**mix), message["models"])


def make(url: str, mix: RequestMix, *, protocol: str = "json", seed: int = 0) -> RequestPlan:
    """Ask the server what it serves, make requests of it, and record its answers one by one. Raises PlanError."""
    with httpx.Client(base_url=url, timeout=QUIET_TIMEOUT_S) as client:
        try:
            models = [describe(client, name) for name in chosen(client, mix)]
            asks = [
                ask
                for number, model in enumerate(models)
                for ask in quiet_pass(client, model, mix, PROTOCOLS[protocol], np.random.default_rng([seed, number]))
            ]
        except httpx.HTTPError as error:
            raise PlanError(f"{url} cannot be asked: {error or type(error).__name__}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(f"{url} is no such service: {type(error).__name__}: {error}") from error
    told = [{"name": m["name"], "version": m["version"], "engine": m["engine"]["name"]} for m in models]
    return RequestPlan(asks, mix, told)


def chosen(client: httpx.Client, mix: RequestMix) -> list[str]:
    served = [model["name"] for model in get(client, "/models")["models"]]
    unknown = [name for name in mix.models if name not in served]
    if unknown:
        raise PlanError(f"no model {unknown[0]!r} is served; there are {', '.join(served)}")
    return list(mix.models) or served


def describe(client: httpx.Client, name: str) -> dict[str, Any]:
    return dict(get(client, f"/models/{name}"))


def get(client: httpx.Client, path: str) -> Any:
    answer = client.get(path)
    if answer.status_code != 200:
        raise PlanError(f"{answer.url} answers {answer.status_code}")
    return answer.json()


def quiet_pass(
    client: httpx.Client, model: Mapping[str, Any], mix: RequestMix, wire: Wire, rng: np.random.Generator
) -> list[PlannedRequest]:
    """The requests of a model, each asked alone. What was made valid must be answered, what was broken refused."""
    name = str(model["name"])
    try:
        schema = FeatureSchema.from_json(json.dumps(model["schema"]))
    except SchemaError as error:
        raise PlanError(f"the schema of {name!r}: {error}") from error
    examples = [example["row"] for example in model["examples"]]
    asks = []
    for kind, share in mix.weights().items():
        for _ in range(POOL[kind] if share else 0):
            count = mix.rows if kind == MANY_ROWS else 1
            some = [random_rows.valid_row(schema, examples, rng) for _ in range(count)]
            if kind == INVALID:
                some = [random_rows.invalid_row(schema, examples, rng)]
            path, content_type, body = wire(name, some)
            answer = client.post(path, content=body, headers={"Content-Type": content_type})
            if answer.status_code != (422 if kind == INVALID else 200):
                raise PlanError(f"{name}: {answer.status_code} is no answer to {kind}: {answer.text[:300]}")
            asks.append(PlannedRequest(kind, name, path, content_type, body, count, answer.status_code, answer.content))
    scale = answer_check.scale_of(model, [ask.answer for ask in asks if ask.kind != INVALID])
    check_examples(client, model, wire, scale)
    return [PlannedRequest(**{**vars(ask), "scale": scale}) for ask in asks]


def check_examples(client: httpx.Client, model: Mapping[str, Any], wire: Wire, scale: float) -> None:
    """The server's own examples must be answered as it says itself."""
    examples = model["examples"]
    if not examples:
        return
    path, content_type, body = wire(str(model["name"]), [example["row"] for example in examples])
    answer = client.post(path, content=body, headers={"Content-Type": content_type})
    promised = [example["prediction"] for example in examples]
    if not answer_check.same_predictions(answer.json().get("predictions"), promised, scale):
        raise PlanError(f"{model['name']}: its examples are answered otherwise than /models/{model['name']} says")
