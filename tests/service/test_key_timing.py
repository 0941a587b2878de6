"""The time of a refusal does not reveal whether a key is nearly correct. `make key-timing` tries 100,000 keys per
class.
"""

import hashlib
from pathlib import Path

from tests.service.key_timing import access_with_keys, check_with, differences, measured_times, wrong_key_makers

TRIES = 2000
DETECTED = 0.1  # the difference between equal classes exceeds this once in 10^25 runs


def test_the_time_of_a_refusal_does_not_depend_on_the_key(tmp_path: Path) -> None:
    access, texts = access_with_keys(tmp_path)
    found = differences(measured_times(check_with(access), wrong_key_makers(texts), TRIES))
    assert all(abs(difference) < DETECTED for difference in found.values()), found


def test_a_comparison_that_stops_early_is_detected(tmp_path: Path) -> None:
    """The measurement detects a comparison in which each equal character takes additional time."""
    _, texts = access_with_keys(tmp_path)
    by_id = {text[4:16].encode(): text.encode() for text in texts}

    def check(key: bytes) -> None:
        stored = by_id.get(key[4:16], b"")
        for one, two in zip(key, stored, strict=False):
            if one != two:
                return
            hashlib.sha256(key)

    found = differences(measured_times(check, wrong_key_makers(texts), TRIES))
    assert min(map(abs, found.values())) > DETECTED, found
