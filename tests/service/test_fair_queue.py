"""Clients take turns by the cost of their items, not by the number of items."""

import asyncio
import dataclasses
import time
from collections import Counter

import pytest

from models.tabular_model import TabularModel
from service.batcher import Batcher, BatchPlan
from service.engine_cost import EngineCost
from service.errors import QueueFull
from service.fair_lock import FairLock
from service.fair_queue import MAX_REMEMBERED, FairQueue
from service.fair_turns import CONTENDED_S, ITERATION_COST, REQUEST_COST, FairTurns
from service.metrics import ModelCounters
from tests.service.test_batcher import SLOW, SlowEngine, random_frame


def drain(queue: FairQueue[tuple[str, int]], count: int, cost: float = 1.0) -> list[tuple[str, int]]:
    taken = []
    for _ in range(count):
        taken.append(queue.pop())
        queue.charge(cost)
    return taken


def filled_queue(**counts: int) -> FairQueue[tuple[str, int]]:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for client, count in counts.items():
        for number in range(count):
            queue.push(client, (client, number))
    return queue


def test_the_items_of_one_client_are_served_in_order() -> None:
    queue = filled_queue(a=5)
    assert drain(queue, 5) == [("a", number) for number in range(5)]
    assert len(queue) == 0


def test_clients_take_turns_regardless_of_their_number_of_items() -> None:
    queue = filled_queue(a=100, b=10, c=10)
    assert Counter(client for client, _ in drain(queue, 30)) == {"a": 10, "b": 10, "c": 10}
    assert {client for client, _ in drain(queue, 90)} == {"a"}


def test_expensive_items_get_fewer_turns() -> None:
    queue = filled_queue(a=100, b=100)
    turns: Counter[str] = Counter()
    for _ in range(100):
        client, _ = queue.pop()
        turns[client] += 1
        queue.charge(9.0 if client == "a" else 1.0)
    assert turns == {"a": 10, "b": 90}


def test_a_client_gains_no_credit_while_it_has_no_items() -> None:
    queue = filled_queue(a=100)
    drain(queue, 50)
    for number in range(50):
        queue.push("b", ("b", number))
    assert Counter(client for client, _ in drain(queue, 20)) == {"a": 10, "b": 10}


def test_sending_single_items_gains_no_additional_turns() -> None:
    queue = filled_queue(a=100)
    turns: Counter[str] = Counter()
    queue.push("b", ("b", 0))
    for number in range(60):
        client, _ = queue.pop()
        turns[client] += 1
        queue.charge(1.0)
        if client == "b":
            queue.push("b", ("b", number))
    assert abs(turns["a"] - turns["b"]) <= 1


def test_the_rest_of_an_item_waits_for_another_turn() -> None:
    queue = filled_queue(a=1, b=1)
    first = queue.pop()
    queue.push(first[0], first)
    queue.charge(1.0)
    assert drain(queue, 2) == [("b", 0), first]


def test_the_newest_item_of_a_client_can_be_removed() -> None:
    queue = filled_queue(a=3, b=1)
    assert queue.remove_last("a", lambda item: item[1] < 2) == ("a", 1)
    assert queue.remove_last("a", lambda item: item[1] > 5) is None
    assert queue.remove_last("b", lambda item: True) == ("b", 0)
    assert queue.remove_last("b", lambda item: True) is None
    assert len(queue) == 2
    assert drain(queue, 2) == [("a", 0), ("a", 2)]
    assert len(queue) == 0


def test_the_memory_of_clients_without_items_is_bounded() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(3 * MAX_REMEMBERED):
        queue.push(str(number), (str(number), 0))
        drain(queue, 1)
    assert len(queue._costs) <= MAX_REMEMBERED


