"""The text of a key: `tsk_`, its public id, `_`, and 256 random bits.

Nobody can guess 256 random bits from their hash. A slow hash, as for passwords, would only cost time in each request.
"""

import hashlib
import secrets
from typing import NamedTuple

PREFIX = "tsk_"
ID_CHARACTERS = "abcdefghijkmnpqrstuvwxyz23456789"
ID_LENGTH = 12
SECRET_BYTES = 32
ID = slice(len(PREFIX), len(PREFIX) + ID_LENGTH)
"""The position of the id in a key. People use the id, for example to revoke one of two keys with the same name."""


class NewKey(NamedTuple):
    """text: the key itself, which is not stored."""

    text: str
    id: str
    digest: bytes


def new_key() -> NewKey:
    key_id = "".join(secrets.choice(ID_CHARACTERS) for _ in range(ID_LENGTH))
    text = f"{PREFIX}{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return NewKey(text, key_id, hashlib.sha256(text.encode()).digest())
