"""Lines end outside of quotes, for any division of the text into chunks."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from models.formats.csv_lines import LineEnds


def last_end(content: bytes) -> int:
    """The position after the last line end outside of quotes, found byte by byte with the parser states of `csv`."""
    state, end = "start", 0
    for position, byte in enumerate(content):
        if state == "quoted":
            state = "closing" if byte == ord('"') else state
        elif byte == ord('"'):
            state = "cell" if state == "cell" else "quoted"
        else:
            state = "start" if byte in b",\r\n" else "cell"
            end = position + 1 if byte == ord("\n") else end
    return end


TEXTS = [b'"', b"\n", b"\r", b"a", b",", b'""', b'"\n', b',"', b'",', b'5" pipe']


@given(st.lists(st.sampled_from(TEXTS), max_size=30), st.lists(st.integers(0, 60)))
@settings(max_examples=1000, deadline=None)
def test_lines_end_outside_quotes_for_any_chunks(parts: list[bytes], cuts: list[int]) -> None:
    content = b"".join(parts)
    edges = sorted({0, *(min(cut, len(content)) for cut in cuts), len(content)})
    ends, last = LineEnds(b","), 0
    for start, stop in pairwise(edges):
        end = ends.last(content[start:stop])
        last = start + end if end else last
    assert last == last_end(content)
