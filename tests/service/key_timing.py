"""Measures whether the time of a refusal reveals anything about keys. `python -m tests.service.key_timing 100000`.

Wrong keys of three classes are tried in random order: an unknown id, a known id with another secret, and a known id
whose secret is wrong only at its end. If the times distinguish two classes, the probability that a time of one class
exceeds a time of the other class differs from 1/2 (the Mann-Whitney statistic).
"""

import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from service.access.caller import NOBODY, Access, Caller
from service.access.key_access import KeyAccess
from service.access.key_ring import KeyRing
from service.errors import RequestError
from tests.service.access_keys import KeySet

KEYS = 50
BLOCK = 1000
MAX_DIFFERENCE = 0.02  # the difference from 1/2 that an attacker on the same machine could detect with about 10⁴ tries
Check = Callable[[bytes], None]


class KeyedRequest:
    """A request with a key, with the attributes that access control reads."""

    method, path, request_id, protocol, client = "POST", "/predict/homes", b"id", "json", "192.0.2.1"
    caller: Caller = NOBODY
    served = None
    failed = None

    def __init__(self, key: bytes) -> None:
        self.headers: Mapping[bytes, bytes] = {b"authorization": b"Bearer " + key}

    def check_model(self, model: str, *, served: bool = True) -> None:
        raise AssertionError("a wrong key was accepted")


def wrong_key_makers(keys: list[str]) -> dict[str, Callable[[], bytes]]:
    """A function for each class that returns a wrong key. All keys have the same length and are new objects."""

    def maker(right: int) -> Callable[[], bytes]:
        def make() -> bytes:  # all classes take the same steps, which influence the memory address of the key
            wrong = "".join(random.choices("abcdefghijkmnpqrstuvwxyz", k=60))
            return f"{random.choice(keys)[:right]}{wrong[right:]}".encode()

        return make

    return {"unknown id": maker(4), "known id": maker(17), "nearly right": maker(45)}


def measured_times(check: Check, makers: Mapping[str, Callable[[], bytes]], tries: int) -> dict[str, np.ndarray]:
    """The durations of all tries in nanoseconds, by class."""
    found: dict[str, list[int]] = {name: [] for name in makers}
    while len(next(iter(found.values()))) < tries:
        names = [name for name in makers for _ in range(min(BLOCK, tries))]
        # Shuffled before the keys are created, so that memory addresses do not depend on the class
        random.shuffle(names)
        for name, key in [(name, makers[name]()) for name in names]:
            started = time.perf_counter_ns()
            check(key)
            ended = time.perf_counter_ns()  # read before any step that depends on the class
            found[name].append(ended - started)
    return {name: np.array(one) for name, one in found.items()}


def probability_above(first: np.ndarray, second: np.ndarray) -> float:
    """The probability that a value of `first` exceeds a value of `second`; equal values count as half."""
    ordered = np.sort(second)
    below, not_above = np.searchsorted(ordered, first, "left"), np.searchsorted(ordered, first, "right")
    return float(np.mean(below + not_above) / 2 / len(second))


def differences(found: Mapping[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """The difference from 1/2 for each pair of classes."""
    return {
        (one, two): probability_above(found[one], found[two]) - 0.5 for one, two in itertools.combinations(found, 2)
    }


def check_with(access: KeyAccess, required: Access = "predict") -> Check:
    def check(key: bytes) -> None:
        try:
            access.check(KeyedRequest(key), required, "homes")
        except RequestError:
            return
        raise AssertionError("a wrong key was accepted")

    return check


def access_with_keys(folder: Path) -> tuple[KeyAccess, list[str]]:
    """Access control with a file of new keys, and the texts of the keys."""
    keys = KeySet(folder / "keys.json")
    texts = [keys.add(f"key-{number}") for number in range(KEYS)]
    return KeyAccess(KeyRing(keys.path, None)), texts


def main(tries: int) -> int:
    """Print the times and differences. Returns 1 if a difference exceeds the goal."""
    with tempfile.TemporaryDirectory() as folder:
        access, texts = access_with_keys(Path(folder))
        found = measured_times(check_with(access), wrong_key_makers(texts), tries)
    for name, one in found.items():
        print(f"{name:12} {len(one):,} tries, median {np.median(one):,.0f} ns, mean {np.mean(one):,.0f} ns")
    worst = 0.0
    for (first, second), difference in differences(found).items():
        worst = max(worst, abs(difference))
        print(f"P({first} takes longer than {second}) = {0.5 + difference:.4f}")
    result = "" if worst <= MAX_DIFFERENCE else ", MISSED"
    print(f"largest difference from 1/2: {worst:.4f} (goal: at most {MAX_DIFFERENCE}){result}")
    return int(worst > MAX_DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
