"""Traffic shares are correct within the sampling error, and a client keeps its version when the share grows."""

import math

import orjson
import pytest

from service.traffic_split import TrafficSplit, row_key

DEEP = b'{"rows": [' + b"[" * 500 + b"]" * 500 + b"]}"
CLIENTS = [f"client-{number}".encode() for number in range(20_000)]


@pytest.mark.parametrize("percent", [0.5, 5, 50])
def test_shares_are_within_sampling_error(percent: float) -> None:
    split = TrafficSplit("homes", "1", {"1": 100 - percent, "2": percent})
    count = sum(split.version(client) == "2" for client in CLIENTS)
    share = percent / 100
    assert abs(count - share * len(CLIENTS)) < 4 * math.sqrt(len(CLIENTS) * share * (1 - share))


def test_a_client_of_the_challenger_keeps_its_version_when_the_share_grows() -> None:
    small = TrafficSplit("homes", "3", {"3": 95, "4": 5})
    large = TrafficSplit("homes", "3", {"4": 20, "3": 80})
    early = [client for client in CLIENTS if small.version(client) == "4"]
    assert early
    assert {large.version(client) for client in early} == {"4"}


def test_models_are_split_independently() -> None:
    chosen = [
        {client for client in CLIENTS if TrafficSplit(name, "1", {"1": 50, "2": 50}).version(client) == "2"}
        for name in ("homes", "income")
    ]
    assert 0.4 < len(chosen[0] & chosen[1]) / len(chosen[0]) < 0.6


def test_the_key_of_a_row_does_not_depend_on_how_it_is_written() -> None:
    row = {"a": 1, "b": "x"}
    expected = orjson.dumps(row)
    assert row_key(b'{"rows": [{"b": "x", "a": 1}]}') == expected
    assert row_key(b'{"instances": [{"a": 1, "b": "x"}, {}]}') == expected
    assert row_key(b'{"id": "7", "inputs": [1]}') == row_key(b'{"inputs": [1], "id": "8"}')
    for other in (b"a,b\n1,x\n", b"[1]", b"", b'{"rows": ', b'{"rows": []}', DEEP):
        assert row_key(other) or other == b""
