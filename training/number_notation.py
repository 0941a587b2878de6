"""Detects the notation of the numbers in a column (units, scales, negatives) and the marks that fit its cells."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from models.cell_format import NUMBER, CellFormat, Decimal, Thousands
from models.equivalent_characters import with_ascii_forms
from models.number_words import MONEY_SCALES, SCALES, is_currency
from training.cells import FactorizedColumn

MIN_FRACTION = 0.99  # minimum fraction of a column's cells that the marks must fit
SAMPLE_VALUES = 1000
MAX_LENGTH = 60  # maximum characters of a cell that may be a number
WRITTEN = re.compile(
    r"(?P<opened>\()? *(?P<sign>[+-])? *(?P<before>[^\d\s.,'()+-]{1,8}\.?)? *(?P<inner>[+-])? *"
    r"(?P<core>[.,]?\d[\d.,' ]*?(?:[eE][+-]?\d+)?)(?P<gap> *)(?P<after>[^\d\s.,'()+-][^\d()+,'-]{0,15}?)? *"
    r"(?P<last>-)?(?P<closed>\))?"
)
LEADING_ZERO = re.compile(r"0\d")
ATTACHED_UNITS = frozenset("gmhsltLWVCмглтсч")  # noqa: RUF001 - one letter, directly after the digits
UNIT_SIGNS = '%‰°℃℉"″'
LONGEST_FIRST = sorted(MONEY_SCALES, key=len, reverse=True)


class Marks(NamedTuple):
    """The decimal mark and the thousands mark of numbers."""

    decimal: Decimal
    thousands: Thousands | None


class Notation(NamedTuple):
    """The text around the digits, and the digits with their marks."""

    cells: CellFormat
    cores: list[str]  # the digits and marks of a sample of cells
    mixed_percent: bool = False  # 5 and 5 % in one column: 5 could be 5 % or 500 %


def match_numbers(texts: Sequence[str]) -> list[re.Match[str] | None]:
    return [WRITTEN.fullmatch(with_ascii_forms(text).strip()) if len(text) <= MAX_LENGTH else None for text in texts]


def detect_notation(column: FactorizedColumn, *, declared: bool = False) -> Notation | None:
    """Detect the notation from a sample of the cells; None if they are not numbers with any marks.

    declared: whether the user declared the column as numbers.
    """
    step = max(1, len(column.values) // SAMPLE_VALUES)
    texts, counts = column.values[::step], column.counts[::step].astype(float)
    matches = match_numbers(texts)
    matched = np.array([match is not None for match in matches])
    if not len(texts) or counts[matched].sum() < (2 * MIN_FRACTION - 1) * counts.sum():
        return None
    parts = [_parts(match) for match in matches if match is not None]
    weights = counts[matched]
    units = _units(parts, weights)
    if units is None:
        return None
    opened = sum(part["opened"] is not None for part in parts)
    last = sum(part["last"] is not None for part in parts)
    if len(parts) in (opened, last):  # all of them negative: the parentheses have another meaning
        return None
    scales = any(part["scale"] for part in parts)
    cores = [part["core"].rstrip() for part in parts]
    if not declared and _are_names(parts, cores, units, scales=scales):
        return None
    cells = CellFormat(units=units, scales=scales, parentheses=opened > 0, trailing_minus=last > 0)
    bare = sum(weight for part, weight in zip(parts, weights.tolist(), strict=True) if _unit_of(part) is None)
    mixed = units == ["%"] and bare > (1 - MIN_FRACTION) * weights.sum() and not declared
    return Notation(cells, cores, mixed)


def _are_names(parts: list[dict[str, str]], cores: list[str], units: list[str], *, scales: bool) -> bool:
    """Whether the texts are names that look like numbers: sizes (34B, 34C), grades (5-, 4), codes (02134 MA)."""
    if scales and any(not (is_currency(unit) or unit == "%") for unit in units):
        return True
    graded = [len(core) <= 2 for part, core in zip(parts, cores, strict=True) if part["last"]]
    if graded and all(graded):
        return True
    return bool(units) and sum(bool(LEADING_ZERO.match(core)) for core in cores) > (1 - MIN_FRACTION) * len(cores)


def _parts(match: re.Match[str]) -> dict[str, str]:
    """The parts of a number; a word for the scale is not part of the unit: `Mio. €` contains both."""
    part = match.groupdict() | {"scale": ""}
    after, money = part["after"] or "", is_currency(part["before"] or "")
    for word in LONGEST_FIRST:
        unit = after[len(word) :].strip()
        if not after.startswith(word) or (unit and not is_currency(unit)):
            continue
        if word not in SCALES and not (money or unit):
            continue
        if word == "K" and not unit and part["gap"]:  # 300 K is a temperature
            continue
        return part | {"scale": word, "after": unit}
    return part


def scale_words(texts: Sequence[str]) -> list[str]:
    """Return the words for scales, such as `Mio.`, in the given cells."""
    return [*dict.fromkeys(word for match in match_numbers(texts) if match and (word := _parts(match)["scale"]))]


def _units(parts: list[dict[str, str]], weights: "np.typing.NDArray[np.float64]") -> list[str] | None:
    """Return the spellings of the only unit, [] without a unit, or None for several units or texts that are names.

    A unit in only a few cells is ignored, except for a percent sign, which changes the number.
    """
    spellings: Counter[str] = Counter()
    bare = 0.0
    for part, weight in zip(parts, weights.tolist(), strict=True):
        unit = _unit_of(part)
        if part["before"] and part["after"]:
            return None
        if unit is None:
            bare += weight
        elif _is_unit(part):
            spellings[unit] += weight
        else:
            spellings["\0"] += weight
    total = bare + sum(spellings.values())
    by_unit: Counter[str] = Counter()
    for spelling, weight in spellings.items():
        by_unit[_singular(spelling)] += weight
    if not by_unit:
        return []
    (unit, share), *_ = by_unit.most_common(1)
    if unit == "\0":
        return None if share > (1 - MIN_FRACTION) * total else []
    if sum(by_unit.values()) - share > (1 - MIN_FRACTION) * total:
        return None
    if unit == "%":
        return ["%"]
    found = sorted(spelling for spelling in spellings if _singular(spelling) == unit)
    return found if len(found) <= 8 and not (share <= (1 - MIN_FRACTION) * total) else []


def _unit_of(part: dict[str, str]) -> str | None:
    return part["before"] or part["after"] or None


def _singular(unit: str) -> str:
    folded = unit.strip().casefold()
    return folded[:-1] if len(folded) > 2 and folded.endswith("s") else folded


def _is_unit(part: dict[str, str]) -> bool:
    if part["before"]:
        return is_currency(part["before"]) or part["before"] == "%"
    unit = part["after"]
    if part["gap"] or part["scale"] or is_currency(unit) or unit[0] in UNIT_SIGNS:
        return True
    if unicodedata.category(unit[0]) == "Lo":  # a script without capitals, as in 5円: not part of a house number
        return True
    return unit in ATTACHED_UNITS or (len(unit) > 1 and unit[0].isalpha())


def unit_kind(text: str) -> Literal["unit", "bare", "none"]:
    """Classify a text as a number with a unit, a plain number, or no number."""
    (match,) = match_numbers([text])
    if match is None:
        return "none"
    part = _parts(match)
    if not (part["before"] or part["after"]):
        return "unit" if part["last"] or part["opened"] or part["scale"] else "bare"
    return "unit" if _is_unit(part) else "none"


def possible_marks(cores: Sequence[str], decimal: Decimal | None, thousands: Thousands | None) -> list[Marks]:
    """Return the marks to try, the simplest first. decimal, thousands: the values of the flags."""
    joined = "".join(cores)
    found = []
    for mark in (decimal,) if decimal else (".", ","):
        if mark == "," and not (decimal or thousands) and "," not in joined and "." not in joined:
            continue  # whole numbers, which any decimal mark fits
        groups: list[Thousands | None] = [None, *(group for group in (",", ".", " ", "'") if group in joined)]
        if thousands:
            groups = [thousands]
        found += [Marks(mark, group) for group in groups if group != mark]
    return found


def fitting_fraction(column: FactorizedColumn, cells: CellFormat) -> float:
    """The fraction of the column's cells that are numbers in the given format."""
    pattern = NUMBER[cells.decimal]
    reads = [bool(pattern.fullmatch(text)) or cells.parse_number(text) is not None for text in column.values]
    return column.fraction(np.array(reads, dtype=bool))
