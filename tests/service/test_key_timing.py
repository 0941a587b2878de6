"""The time of a refusal does not tell whether a key is nearly right. `make key-timing` tries 100,000 of each class."""

import hashlib
from pathlib import Path

from tests.service.key_timing import check_with, classes, differences, prepared, times

TRIES = 2000
DETECTED = 0.1  # the difference of two equal classes is above it once in 10^25 runs


def test_the_time_of_a_refusal_tells_nothing(tmp_path: Path) -> None:
    access, texts = prepared(tmp_path)
    found = differences(times(check_with(access), classes(texts), TRIES))
    assert all(abs(difference) < DETECTED for difference in found.values()), found


def test_a_comparison_that_stops_early_is_detected(tmp_path: Path) -> None:
    """Each equal character costs one more step: this shows that the test can fail."""
    _, texts = prepared(tmp_path)
    by_id = {text[4:16].encode(): text.encode() for text in texts}

    def check(key: bytes) -> None:
        stored = by_id.get(key[4:16], b"")
        for one, two in zip(key, stored, strict=False):
            if one != two:
                return
            hashlib.sha256(key)

    found = differences(times(check, classes(texts), TRIES))
    assert min(map(abs, found.values())) > DETECTED, found
