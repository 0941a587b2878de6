"""Work in short turns pauses between the turns, without other effects."""

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_module_runs_in_short_turns_from_its_first_import_on(tmp_path: Path) -> None:
    (tmp_path / "imported.py").write_text("import sys\nprofiler = sys.getprofile()\n")
    program = "import imported\nimport sys\nprint(imported.profiler.__name__, sys.argv[1:], __name__)\n"
    (tmp_path / "program.py").write_text(program)
    folders = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    command = [sys.executable, "-m", "service.short_turns", "program", "1", "2"]
    found = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": folders}, capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout == "pause_after_turn ['1', '2'] __main__\n"
