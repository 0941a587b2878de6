"""A request with a known head gets the same response without parsing the head."""

import asyncio
import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from service.errors import Forbidden
from service.fair_turns import FairTurns
from service.http import direct_responses
from service.http.direct_responses import DirectResponses
from tests.service.server.conftest import listening
from tests.service.server.test_direct_responses import (
    BODIES,
    FIELDS,
    LAST,
    OTHER_PROTOCOLS,
    PATHS,
    Apps,
    counters_of,
    equal_responses,
    plain_request,
    responses,
)

ROUNDS = 60
REQUEST = plain_request(BODIES[0])
OTHER_BYTES = b"\0\t\n\r !%+,./01:?PYZaz\x7f\xff"


def with_small_change(rng: random.Random, request: bytes) -> bytes:
    """A copy of a request with one small change."""
    head, _, body = request.partition(b"\r\n\r\n")
    place = rng.randrange(len(head))
    first, *lines = head.split(b"\r\n")
    length = int(lines[-1].split()[1])
    other_body = rng.choice([rng.choice(BODIES), body[:-1], body + b" "])
    return rng.choice(
        [
            head[:place] + bytes([rng.choice(OTHER_BYTES)]) + head[place + 1 :] + b"\r\n\r\n" + body,
            head[:place] + head[place + 1 :] + b"\r\n\r\n" + body,
            head[:place] + bytes([rng.choice(OTHER_BYTES)]) + head[place:] + b"\r\n\r\n" + body,
            head.replace(first.split()[1], rng.choice(PATHS).encode(), 1) + b"\r\n\r\n" + body,
            head + b"\r\n" + rng.choice(FIELDS).encode() + b"\r\n\r\n" + body,
            b"\r\n".join([first, rng.choice(FIELDS).encode(), *lines, b"", body]),
            b"\r\n".join([first, *rng.sample(lines, len(lines)), b"", body]),
            b"\r\n".join([first, *lines, rng.choice(lines), b"", body]),
            b"\r\n".join([first, *lines[:-1], b"Content-Length: %d" % (length + rng.choice([-1, 1])), b"", body]),
            b"\r\n".join([first, *lines[:-1], b"Content-Length: 0%d" % length, b"", body]),
            head + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
            head + b"\r\n\r\n" + other_body,
            head + b"\n\n" + body,
            b"\r\n" + request,
            request + b"\r\n",
            request + request,
            plain_request(BODIES[0], *rng.choice(OTHER_PROTOCOLS)) + plain_request(BODIES[1]) + request,
            request.swapcase() if rng.random() < 0.3 else request.replace(b"Host", b"HOST"),
        ]
    )


def conversation(rng: random.Random) -> Iterator[bytes]:
    """Requests of one connection, most of them with known heads. The last request closes the connection."""
    known = [plain_request(BODIES[0], *rng.choice(OTHER_PROTOCOLS)) for _ in range(2)]
    yield from known * 2
    for _ in range(6):
        request = rng.choice(known)
        if rng.random() < 0.4:
            request = with_small_change(rng, request)
        if rng.random() < 0.2:
            cut = rng.randrange(1, len(request))
            yield request[:cut]
            request = request[cut:]
        yield request
    yield b"GET / HTTP/1.0\r\n\r\n" if rng.random() < 0.2 else LAST


