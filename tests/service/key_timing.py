"""Whether the time that a refusal takes reveals anything about keys. `python -m tests.service.key_timing 100000`.

Keys of several classes are tried in random order: an id that no key has, a known id with another secret, and a known id
whose secret is right except for its end. If times tell the classes apart, the probability that a time of one class is
above one of another differs from 1/2 (the statistic of Mann and Whitney).
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
FOUND = 0.02  # a difference from 1/2 that an attacker could use with some 10⁴ tries on the same machine
Check = Callable[[bytes], None]


class Tried:
    """A request as access control sees it."""

    method, path, request_id, protocol, client = "POST", "/predict/homes", b"id", "json", "192.0.2.1"
    caller: Caller = NOBODY
    served = None
    failed = None

    def __init__(self, key: bytes) -> None:
        self.headers: Mapping[bytes, bytes] = {b"authorization": b"Bearer " + key}

    def check_model(self, model: str, *, served: bool = True) -> None:
        raise AssertionError("no key is right")


def classes(keys: list[str]) -> dict[str, Callable[[], bytes]]:
    """Functions that make a wrong key of each class. All have the same length and are new objects."""

    def maker(right: int) -> Callable[[], bytes]:
        def make() -> bytes:  # each class uses the same steps, because the steps influence a key's address in memory
            wrong = "".join(random.choices("abcdefghijkmnpqrstuvwxyz", k=60))
            return f"{random.choice(keys)[:right]}{wrong[right:]}".encode()

        return make

    return {"unknown id": maker(4), "known id": maker(17), "nearly right": maker(45)}


def times(check: Check, makers: Mapping[str, Callable[[], bytes]], tries: int) -> dict[str, np.ndarray]:
    """The nanoseconds of each try, by class."""
    found: dict[str, list[int]] = {name: [] for name in makers}
    while len(next(iter(found.values()))) < tries:
        names = [name for name in makers for _ in range(min(BLOCK, tries))]
        random.shuffle(names)  # before the keys are made, so that their addresses in memory do not depend on the class
        for name, key in [(name, makers[name]()) for name in names]:
            started = time.perf_counter_ns()
            check(key)
            ended = time.perf_counter_ns()  # before anything that depends on the class
            found[name].append(ended - started)
    return {name: np.array(one) for name, one in found.items()}


def probability_above(first: np.ndarray, second: np.ndarray) -> float:
    """The probability that a value of `first` is above one of `second`; equal ones count half."""
    ordered = np.sort(second)
    below, not_above = np.searchsorted(ordered, first, "left"), np.searchsorted(ordered, first, "right")
    return float(np.mean(below + not_above) / 2 / len(second))


def differences(found: Mapping[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """How far each pair of classes is from 1/2."""
    return {
        (one, two): probability_above(found[one], found[two]) - 0.5 for one, two in itertools.combinations(found, 2)
    }


def check_with(access: KeyAccess, required: Access = "predict") -> Check:
    def check(key: bytes) -> None:
        try:
            access.check(Tried(key), required, "homes")
        except RequestError:
            return
        raise AssertionError("a wrong key was accepted")

    return check


def prepared(folder: Path) -> tuple[KeyAccess, list[str]]:
    """Access control with some keys, and their texts."""
    keys = KeySet(folder / "keys.json")
    texts = [keys.add(f"key-{number}") for number in range(KEYS)]
    return KeyAccess(KeyRing(keys.path, None)), texts


def main(tries: int) -> int:
    """Print the times and differences. Returns 1 if a difference is found."""
    with tempfile.TemporaryDirectory() as folder:
        access, texts = prepared(Path(folder))
        found = times(check_with(access), classes(texts), tries)
    for name, one in found.items():
        print(f"{name:12} {len(one):,} tries, median {np.median(one):,.0f} ns, mean {np.mean(one):,.0f} ns")
    worst = 0.0
    for (first, second), difference in differences(found).items():
        worst = max(worst, abs(difference))
        print(f"P({first} takes longer than {second}) = {0.5 + difference:.4f}")
    print(f"largest difference from 1/2: {worst:.4f} (goal: at most {FOUND}){'' if worst <= FOUND else ', MISSED'}")
    return int(worst > FOUND)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
