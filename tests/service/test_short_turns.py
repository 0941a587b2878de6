"""Work in short turns pauses between the turns, without other effects."""

import sys

import pytest

from service import short_turns


def work(times: int) -> int:
    return sum(map(int, "1" * times))


def test_work_pauses_after_each_turn(pauses: list[float]) -> None:
    with short_turns.short_turns(turn_s=0.0, pause_s=0.25):
        assert work(3) == 3
    assert len(pauses) > 3, "pauses at calls and returns of Python and C functions"
    assert set(pauses) == {0.25}


def test_work_within_a_turn_does_not_pause(pauses: list[float]) -> None:
    with short_turns.short_turns(turn_s=3600.0):
        assert work(3) == 3
    assert pauses == []


@pytest.mark.usefixtures("pauses")
def test_turns_end_with_the_context() -> None:
    def fail() -> None:
        assert sys.getprofile() is not None
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), short_turns.short_turns():
        fail()
    assert sys.getprofile() is None


def test_an_existing_profiler_of_the_thread_is_kept() -> None:
    def profiler(*_: object) -> None:
        pass

    sys.setprofile(profiler)
    try:
        with short_turns.short_turns():
            assert sys.getprofile() is profiler
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
