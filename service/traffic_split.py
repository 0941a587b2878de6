"""Splits the requests without a version between the versions of a model. A client always receives the same version."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

CLIENT_KEY = b"x-client-key"
KEY_BYTES = 16 * 1024  # bytes of the body that are hashed if there is no client key
BUCKETS = 1_000_000
# the keys of a JSON body under which the protocols expect rows
ROW_LISTS = ("rows", "instances", "dataframe_records", "examples")


class TrafficSplit:
    """Assigns keys to versions. The lowest buckets belong to the champion, so a client of the challenger keeps its
    version when the challenger's share grows."""

    def __init__(self, model: str, champion: str, shares: Mapping[str, float]) -> None:
        """shares: the percentage of each version; their sum is 100."""
        self._salt = model.encode()[:16]
        self._bounds: list[tuple[int, str]] = []
        bound = 0.0
        for version in sorted(shares, key=lambda version: (version != champion, version)):
            bound += shares[version] * BUCKETS / 100
            self._bounds.append((round(bound), version))

    def version(self, key: bytes) -> str:
        """The version for a client or row."""
        bucket = int.from_bytes(hashlib.blake2b(key, digest_size=8, salt=self._salt).digest()) % BUCKETS
        return next((version for bound, version in self._bounds if bucket < bound), self._bounds[-1][1])


def row_key(body: bytes) -> bytes:
    """The key of a request without a client key: its first row, or its tensors, in any JSON formatting. Other bodies
    are used as the key themselves."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if not isinstance(document, dict):
        return body
    rows = next((document[name] for name in ROW_LISTS if name in document), None)
    content = rows[0] if isinstance(rows, list) and rows else document.get("inputs", document)
    try:
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # nested too deeply for orjson; the route will refuse the body
        return body
