"""The maximum number of invalid rows of a job: a percentage of all rows such as `1%`, or a number of rows."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)%")


@dataclass(frozen=True)
class BadRowLimit:
    """The maximum number of invalid rows, as a fraction of all rows or as a number. text: the option on the command
    line."""

    text: str
    share: Fraction | None = None
    rows: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a percentage or a number of rows. Raises ValueError."""
        if (percent := PERCENT.fullmatch(text)) and (share := Fraction(percent[1]) / 100) <= 1:
            return cls(text, share)
        if not re.fullmatch(r"\d{1,18}", text):
            raise ValueError(text)
        return cls(text, rows=int(text))

    def is_exceeded(self, invalid: int, rows: int) -> bool:
        """Whether too many rows are invalid. rows: the number of all rows."""
        return invalid > (self.rows if self.share is None else self.share * rows)

    def __str__(self) -> str:
        return self.text
