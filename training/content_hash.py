"""Computes hashes of values that are the same in every training run and on every machine."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

Hashes = npt.NDArray[np.uint64]
MISSING = b"\0missing"


def hash_columns(columns: Iterable[tuple[str, npt.NDArray[np.generic]]]) -> Hashes:
    """(n,): a hash of each row, from its values and the names of the columns. There is at least one column."""
    parts = (mix_bits(text_hash(name.encode()) ^ mix_bits(value_hashes(values))) for name, values in columns)
    total = next(parts)
    for part in parts:
        total += part
    return mix_bits(total)


def value_hashes(values: npt.NDArray[np.generic]) -> Hashes:
    """(n,): numbers are hashed by value, everything else by its text."""
    if values.dtype != object:
        numbers = values.astype(np.float64) + 0.0  # -0.0 is 0.0
        return np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64)  # all NaN have the same bits
    codes, distinct = pd.factorize(values)
    known = [text_hash(str(value).encode("utf-8", "surrogatepass")) for value in distinct]
    return np.array([*known, text_hash(MISSING)], np.uint64)[codes]  # the code of a missing value is -1


def text_hash(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def mix_bits(values: Hashes) -> Hashes:
    """Each bit of the result depends on each bit of the value (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