def test_each_of_three_clients_gets_its_share_of_an_overloaded_engine(tabular_model: TabularModel) -> None:
    """The clients send different numbers of rows, up to ten times as many, more than the queue holds. Each client gets
    a third of the rows.
    """
    engine, rows = SlowEngine(tabular_model.engine, 0.0), 40
    model = dataclasses.replace(tabular_model, engine=engine)
    waiting = Batcher(model, ModelCounters(), queue_rows=30 * rows, cost=SLOW)
    waiting.plan = BatchPlan(inline_rows=0, chunk_rows=20, merge=False)
    counts: Counter[str] = Counter()
    frame = random_frame(model, rows)

    async def client(name: str, end: asyncio.Event) -> None:
        while not end.is_set():
            try:
                await waiting.predict(frame, time.monotonic() + 600, "", client=name)
                counts[name] += 1
            except QueueFull:
                await asyncio.sleep(0.001)  # lets the event loop serve other clients
            if sum(counts.values()) >= 450:
                end.set()

    async def scenario() -> None:
        end, names = asyncio.Event(), "a" * 100 + "b" * 30 + "c" * 12
        await asyncio.gather(*[client(name, end) for name in names])

    asyncio.run(scenario())
    waiting.close()
    assert waiting.tally.queue_rows == 0
    assert not waiting._waiting_rows
    third = sum(counts.values()) / 3
    assert all(abs(counts[name] - third) <= 0.1 * third for name in "abc"), counts


def test_a_client_below_its_share_displaces_items_of_a_client_above_its_share(tabular_model: TabularModel) -> None:
    engine = SlowEngine(tabular_model.engine, 0.0)
    model = dataclasses.replace(tabular_model, engine=engine)
    waiting = Batcher(model, ModelCounters(), queue_rows=10, cost=EngineCost(one_s=0.01, many_s=0.02))
    waiting.plan = BatchPlan(inline_rows=0, chunk_rows=1, merge=False)
    row = random_frame(model, 1)

    async def scenario() -> tuple[list[object], list[object]]:
        engine.released.clear()
        until = time.monotonic() + 600
        first = asyncio.ensure_future(waiting.predict(row, until, "", client="a"))
        await asyncio.sleep(0)
        many = [asyncio.ensure_future(waiting.predict(row, until, "", client="a")) for _ in range(12)]
        kept = asyncio.ensure_future(waiting.predict(row, until, "", client="b"))
        more = [asyncio.ensure_future(waiting.predict(row, until, "", client="b")) for _ in range(9)]
        await asyncio.sleep(0)
        assert waiting._waiting_rows == {"a": 5, "b": 5}
        engine.released.set()
        await first
        await kept
        return await asyncio.gather(*many, return_exceptions=True), await asyncio.gather(*more, return_exceptions=True)

    of_a, of_b = asyncio.run(scenario())
    waiting.close()
    assert [isinstance(found, QueueFull) for found in of_a] == [False] * 5 + [True] * 7
    assert [isinstance(found, QueueFull) for found in of_b] == [False] * 4 + [True] * 5


def test_turns_on_the_event_loop_are_equal_for_unequal_clients() -> None:
    turns, counts = FairTurns(), Counter[str]()

    async def client(name: str, end: asyncio.Event) -> None:
        while not end.is_set():
            await turns.wait(name, 100)
            counts[name] += 1
            if sum(counts.values()) >= 3000:
                end.set()

    async def scenario() -> None:
        end, names = asyncio.Event(), "a" * 90 + "b" * 20 + "c" * 10
        await asyncio.gather(*[client(name, end) for name in names])

    asyncio.run(scenario())
    assert all(abs(counts[name] - 1000) <= 100 for name in "abc"), counts


def test_requests_take_turns_only_if_several_clients_send_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns start if several clients send within a second and an iteration of the event loop has more requests than it
    answers at once.
    """
    turns, at_once = FairTurns(), int(ITERATION_COST / REQUEST_COST)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        moment = [loop.time()]
        monkeypatch.setattr(time, "monotonic", lambda: moment[0])
        turns.admits("a", 0, moment[0])
        moment[0] += CONTENDED_S + 1
        await asyncio.sleep(0)
        assert all(turns.admits("a", 0, moment[0] - 1) for _ in range(3 * at_once)), "a single client"
        admitted = [turns.admits("b", 0, moment[0]) for _ in range(at_once + 2)]
        assert admitted == [True] * at_once + [False] * 2
        await asyncio.sleep(0)
        assert turns.admits("a", 0, moment[0]), "the next iteration"
        assert not turns.admits("a", 0, moment[0] - 1), "it started late"
        await asyncio.sleep(0)
        assert turns.admits("a", int(ITERATION_COST), moment[0])
        assert not turns.admits("a", 0, moment[0]), "after a large one"

    asyncio.run(scenario())


def test_requests_that_started_without_waiting_count_as_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests of a client that started without waiting count when both clients must wait."""
    turns, order = FairTurns(), list[str]()

    async def client(name: str) -> None:
        await turns.wait(name, 0)
        order.append(name)

    async def scenario() -> None:
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now)
        turns.admits("b", 0, now)
        for _ in range(10):
            assert turns.admits("a", 0, now)
            await asyncio.sleep(0)
        await asyncio.gather(*[client(name) for name in "a" * 20 + "b" * 20])

    asyncio.run(scenario())
    assert order[:9] == ["b"] * 9
    assert abs(order[9:20].count("a") - order[9:20].count("b")) <= 1


