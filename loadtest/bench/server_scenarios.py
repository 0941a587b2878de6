"""The servers that `bench servers` compares, their requests and the goals."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from loadtest.bench.clients import JSON
from loadtest.bench.paired_ratios import ratio

ROOT = Path(__file__).resolve().parents[2]
MAX_READY_S, MAX_MB = 4.0, 150.0  # limits for a server without TensorFlow
WIDE = "wide"  # prefix of model names, followed by the number of columns
Row = dict[str, Any]


class EncodedBody(NamedTuple):
    """The body of a request and its headers."""

    content: bytes
    headers: Mapping[str, str] = JSON


BodyEncoder = Callable[[Sequence[Row]], EncodedBody]


def as_json(rows: Sequence[Row]) -> EncodedBody:
    """The native JSON body."""
    return EncodedBody(json.dumps({"rows": rows}).encode())


@dataclass(frozen=True)
class Contender:
    """A server in a comparison: its command, path, settings and requests. {port} and {store} are placeholders."""

    name: str
    command: tuple[str, ...]
    path: str
    settings: Mapping[str, str] = field(default_factory=dict)
    connections: int | None = None  # number of connections, if fewer than in the scenario
    model: str = ""  # model whose rows are sent, if it is not the model of the scenario
    rows: int | None = None  # rows per request, if they differ from the scenario
    form: BodyEncoder = as_json
    folder: Path = ROOT  # working directory
    scheme: Literal["http", "https"] = "http"
    not_ready: tuple[int, ...] = (503,)  # statuses of a server that is still starting


def uvicorn(app: str) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "{port}"),
        *("--log-level", "warning", "--no-access-log"),
    )


def bare_protocol(name: str, content: str) -> Contender:
    """An asyncio protocol without an ASGI server. content: what the responses contain, `predictions` or `fixed`."""
    command = (sys.executable, "-m", "loadtest.bench.bare_protocol", "--port", "{port}", "--answer", content)
    return Contender(name, command, "/predict", model="eight")


def bento(service: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", "{port}")


def tabserve_server(name: str, model: str, rows: int | None = None, **settings: str) -> Contender:
    environment = {"TABSERVE_STORE": "{store}", "TABSERVE_WORKERS": "1", "TABSERVE_DRAIN_S": "0"}
    environment |= {"TABSERVE_MODELS": model}
    environment |= {f"TABSERVE_{key.upper()}": value for key, value in settings.items()}
    return Contender(name, bento("service.app:Tabserve"), f"/predict/{model}", environment, model=model, rows=rows)


BARE = Contender("bare function (the limit)", uvicorn("loadtest.bench.bare_asgi:app"), "/predict", model="eight")
LOADS = Contender("orjson + NumPy (the limit)", uvicorn("loadtest.bench.bare_asgi:loads"), "/predict")
LOADS_WIDE = Contender(LOADS.name, LOADS.command, LOADS.path, {"BENCH_COLUMNS": "100"})
PROTOCOL = bare_protocol("bare protocol", "predictions")
FIXED = bare_protocol("fixed bytes", "fixed")
BENTOML = Contender("BentoML, @bentoml.api", bento("loadtest.bench.plain_bento:Plain"), "/predict")
BATCHED = Contender("BentoML, batchable=True", bento("loadtest.bench.plain_bento:Batched"), "/predict")
KERAS_FILE = {"BENCH_KERAS": "{store}/eight/1/model.keras", "TF_CPP_MIN_LOG_LEVEL": "3"}
KERAS = Contender("Starlette, Model.predict", uvicorn("loadtest.bench.keras_app:app"), "/predict", KERAS_FILE, 4)


def bare_model(name: str, model: str) -> Contender:
    """The lower limit with this model's validators, encoder and network."""
    settings = {"BENCH_VERSION": f"{{store}}/{model}/1"}
    return Contender(name, uvicorn("loadtest.bench.bare_model:app"), "/predict", settings)


NUMPY, TENSORFLOW = "tabserve, NumPy", "tabserve, TensorFlow"


class CostFigures(Protocol):
    """CPU time per request in microseconds, in each round, and requests per second."""

    @property
    def cpu_us(self) -> Sequence[float]: ...
    @property
    def per_second(self) -> float: ...


@dataclass(frozen=True)
class ServerGoal:
    """The required ratio of `ours` to `other` in the same run; for costs the median ratio over rounds."""

    ours: str
    other: str
    kind: Literal["cost", "saving", "requests"]
    number: float  # maximum ratio of cost; minimum factor of saving; minimum ratio of requests

    def evaluate(self, by_name: "Mapping[str, CostFigures]") -> tuple[bool, str]:
        """Whether the goal is met, and a line of text."""
        own, other = by_name[self.ours], by_name[self.other]
        if self.kind == "requests":
            found, interval, words = own.per_second / other.per_second, "", "times the requests of"
        else:
            saves = self.kind == "saving"
            paired = ratio(own.cpu_us, other.cpu_us) if saves else ratio(other.cpu_us, own.cpu_us)
            found, words = paired.median, "times less than" if saves else "times the cost of"
            interval = f" ({paired.low:.2f} to {paired.high:.2f})"
        good = found <= self.number if self.kind == "cost" else found >= self.number
        goal = f"{'at most' if self.kind == 'cost' else 'at least'} {self.number:g}"
        return good, goal_line(f"{self.ours}: {found:,.2f}{interval} {words} {self.other}", goal, good)


def goal_line(result: str, goal: str, good: bool) -> str:
    return f"{result} (goal: {goal}){'' if good else ', MISSED'}"


