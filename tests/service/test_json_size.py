"""JSON that would take much memory to parse is refused before."""

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from service.errors import TooManyJsonNodes
from service.http import request_body
from service.http.request_body import check_json_size, count_values

PLANE: Any = SimpleNamespace(settings=SimpleNamespace(max_rows=100), snapshot=SimpleNamespace(champions=[]))
MOST = (100 + request_body.OTHER_OBJECTS) * request_body.OTHER_NAMES


def documents() -> Iterator[Any]:
    rng = random.Random(0)
    texts = ["", ",", 'a"b', "\\", '\\"', ',"', "\\\\,", 'x",{"y', "ü,\u2028"]
    for size in range(300):
        yield [rng.choice([1, None, 2.5, *texts]) for _ in range(size)]
        yield {f"{rng.choice(texts)}{number}": rng.choice(texts) for number in range(size)}
        yield [{"a": rng.choice(texts), "b": [1, rng.choice(texts)]}] * size


def commas(document: Any) -> int:
    """The commas that separate the values of a document."""
    if not isinstance(document, list | dict):
        return 0
    values = document if isinstance(document, list) else document.values()
    return max(len(document) - 1, 0) + sum(map(commas, values))


@pytest.mark.parametrize("piece", [7, request_body.COUNTED_BYTES])
def test_values_are_counted_outside_of_texts(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "COUNTED_BYTES", piece)
    for document in documents():
        body = orjson.dumps(document)
        if len(body) < 300 * piece:
            assert count_values(body) == commas(document) + 1, body


@pytest.mark.parametrize("part", [b"1,", b'"",', b"null ,\n"])
def test_more_values_than_rows_may_have_are_refused(part: bytes) -> None:
    check_json_size(b'{"rows":[' + part * (MOST - 1) + b"1]}", PLANE)
    with pytest.raises(TooManyJsonNodes, match=rf"the body has {MOST + 1} JSON values, expected at most {MOST}"):
        check_json_size(b'{"rows":[' + part * MOST + b"1]}", PLANE)


def test_commas_in_texts_are_not_values() -> None:
    check_json_size(orjson.dumps({"rows": [{"text": ',"' * MOST}] * 3}), PLANE)
