"""Finds the ends of lines in a CSV that is received in chunks."""

import re

import numpy as np


class LineEnds:
    """Finds the ends of lines in a text that is received in chunks, by the rules of `csv`: a quote opens a cell only as
    its first byte; elsewhere (`5" pipe`) it is an ordinary byte. Each byte is read at most a few times."""

    def __init__(self, delimiter: bytes) -> None:
        self._before = b"\r\n" + delimiter  # after one of these bytes a quote opens a cell
        self._opening = re.compile(b'(?<![^%s])"' % re.escape(self._before))
        self._follows = np.zeros(256, dtype=bool)  # true for bytes after which a quote opens or closes a cell
        self._follows[[*self._before, *b'"']] = True  # a doubled quote closes the cell and opens it again
        self._quoted = False  # whether the text so far ends in a quoted cell
        self._fresh = True  # whether a quote as the next byte would open a cell

    def last(self, chunk: bytes) -> int:
        """The end of the last complete line in the next chunk, outside of quoted cells; 0 if there is none."""
        if not chunk:
            return 0
        if b'"' not in chunk:
            self._fresh = chunk[-1] in self._before
            return 0 if self._quoted else chunk.rfind(b"\n") + 1
        chunk = (b"\n" if self._fresh else b"x") + chunk  # represents the text before this chunk
        return max((self._by_count if self._quotes_delimit_cells(chunk) else self._by_cell)(chunk) - 1, 0)

    def _quotes_delimit_cells(self, chunk: bytes) -> bool:
        """Whether each quote opens or closes a cell."""
        content = np.frombuffer(chunk, dtype=np.uint8)
        opening = np.flatnonzero(content == ord('"'))[self._quoted :: 2]
        return bool(self._follows[content[opening - 1]].all())

    def _by_count(self, chunk: bytes) -> int:
        """The end of the last line if all quotes open or close cells: a line ends after an even number of quotes."""
        quotes, end = chunk.count(b'"') + self._quoted, len(chunk)
        self._quoted = quotes % 2 == 1
        self._fresh = chunk[-1] in self._before or chunk.endswith(b'"')
        while True:
            line_end = chunk.rfind(b"\n", 1, end) + 1
            quotes -= chunk.count(b'"', line_end, end)
            if not line_end or quotes % 2 == 0:
                return line_end
            end = chunk.rfind(b'"', 0, line_end)  # the text after this quote is quoted
            if end < 0:
                return 0
            quotes -= 1

    def _by_cell(self, chunk: bytes) -> int:
        """The end of the last line, found by a search from one quoted cell to the next."""
        place, line_end = 1, 0
        while True:
            if self._quoted:
                if not (place := chunk.find(b'"', place) + 1):
                    return line_end
                if chunk.startswith(b'"', place):  # doubled
                    place += 1
                    continue
                self._quoted = False
            opened = self._opening.search(chunk, place)
            line_end = chunk.rfind(b"\n", place, opened.start() if opened else len(chunk)) + 1 or line_end
            if opened is None:
                self._fresh = chunk[-1] in self._before or place == len(chunk)
                return line_end
            self._quoted, place = True, opened.end()