@dataclass(frozen=True)
class ServerScenario:
    """One request that is sent to several servers. The first server is the reference."""

    model: str
    rows: int
    connections: int
    contenders: tuple[Contender, ...]
    text: str
    goals: tuple[ServerGoal, ...] = ()
    compared: tuple[str, ...] = (NUMPY,)  # the contenders that `--beside` compares with another checkout


def peer(name: str, module: str, path: str = "/predict", form: BodyEncoder = as_json) -> Contender:
    """Another server of the network 8-32-1, in the environment of `make peer-NAME`."""
    command = (str(peer_python(name)), "-m", f"loadtest.bench.peers.{module}", "{port}")
    return Contender(name, command, path, model="eight", form=form, not_ready=(404, 503))


def peer_python(name: str) -> Path:
    return ROOT / "build" / "peers" / name / "bin" / "python"


def as_records(rows: Sequence[Row]) -> EncodedBody:
    """The body of MLflow's scoring server."""
    return EncodedBody(json.dumps({"dataframe_records": rows}).encode())


def as_tensor(rows: Sequence[Row]) -> EncodedBody:
    """One FP32 tensor of the Open Inference Protocol."""
    data = [[*row.values()] for row in rows]
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(data), len(data[0])], "data": data}
    return EncodedBody(json.dumps({"inputs": [tensor]}).encode())


INFER = "/v2/models/eight/infer"
FASTAPI = Contender(
    "fastapi",
    (
        *(str(peer_python("fastapi")), "-m", "uvicorn", "loadtest.bench.peers.fastapi_app:app"),
        *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning", "--no-access-log"),
    ),
    "/predict",
    model="eight",
)
PEERS = (
    FASTAPI,
    peer("litserve", "litserve_app"),
    peer("mlserver", "mlserver_app", INFER, as_tensor),
    peer("mlflow", "mlflow_app", "/invocations", as_records),
    peer("ray", "ray_app"),
)


def installed_peers() -> tuple[Contender, ...]:
    return tuple(contender for contender in PEERS if peer_python(contender.name).exists())


OFF, ON, ONE, TWO = f"{TENSORFLOW}, batching off", f"{TENSORFLOW}, batching on", "one worker", "two workers"
OWN = "bare function with the default network"
SMALL = "tabserve, NumPy, network 32-1"
SCENARIOS = {
    "row": ServerScenario(
        "eight",
        1,
        32,
        (
            BARE,
            PROTOCOL,
            FIXED,
            tabserve_server(NUMPY, "eight"),
            tabserve_server(TENSORFLOW, "eight", engine="tensorflow"),
            BENTOML,
            BATCHED,
            KERAS,
        ),
        "one row of 8 numbers, network 8-32-1",
        (
            ServerGoal(NUMPY, BARE.name, "cost", 0.75),
            ServerGoal(NUMPY, PROTOCOL.name, "cost", 1.35),
            ServerGoal(NUMPY, BENTOML.name, "saving", 8),
        ),
    ),
    "mixed": ServerScenario(
        "income",
        1,
        32,
        (
            BARE,
            tabserve_server(SMALL, "income32"),
            bare_model(OWN, "income"),
            tabserve_server(NUMPY, "income"),
        ),
        "one row of income: 14 columns instead of 8 numbers; a network with layers 32-1, and the default network",
        (ServerGoal(SMALL, BARE.name, "cost", 2.5), ServerGoal(NUMPY, OWN, "cost", 0.85)),
        (SMALL, NUMPY),
    ),
    "peers": ServerScenario(
        "eight",
        1,
        32,
        (BARE, tabserve_server(NUMPY, "eight"), *installed_peers()),
        "one row of 8 numbers, network 8-32-1, other servers (those of `make peer-NAME`)",
    ),
    "default": ServerScenario(
        "housing",
        1,
        32,
        (BARE, bare_model(OWN, "housing"), tabserve_server(NUMPY, "housing")),
        "one row of housing: 8 numbers, the default network (the first: network 8-32-1)",
        (ServerGoal(NUMPY, OWN, "cost", 0.85),),
    ),
    "many": ServerScenario(
        "eight",
        1000,
        8,
        (LOADS, tabserve_server(NUMPY, "eight")),
        "1,000 rows of 8 numbers",
        (ServerGoal(NUMPY, LOADS.name, "cost", 1.3),),
    ),
    "wide": ServerScenario(
        "wide100",
        1000,
        8,
        (LOADS_WIDE, tabserve_server(NUMPY, "wide100")),
        "1,000 rows of 100 numbers, network 100-32-1",
        (ServerGoal(NUMPY, LOADS_WIDE.name, "cost", 1.4),),
    ),
    "tensorflow": ServerScenario(
        "eight",
        1,
        64,
        (
            tabserve_server(OFF, "eight", engine="tensorflow", batching="off"),
            tabserve_server(ON, "eight", engine="tensorflow", batching="on"),
            KERAS,
        ),
        "one row of 8 numbers by TensorFlow",
        (ServerGoal(ON, OFF, "requests", 3), ServerGoal(ON, KERAS.name, "requests", 100)),
        (OFF, ON),
    ),
    "workers": ServerScenario(
        "eight",
        1,
        32,
        (
            tabserve_server(ONE, "eight", 100),
            tabserve_server(TWO, "eight", 100, workers="2"),
            tabserve_server(f"{ONE}, one row", "eight"),
            tabserve_server(f"{TWO}, one row", "eight", workers="2"),
        ),
        "100 rows of 8 numbers and one row, with one worker and with two",
        (ServerGoal(TWO, ONE, "requests", 1.5),),
        (ONE, TWO),
    ),
}
