"""Locust users who send prediction requests and check the responses.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:3000

The requests are made from the server's model metadata, and their responses are recorded one request at a time before
the first user starts. In a distributed run the master records the responses, and sends the plan to its workers.
"""

# Locust has no types for its events.
# mypy: allow-untyped-decorators, allow-untyped-calls

import itertools
import logging
import os
import sys
import time
from typing import Any

import gevent  # type: ignore[import-untyped]
import numpy as np
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser
from locust.rpc import Message
from locust.runners import MasterRunner, WorkerRunner

from loadtest import request_plan
from loadtest.api_key import key_headers
from loadtest.options import add_mix, mix_of
from loadtest.request_plan import PlanError, RequestPlan
from loadtest.response_check import MISSING, MIXED_UP, REFUSED
from models.text import counted

MESSAGE = "plan"
PLAN_FAILED, NO_REQUESTS = 2, 1  # exit codes
log = logging.getLogger("tabserve.load")
logging.getLogger("httpx").setLevel(logging.WARNING)  # httpx logs every request at the level INFO


class LocustState:
    """The state that the users of this process share."""

    def __init__(self) -> None:
        self.plan: RequestPlan | None = None
        self.is_fresh = False  # whether the plan was recorded for the test that starts next
        self.cumulative_weights: list[float] = []
        self.records: list[tuple[float, float, str, int]] = []  # (start, seconds, error, index in the plan)
        self.cpu: list[tuple[float, float]] = []
        self.request_numbers = itertools.count()
        self.key_headers = key_headers()
        self.rng = np.random.default_rng(os.getpid())

    def set_plan(self, plan: RequestPlan) -> None:
        self.plan = plan
        self.cumulative_weights = np.cumsum(plan.weights()).tolist()

    def draw(self) -> int:
        """The index of the next request in the plan."""
        index = int(np.searchsorted(self.cumulative_weights, self.rng.random()))
        return min(index, len(self.cumulative_weights) - 1)

    def save(self, stem: str) -> None:
        """Write the records for `python -m loadtest run`."""
        self.cpu.append((time.time(), time.process_time()))
        start, seconds, error, index = zip(*self.records, strict=True) if self.records else ((), (), (), ())
        np.savez(
            f"{stem}.{os.getpid()}.npz",
            start=np.array(start, dtype=np.float64),
            seconds=np.array(seconds, dtype=np.float64),
            error=np.array(error, dtype=np.str_),
            index=np.array(index, dtype=np.int32),
            cpu=np.array(self.cpu, dtype=np.float64).reshape(-1, 2),
        )


state = LocustState()


class JsonUser(FastHttpUser):
    """Sends native JSON requests, one after another without a pause."""

    wait_time = constant(0)
    network_timeout = 10.0
    connection_timeout = 10.0

    def on_start(self) -> None:
        if state.plan is None:
            raise StopUser

    @task
    def predict(self) -> None:
        assert state.plan is not None
        index = state.draw()
        request = state.plan.requests[index]
        request_id = f"{os.getpid():x}-{next(state.request_numbers):x}"
        body: Any = request.body  # Locust sends bytes unchanged
        headers = {"Content-Type": request.content_type, "X-Request-ID": request_id, **state.key_headers}
        with self.client.post(
            request.path, data=body, headers=headers, name=request.name, catch_response=True, context={"index": index}
        ) as response:
            status = response.status_code
            if not status:
                error: str | None = REFUSED if isinstance(response.error, ConnectionRefusedError) else MISSING
            elif response.headers.get("X-Request-ID", request_id) != request_id:
                error = MIXED_UP
            else:
                error = state.plan.error_of(index, status, response.content or b"")
            if error:
                response.failure(error)
            else:
                response.success()


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    add_mix(parser)
    parser.add_argument(
        "--record", default="", include_in_web_ui=False, help="write every request to files with this prefix"
    )


@events.init.add_listener
def initialize(environment: Environment, **_: Any) -> None:
    """Exchange the plan between processes, and record the responses before the time of a single test starts."""
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.register_message(
            MESSAGE, lambda msg, **_: state.set_plan(RequestPlan.from_message(msg.data))
        )
        return

    def send_plan(client_id: str) -> None:
        if state.plan is not None and isinstance(environment.runner, MasterRunner):
            environment.runner.send_message(MESSAGE, state.plan.to_message(), client_id)

    environment.events.worker_connect.add_listener(lambda client_id, **_: send_plan(client_id))
    if is_single_test(environment):
        try:
            record_plan(environment)
        except PlanError as error:
            log.error("%s", error)
            sys.exit(PLAN_FAILED)
        state.is_fresh = True


def receive_plan(msg: Message, **_: Any) -> None:
    state.set_plan(RequestPlan.from_message(msg.data))


def is_single_test(environment: Environment) -> bool:
    """Whether the test starts without the web page. The `--run-time` of such a test starts right after
    initialization.
    """
    options = environment.parsed_options
    return options is not None and bool(options.headless or options.autostart)


def record_plan(environment: Environment) -> None:
    """Make the requests and record their responses. Raises PlanError."""
    assert environment.parsed_options is not None
    plan = request_plan.make(environment.host or "", mix_of(environment.parsed_options))
    state.set_plan(plan)
    log.info("recorded the responses to %s, models: %s", counted(len(plan.requests), "request"), plan.models)


@events.test_start.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    """Record the responses for a test that is started on the web page, and send the plan to the workers."""
    if record_prefix(environment) and not state.cpu:
        gevent.spawn(measure_cpu)
    runner = environment.runner
    if isinstance(runner, WorkerRunner) or runner is None:
        return
    if not state.is_fresh:
        try:
            record_plan(environment)
        except PlanError as error:
            log.error("%s", error)
            state.plan = None
            environment.process_exit_code = PLAN_FAILED
            gevent.spawn(runner.quit)
            return
    state.is_fresh = False
    assert state.plan is not None
    if isinstance(runner, MasterRunner):
        runner.send_message(MESSAGE, state.plan.to_message())


@events.request.add_listener
def add_record(
    start_time: float, response_time: float, exception: Exception | None, context: dict[str, Any], **_: Any
) -> None:
    if state.cpu:
        state.records.append((start_time, response_time / 1e3, str(exception or ""), context.get("index", 0)))


def record_prefix(environment: Environment) -> str:
    """The prefix of the files with the records; empty if none are written."""
    return str(environment.parsed_options.record) if environment.parsed_options is not None else ""


def measure_cpu() -> None:
    while True:
        state.cpu.append((time.time(), time.process_time()))
        gevent.sleep(1)


@events.quitting.add_listener
def finish(environment: Environment, **_: Any) -> None:
    """Write the records. A single test without requests is a failure."""
    if record_prefix(environment):
        state.save(record_prefix(environment))
    runner = environment.runner
    if isinstance(runner, WorkerRunner) or runner is None or not is_single_test(environment):
        return
    if not runner.stats.total.num_requests and environment.process_exit_code is None:
        log.error("no request was sent: the test ended before the first user started")
        environment.process_exit_code = NO_REQUESTS