@pytest.fixture
def found_heads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The reads in which a known head was found."""
    found: list[bytes] = []
    split = DirectResponses.split

    def count(direct: DirectResponses, data: bytes) -> Any:
        result = split(direct, data)
        if result is not None:
            found.append(data)
        return result

    monkeypatch.setattr(DirectResponses, "split", count)
    return found


def test_slightly_changed_heads_get_the_same_responses_as_parsed_heads(apps: Apps, found_heads: list[bytes]) -> None:
    with_direct, without, _ = apps
    rng = random.Random(7)

    conversations = ([*conversation(rng)] for _ in range(ROUNDS))
    assert equal_responses(apps, conversations, 8) > 0.7 * ROUNDS
    assert len(found_heads) > 2 * ROUNDS
    assert counters_of(with_direct) == counters_of(without)


async def send_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Send a plain request. Returns the status of the response."""
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (int(line.split()[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(length)
    return int(head.split()[1])


@pytest.mark.parametrize("case", ["draining", "forbidden", "failing", "exporting", "replaced"])
def test_known_heads_get_direct_responses_under_the_same_conditions_as_new_heads(
    apps: Apps, found_heads: list[bytes], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    app, _, sent = apps
    checked = []

    def check(*arguments: Any) -> None:
        checked.append(arguments)
        if case == "forbidden":
            raise Forbidden("no")

    def change() -> None:
        monkeypatch.setattr(app.context.access, "check", check)
        if case == "draining":
            app.context.state.begin_draining()
        elif case == "failing":
            monkeypatch.setattr(app.direct.router.direct[b"/predict/homes"], "answer", lambda *_: 1 / 0)
        elif case == "exporting":
            app.context.exports_traces = True
        elif case == "replaced":
            app.plane.registry.snapshot = copy.copy(app.plane.snapshot)

    async def statuses() -> list[int]:
        async with listening(app) as address:
            reader, writer = await asyncio.open_connection(*address)
            found = [await send_request(reader, writer) for _ in range(2)]
            change()
            found.append(await send_request(reader, writer))
            writer.close()
            return found

    expected = {"forbidden": 403, "failing": 500}.get(case, 200)
    assert asyncio.run(statuses()) == [200, 200, expected]
    assert len(sent) == 2
    assert len(found_heads) == (2 if case in ("forbidden", "failing") else 1)
    assert len(checked) == (2 if case == "forbidden" else 1)  # the check of an admitted request is not repeated


@pytest.mark.parametrize(
    "field",
    [
        "X-Request-ID: not valid",
        f"X-Request-ID: {'x' * 129}",
        "X-Request-ID: x\r\nX-Request-ID: y",
        f"User-Agent: {'x' * direct_responses.MAX_HEAD_BYTES}",
        "Cookie: a=b",
        "Connection: keep-alive, Upgrade\r\nUpgrade: h2c",
    ],
)
def test_heads_with_invalid_ids_cookies_or_upgrades_and_long_heads_are_not_cached(
    apps: Apps, found_heads: list[bytes], field: str
) -> None:
    app, _, _ = apps
    request = REQUEST.replace(b"Host", f"{field}\r\nHost".encode(), 1)

    async def repeat() -> None:
        async with listening(app) as address:
            await responses(address, [request, request, request, LAST], 8)

    asyncio.run(repeat())
    assert not found_heads
    assert not app.direct._heads_with_id


def id_field(rng: random.Random) -> bytes:
    """A header with an id, usually a valid id, in one of many spellings."""
    name = rng.choice(["X-Request-ID"] * 8 + ["x-request-id", "X-Request-Id", "X-REQUEST-ID", "X-Request-IDs"])
    value = f"given{rng.choice('-/+=@._:')}{rng.randrange(10 ** rng.choice([1, 9, 90, 121, 122, 123]))}"
    if rng.random() < 0.06:  # most of these end the connection
        place = rng.randrange(5, len(value))
        value = (
            value[:place] + rng.choice([" ", "\t", "\0", "\r", "\n", "\r\n", "\r\n ", "%", "ä", ","]) + value[place:]
        )
    field = f"{name}{rng.choice([': '] * 12 + [':', ':  ', ':' + chr(9)])}{value}{rng.choice([''] * 12 + [' '])}"
    return field.encode("latin-1")


def with_ids(rng: random.Random, request: bytes) -> bytes:
    """The request with an `X-Request-ID` field inserted among its header fields; in one of 16 cases, two fields."""
    first, *lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
    for _ in range(rng.choice([1] * 15 + [2])):
        lines.insert(rng.choice([0, 1, len(lines)]), id_field(rng))
    return b"\r\n".join([first, *lines, b"", request.partition(b"\r\n\r\n")[2]])


def test_known_heads_with_client_ids_get_the_responses_of_parsed_heads(apps: Apps, found_heads: list[bytes]) -> None:
    with_direct, without, sent = apps
    rng = random.Random(11)

    protocols = [OTHER_PROTOCOLS[0], OTHER_PROTOCOLS[6], OTHER_PROTOCOLS[11]]
    known = (plain_request(BODIES[0], *rng.choice(protocols)) for _ in range(ROUNDS))
    conversations = ([with_ids(rng, request) for _ in range(8)] + [LAST] for request in known)
    assert equal_responses(apps, conversations, 8) > 0.7 * ROUNDS
    assert len(found_heads) > ROUNDS
    assert any(b"x-request-id: given" in response for response in sent)
    assert not with_direct.direct._heads
    assert len(with_direct.direct._heads_with_id) < len(found_heads) / 2
    assert counters_of(with_direct) == counters_of(without)


def test_a_known_head_is_found_with_any_other_valid_id(apps: Apps) -> None:
    direct = apps[0].direct
    fields = {b"content-type": b"application/json", b"content-length": b"2", b"x-request-id": b"a"}
    head = direct.head(b"/predict/homes", fields)
    assert head is not None
    direct.keep(b"POST\r\nX-Request-ID: a\r\nHost: x\r\n\r\n{}", head)
    found = direct.split(b"POST\r\nX-Request-ID: other:1\r\nHost: x\r\n\r\n{}")
    assert found is not None
    assert found[0].fields == {**fields, b"x-request-id": b"other:1"}
    assert head.fields == fields
    for other in (b" ", b"a b", b"x" * 129, b"a\r\nX-Request-ID: b", b"\0", b"a\r\n b", b"a\n"):
        assert direct.split(b"POST\r\nX-Request-ID: %b\r\nHost: x\r\n\r\n{}" % other) is None
    assert direct.split(b"POST\r\nX-Request-ID: \0\r\nHost: x\r\n\r\n{}") is None  # the cached form of the head
    direct.keep(b"POST\r\nX-Request-ID: b\r\nHost: x\r\n\r\n{}", head)  # not the id of the parsed head
    assert len(direct._heads_with_id) == 1
    assert not direct._heads


def test_a_request_takes_one_turn_even_if_the_application_answers(apps: Apps) -> None:
    app, _, sent = apps
    turns, sizes = FairTurns(), list[int]()

    def admit(client: str, size: int, arrived: float) -> bool:
        sizes.append(size)
        return True

    turns.admits = admit  # type: ignore[method-assign]
    app.context.turns = turns
    bodies = [BODIES[0], b'{"rows": []}', BODIES[0], b'{"rows": [] }']

    async def send_all() -> None:
        async with listening(app) as address:
            for body in bodies:
                await responses(address, [plain_request(body), LAST], 8)

    asyncio.run(send_all())
    assert sizes == [len(body) for body in bodies]
    assert len(sent) == 2


def test_the_number_of_known_heads_is_limited(apps: Apps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_responses, "MAX_HEADS", 3)
    direct = apps[0].direct
    head = direct.head(b"/predict/homes", {b"content-type": b"application/json", b"content-length": b"2"})
    assert head is not None
    for number in range(8):
        read = b"POST %d\r\n\r\n{}" % number
        direct.keep(read, head)
        assert direct.split(read) == (head, b"{}")
        assert direct.split(read + b" ") is direct.split(read[:-1]) is direct.split(b"\r\n" + read) is None
        assert len(direct._heads) <= 3


@pytest.mark.parametrize(
    "read", [b"POST\r\n\r\n{} ", b"POST\r\n\r\n{", b"POST\n\r\n\r\n{}", b"PO\rST\r\n\r\n{}", b"POST\n\n{}", b"{}"]
)
def test_a_read_that_is_not_a_single_request_is_not_cached(apps: Apps, read: bytes) -> None:
    direct = apps[0].direct
    head = direct.head(b"/predict/homes", {b"content-type": b"application/json", b"content-length": b"2"})
    assert head is not None
    direct.keep(read, head)
    assert not direct._heads
