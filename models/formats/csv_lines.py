"""Where the lines of a CSV end, in a text that arrives in chunks."""

import re

import numpy as np


class LineEnds:
    """Where lines end in a text that comes in pieces, as `csv` reads it: a quote opens a cell only as its first byte,
    elsewhere (`5" pipe`) it is a byte like others. Each byte is looked at a few times at most."""

    def __init__(self, delimiter: bytes) -> None:
        self._before = b"\r\n" + delimiter  # after these a quote opens a cell
        self._opening = re.compile(b'(?<![^%s])"' % re.escape(self._before))
        self._follows = np.zeros(256, dtype=bool)  # bytes that a quote which opens or closes may follow
        self._follows[[*self._before, *b'"']] = True  # a doubled one closes and opens again
        self._quoted = False  # whether the text so far ends inside of quotes
        self._fresh = True  # whether a quote that comes next opens

    def last(self, piece: bytes) -> int:
        """Where the last line of the next piece ends that is no line inside of a cell in quotes, 0 where none does."""
        if not piece:
            return 0
        if b'"' not in piece:
            self._fresh = piece[-1] in self._before
            return 0 if self._quoted else piece.rfind(b"\n") + 1
        piece = (b"\n" if self._fresh else b"x") + piece  # stands for what came before
        return max((self._by_count if self._only_marks(piece) else self._by_cell)(piece) - 1, 0)

    def _only_marks(self, piece: bytes) -> bool:
        """Whether each quote opens or closes a cell."""
        content = np.frombuffer(piece, dtype=np.uint8)
        opening = np.flatnonzero(content == ord('"'))[self._quoted :: 2]
        return bool(self._follows[content[opening - 1]].all())

    def _by_count(self, piece: bytes) -> int:
        """Where all quotes are marks: a line ends where the number of those before it is even."""
        quotes, end = piece.count(b'"') + self._quoted, len(piece)
        self._quoted = quotes % 2 == 1
        self._fresh = piece[-1] in self._before or piece.endswith(b'"')
        while True:
            line_end = piece.rfind(b"\n", 1, end) + 1
            quotes -= piece.count(b'"', line_end, end)
            if not line_end or quotes % 2 == 0:
                return line_end
            end = piece.rfind(b'"', 0, line_end)  # what lies after it is inside of quotes
            if end < 0:
                return 0
            quotes -= 1

    def _by_cell(self, piece: bytes) -> int:
        """From one cell in quotes to the next."""
        place, line_end = 1, 0
        while True:
            if self._quoted:
                if not (place := piece.find(b'"', place) + 1):
                    return line_end
                if piece.startswith(b'"', place):  # doubled
                    place += 1
                    continue
                self._quoted = False
            opened = self._opening.search(piece, place)
            line_end = piece.rfind(b"\n", place, opened.start() if opened else len(piece)) + 1 or line_end
            if opened is None:
                self._fresh = piece[-1] in self._before or place == len(piece)
                return line_end
            self._quoted, place = True, opened.end()
