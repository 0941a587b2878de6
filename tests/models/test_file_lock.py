"""Only one process at a time holds a file lock."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from models.file_lock import lock_if_possible, lock_within, locked_within, try_lock


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two descriptors of the same file; their locks exclude each other like those of two processes."""
    with ExitStack() as stack:
        first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
        stack.callback(os.close, first)
        stack.callback(os.close, second)
        yield first, second


def test_lock_excludes_others_until_it_is_released(descriptors: tuple[int, int]) -> None:
    first, second = descriptors
    assert try_lock(first)
    assert not try_lock(second)
    assert not lock_within(second, 0.03)
    assert not lock_if_possible(second, 0.0)
    fcntl.flock(first, fcntl.LOCK_UN)
    assert lock_within(second, 60)
    assert not try_lock(first)


def test_lock_is_held_within_a_block(descriptors: tuple[int, int]) -> None:
    first, second = descriptors
    with locked_within(first, 60) as held:
        assert held
        assert not try_lock(second)
        with locked_within(second, 0) as also_held:
            assert not also_held
    assert try_lock(second)


def test_lock_fails_on_a_file_system_without_locks(
    descriptors: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    for locks in (try_lock, lambda descriptor: lock_within(descriptor, 60)):
        with pytest.raises(OSError, match="No locks available"):
            locks(descriptors[0])
    assert not lock_if_possible(descriptors[0], 60)
