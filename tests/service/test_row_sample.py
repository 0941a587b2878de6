"""The sample of predicted rows: all rows up to a limit, an even selection beyond it, and few rows of each request."""

from collections.abc import Sequence

import numpy as np

from models.frame import Frame, Row
from models.outputs import Outputs
from service.row_sample import MAX_REQUEST_ROWS, MAX_WAITING_ROWS, RowSample


def outputs(count: int) -> Outputs:
    return Outputs(np.arange(count, dtype=np.float64).reshape(-1, 1))


def first_number(rows: Frame | Sequence[Row]) -> int:
    """The number of the first row."""
    assert not isinstance(rows, Frame)
    return int(rows[0]["km"])


def row(number: int) -> dict[str, object]:
    return {"km": number}


def test_all_rows_of_a_quiet_second_are_sampled() -> None:
    sample = RowSample()
    for number in range(MAX_WAITING_ROWS):
        sample.add_rows([row(number)], 0.5)
    taken, answered = sample.take()
    assert ([first_number(rows) for rows, _ in taken], answered) == ([*range(MAX_WAITING_ROWS)], MAX_WAITING_ROWS)
    assert sample.take() == ([], 0)


def test_sixteen_rows_of_a_large_request_are_sampled() -> None:
    sample = RowSample()
    frame = Frame.from_numbers(np.arange(1000, dtype=np.float64).reshape(-1, 1))
    sample.add_frame(frame, outputs(1000))
    sample.add_rows([row(number) for number in range(40)], outputs(40))
    sample.add_rows([row(number) for number in range(16)], outputs(16))
    sample.add_frame(frame, outputs(1000), first=False)
    taken, answered = sample.take()
    assert answered == 2056
    (numbers, of_frame), (some, of_rows), (all_rows, _) = taken
    assert isinstance(numbers, Frame)
    assert numbers.numbers.base is None, "the sample must not keep the memory of the request"
    assert isinstance(of_frame, Outputs)
    assert isinstance(of_rows, Outputs)
    assert numbers.numbers[:, 0].tolist() == of_frame.primary[:, 0].tolist()
    assert len(of_frame) == len(of_rows) == len(some) == len(all_rows) == MAX_REQUEST_ROWS
    assert not isinstance(some, Frame)
    assert [one["km"] for one in some] == of_rows.primary[:, 0].tolist()


def test_a_busy_second_is_sampled_evenly_and_bounded() -> None:
    sample, kept = RowSample(), []
    for second in range(20):
        for number in range(20_000):
            sample.add_rows([row(number)], 0.5)
        taken, answered = sample.take()
        assert answered == 20_000
        assert len(taken) <= MAX_WAITING_ROWS
        if second:
            assert len(taken) > MAX_WAITING_ROWS // 8
            kept += [first_number(rows) for rows, _ in taken]
    halves = np.histogram(kept, bins=4, range=(0, 20_000))[0]
    assert halves.min() > halves.max() / 2, "all parts of a second must be sampled evenly"


def test_alternating_requests_are_sampled_evenly() -> None:
    sample, kept = RowSample(), []
    for _ in range(20):
        for number in range(8000):
            sample.add_rows([row(number % 2)], 0.5)
        kept += [first_number(rows) for rows, _ in sample.take()[0]]
    assert 0.3 < np.mean(kept) < 0.7


def test_a_quiet_time_ends_the_sampling() -> None:
    sample = RowSample()
    for number in range(20_000):
        sample.add_rows([row(number)], 0.5)
    for _ in range(12):
        sample.take()
    for number in range(100):
        sample.add_rows([row(number)], 0.5)
    sample.take()
    for number in range(100):
        sample.add_rows([row(number)], 0.5)
    assert len(sample.take()[0]) == 100
