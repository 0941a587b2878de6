"""JSON bodies that would need too much memory are refused before they are parsed."""

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
MAX_VALUES = (100 + request_body.OTHER_OBJECTS) * request_body.OTHER_NAMES


def documents() -> Iterator[Any]:
    rng = random.Random(0)
    texts = ["", ",", 'a"b', "\\", '\\"', ',"', "\\\\,", 'x",{"y', "ü,\u2028"]
    for size in range(300):
        yield [rng.choice([1, None, 2.5, *texts]) for _ in range(size)]
        yield {f"{rng.choice(texts)}{number}": rng.choice(texts) for number in range(size)}
        yield [{"a": rng.choice(texts), "b": [1, rng.choice(texts)]}] * size


def separator_count(document: Any) -> int:
    """The number of commas that separate values of a document."""
    if not isinstance(document, list | dict):
        return 0
    values = document if isinstance(document, list) else document.values()
    return max(len(document) - 1, 0) + sum(map(separator_count, values))


@pytest.mark.parametrize("piece", [7, request_body.COUNTED_BYTES])
def test_values_are_counted_without_commas_in_texts(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "COUNTED_BYTES", piece)
    for document in documents():
        body = orjson.dumps(document)
        if len(body) < 300 * piece:
            assert count_values(body) == separator_count(document) + 1, body


@pytest.mark.parametrize("part", [b"1,", b'"",', b"null ,\n"])
def test_bodies_with_too_many_values_are_refused(part: bytes) -> None:
    check_json_size(b'{"rows":[' + part * (MAX_VALUES - 1) + b"1]}", PLANE)
    with pytest.raises(
        TooManyJsonNodes, match=rf"the body has {MAX_VALUES + 1} JSON values, expected at most {MAX_VALUES}"
    ):
        check_json_size(b'{"rows":[' + part * MAX_VALUES + b"1]}", PLANE)


def test_texts_with_many_commas_are_accepted() -> None:
    check_json_size(orjson.dumps({"rows": [{"text": ',"' * MAX_VALUES}] * 3}), PLANE)
