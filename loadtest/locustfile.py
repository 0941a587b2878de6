"""Users for Locust who ask for predictions and look at what they get.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:3000

What is asked comes from the server itself. Before the first user starts, the answers are recorded one request at a
time: by the only process, or by the master, who tells its workers.
"""

# mypy: allow-untyped-decorators, allow-untyped-calls
# Locust leaves its events without types.

import itertools
import logging
import os
import time
from typing import Any

import gevent  # type: ignore[import-untyped]
import numpy as np
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from loadtest import plan
from loadtest.answer_check import MISSING, MIXED_UP, REFUSED
from loadtest.options import add_mix, mix_of
from loadtest.plan import PlanError, RequestPlan

MESSAGE = "plan"
log = logging.getLogger("tabserve.load")
logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request of the quiet pass


class LocustState:
    """What the users of this process share."""

    def __init__(self) -> None:
        self.plan: RequestPlan | None = None
        self.chances: list[float] = []
        self.seen: list[tuple[float, float, str, int]] = []  # (start, seconds, fault, place)
        self.cpu: list[tuple[float, float]] = []
        self.numbers = itertools.count()
        self.rng = np.random.default_rng(os.getpid())

    def take(self, new: RequestPlan) -> None:
        self.plan = new
        self.chances = np.cumsum(new.weights()).tolist()

    def draw(self) -> int:
        """The place of the next request in the plan."""
        return min(int(np.searchsorted(self.chances, self.rng.random())), len(self.chances) - 1)

    def save(self, stem: str) -> None:
        """Write what was seen for `python -m loadtest run`."""
        self.cpu.append((time.time(), time.process_time()))
        start, seconds, fault, place = zip(*self.seen, strict=True) if self.seen else ((), (), (), ())
        np.savez(
            f"{stem}.{os.getpid()}.npz",
            start=np.array(start, dtype=np.float64),
            seconds=np.array(seconds, dtype=np.float64),
            fault=np.array(fault, dtype=np.str_),
            place=np.array(place, dtype=np.int32),
            cpu=np.array(self.cpu, dtype=np.float64).reshape(-1, 2),
        )


desk = LocustState()


class JsonUser(FastHttpUser):
    """Speaks the service's own protocol, one request after another without a pause."""

    wait_time = constant(0)
    network_timeout = 10.0
    connection_timeout = 10.0

    def on_start(self) -> None:
        if desk.plan is None:
            raise StopUser

    @task
    def ask(self) -> None:
        assert desk.plan is not None
        place = desk.draw()
        ask = desk.plan.asks[place]
        number = f"{os.getpid():x}-{next(desk.numbers):x}"
        body: Any = ask.body  # bytes go through as they are
        headers = {"Content-Type": ask.content_type, "X-Request-ID": number}
        with self.client.post(
            ask.path, data=body, headers=headers, name=ask.name, catch_response=True, context={"place": place}
        ) as response:
            status = response.status_code
            if not status:
                fault: str | None = REFUSED if isinstance(response.error, ConnectionRefusedError) else MISSING
            elif response.headers.get("X-Request-ID", number) != number:
                fault = MIXED_UP
            else:
                fault = desk.plan.fault(place, status, response.content or b"")
            if fault:
                response.failure(fault)
            else:
                response.success()


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    add_mix(parser)
    parser.add_argument(
        "--record", default="", include_in_web_ui=False, help="write every request to files that start so"
    )


@events.init.add_listener
def join(environment: Environment, **_: Any) -> None:
    """Workers listen for the plan; whoever leads sends it to those who come late."""
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.register_message(MESSAGE, lambda msg, **_: desk.take(RequestPlan.from_message(msg.data)))

    def tell(client_id: str) -> None:
        if desk.plan is not None and isinstance(environment.runner, MasterRunner):
            environment.runner.send_message(MESSAGE, desk.plan.to_message(), client_id)

    environment.events.worker_connect.add_listener(lambda client_id, **_: tell(client_id))


@events.test_start.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    """The quiet pass."""
    if recorded(environment) and not desk.cpu:
        gevent.spawn(watch_cpu)
    runner = environment.runner
    if isinstance(runner, WorkerRunner) or runner is None:
        return
    assert environment.parsed_options is not None
    try:
        desk.take(plan.make(environment.host or "", mix_of(environment.parsed_options)))
    except PlanError as error:
        log.error("%s", error)
        desk.plan = None
        environment.process_exit_code = 2
        gevent.spawn(runner.quit)
        return
    assert desk.plan is not None
    log.info("%d requests and their answers recorded, of %s", len(desk.plan.asks), desk.plan.models)
    if isinstance(runner, MasterRunner):
        runner.send_message(MESSAGE, desk.plan.to_message())


@events.request.add_listener
def note(
    start_time: float, response_time: float, exception: Exception | None, context: dict[str, Any], **_: Any
) -> None:
    if desk.cpu:
        desk.seen.append((start_time, response_time / 1e3, str(exception or ""), context.get("place", 0)))


def recorded(environment: Environment) -> str:
    """How the files begin that every request is written to; empty when none are wanted."""
    return str(environment.parsed_options.record) if environment.parsed_options is not None else ""


def watch_cpu() -> None:
    while True:
        desk.cpu.append((time.time(), time.process_time()))
        gevent.sleep(1)


@events.quitting.add_listener
def save(environment: Environment, **_: Any) -> None:
    if recorded(environment):
        desk.save(recorded(environment))
