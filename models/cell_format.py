"""The format of one column's text cells. Training determines it, the schema stores it, and every decoder uses it."""

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from models.equivalent_characters import with_ascii_forms
from models.normal_form import normal_form
from models.number_words import MONEY_SCALES, SCALES, is_currency

Decimal = Literal[".", ","]
Thousands = Literal[",", ".", " ", "'"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]

NUMBER = {  # unambiguous, because otherwise long texts would take quadratic time
    ".": re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"),
    ",": re.compile(r"[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d+)?"),
}
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)  # float() does not accept a dotless i
EXPONENT = r"(?:[eE][+-]?\d+)?"
MAX_NUMBER_TEXT = 400  # characters; a longer text is parsed only as a plain number


class CellFormat(BaseModel):
    """How the text cells of a column become values. A field that is not set means that the column has no such cells.

    JSON numbers are never affected: 14.7 is the value of a cell `14.7 %`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    decimal: Decimal = "."
    thousands: Thousands | None = None
    units: Annotated[list[Text], Field(max_length=8)] = []  # spellings of the column's unit, before or after a number
    scales: bool = False  # whether `57k` is 57,000, see models.number_words
    parentheses: bool = False  # whether `(5)` is -5
    trailing_minus: bool = False  # whether `5-` is -5
    true: Annotated[list[Text], Field(max_length=20)] = []  # words in lower case that mean true, besides `true`
    false: Annotated[list[Text], Field(max_length=20)] = []
    missing: Annotated[list[Text], Field(max_length=200)] = []  # additional missing texts, for this column only
    text: bool = False  # whether plain numbers were stored as text in a typed table, or cannot be JSON numbers
    trimmed: bool = False  # whether blanks around the column's cells were removed
    visible: bool = False  # whether invisible characters in the column's cells were removed
    unicode: Literal["NFC"] | None = None  # the normal form of levels

    @model_validator(mode="after")
    def _check_marks(self) -> "CellFormat":
        if self.thousands == self.decimal:
            raise ValueError(f"{self.decimal!r} cannot be both the decimal mark and the thousands mark")
        return self

    @model_validator(mode="after")
    def _check_booleans(self) -> "CellFormat":
        if words := {*self.true, "true"} & {*self.false, "false"}:
            raise ValueError(f"{min(words)!r} cannot be both true and false")
        return self

    @cached_property
    def has_marks(self) -> bool:
        """Whether numbers have more parts than a sign, digits and a decimal mark."""
        return bool(self.thousands or self.units or self.scales or self.parentheses or self.trailing_minus)

    @cached_property
    def plain(self) -> bool:
        """Whether numbers are written as in JSON."""
        return self.decimal == "." and not self.has_marks

    @cached_property
    def reads_text(self) -> bool:
        """Whether JSON may contain numbers and booleans as text, because they are text to clients that do not know this
        format."""
        return self.text or self.visible or bool(self.missing or self.true or self.false) or not self.plain

    @cached_property
    def _booleans(self) -> dict[str, bool]:
        return {"true": True, "false": False} | dict.fromkeys(self.true, True) | dict.fromkeys(self.false, False)

    def set_fields(self) -> dict[str, Any]:
        """The fields that are set, as JSON."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def parse_boolean(self, text: str) -> bool | None:
        """Parse a cell as a boolean, in upper or lower case; None if it is not a boolean."""
        text = normal_form("NFC", text)
        return self._booleans.get(text.casefold())

    def parse_number(self, text: str) -> float | None:
        """Parse a cell as a number, infinite if the text means infinity or the number is too large; None if it is not a
        number."""
        if NUMBER[self.decimal].fullmatch(text) or INFINITE.fullmatch(text):
            return float(text if self.decimal == "." else text.replace(",", "."))
        if len(text) > MAX_NUMBER_TEXT:
            return None
        text = with_ascii_forms(text).strip()
        if not self.has_marks:
            simple = NUMBER[self.decimal].fullmatch(text)
            return float(text.replace(self.decimal, ".")) if simple else None
        found = self._pattern.fullmatch(text)
        return None if found is None else self._value(found)

    def _value(self, found: re.Match[str]) -> float | None:
        parts = found.groupdict()
        negative = [parts["sign"] == "-", parts["inner"] == "-", parts["opened"] is not None, parts["last"] is not None]
        if sum(negative) > 1 or (parts["opened"] is None) != (parts["closed"] is None):
            return None
        if parts["sign"] and parts["inner"]:
            return None
        if parts["before"] and parts["after"]:
            return None
        digits = parts["number"].replace(self.thousands or "", "").replace(self.decimal, ".")
        number = float(digits) * MONEY_SCALES.get(parts["scale"] or "", 1.0)
        return -number if any(negative) else number

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        mark = re.escape(self.decimal)
        whole = r"\d+"
        if self.thousands:
            group = re.escape(self.thousands)
            pairs = rf"(?:{group}\d{{2}})*" if self.thousands == "," else ""  # 12,34,567, as in India
            whole = rf"(?:(?!0\d|0{group})\d{{1,3}}(?:(?:{group}\d{{3}})+|{pairs}{group}\d{{3}})|\d+)"
        number = rf"(?P<number>(?:{whole}(?:{mark}\d*)?|{mark}\d+){EXPONENT})"
        units = [unit for text in self.units if (unit := with_ascii_forms(text).strip())]
        unit = _any_of(units)
        scale = _any_of(MONEY_SCALES if any(map(is_currency, units)) else SCALES) if self.scales else "(?!)"
        opened, closed = (r"\(", r"\)") if self.parentheses else ("(?!)", "(?!)")
        last = "-" if self.trailing_minus else "(?!)"
        blanks = r"\ *+"  # no backtracking, which would take cubic time for many blanks
        return re.compile(
            rf"(?P<opened>{opened})?{blanks}(?P<sign>[+-])?{blanks}(?P<before>{unit})?{blanks}(?P<inner>[+-])?{blanks}"
            rf"{number}{blanks}(?P<scale>{scale})?{blanks}(?P<after>{unit})?{blanks}(?P<last>{last})?"
            rf"(?P<closed>{closed})?"
        )


def _any_of(words: Iterable[str]) -> str:
    """A regular expression that matches any of these words, the longest first."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True))) or "(?!)"


PLAIN = CellFormat()