def test_a_client_without_requests_for_a_short_time_keeps_its_credit() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(credit=10.0)
    for number in range(300):
        queue.push("a", ("a", number))
    queue.push("b", ("b", 0))
    drain(queue, 8)
    for number in range(100):
        queue.push("b", ("b", number))
    assert Counter(client for client, _ in drain(queue, 6)) == {"b": 6}, "the turns of the period without a request"
    assert Counter(client for client, _ in drain(queue, 20)) == {"a": 10, "b": 10}


def test_the_credit_of_a_client_is_limited() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(credit=10.0)
    for number in range(300):
        queue.push("a", ("a", number))
    queue.push("b", ("b", 0))
    drain(queue, 100)
    for number in range(60):
        queue.push("b", ("b", number))
    assert Counter(client for client, _ in drain(queue, 30)) == {"b": 20, "a": 10}, (
        "a credit of 10, then half of the other turns"
    )


def test_the_credits_of_several_clients_are_not_added() -> None:
    """A client that starts with credit does not lower the cost at which the next client starts."""
    queue: FairQueue[tuple[str, int]] = FairQueue(credit=10.0)
    taken: list[tuple[str, int]] = []
    for client in "bcdef":
        queue.push(client, (client, 0))
    for number in range(400):
        queue.push("a", ("a", number))
    drain(queue, 200)
    for client in "bcdef":
        for number in range(60):
            queue.push(client, (client, number))
        taken += drain(queue, 1)
    taken += drain(queue, 115)
    counts = Counter(client for client, _ in taken)
    assert counts["a"] >= 10, "5 of the credit of 10, then a sixth of the other turns"
    assert max(counts.values()) <= 25


def test_turns_without_waiting_give_no_credit_to_other_clients() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(credit=10.0)
    for _ in range(1000):
        queue.spend("a", 1.0)
    for number in range(50):
        for client in "ab":
            queue.push(client, (client, number))
    assert Counter(client for client, _ in drain(queue, 60))["a"] >= 20


def test_one_task_at_a_time_holds_the_lock_and_clients_take_turns() -> None:
    lock, order, inside = FairLock(), list[str](), [0]

    async def work(client: str) -> None:
        async with lock.turn(client, 1.0):
            inside[0] += 1
            assert inside == [1]
            await asyncio.sleep(0)
            inside[0] -= 1
            order.append(client)

    async def scenario() -> None:
        await asyncio.gather(*map(work, "aaaaaaaabbb"))

    asyncio.run(scenario())
    assert "".join(order) == "aabababaaaa"


def test_the_lock_works_after_tasks_are_cancelled() -> None:
    lock = FairLock()

    async def hold_lock(entered: list[int], number: int) -> None:
        async with lock.turn("a", 1.0):
            entered.append(number)
            await asyncio.sleep(0)

    async def scenario() -> list[int]:
        entered: list[int] = []
        tasks = [asyncio.ensure_future(hold_lock(entered, number)) for number in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()  # the task is waiting
        await asyncio.sleep(0)
        tasks[2].cancel()  # the task has just acquired the lock
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(hold_lock(entered, 4), 60)
        return entered

    assert asyncio.run(scenario()) in ([0, 3, 4], [0, 2, 3, 4])


def test_a_cancelled_request_does_not_take_a_turn() -> None:
    turns = FairTurns()

    async def scenario() -> None:
        waiting = [asyncio.ensure_future(turns.wait("a", 0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert turns.admits("a", 0, time.monotonic())

    asyncio.run(scenario())
