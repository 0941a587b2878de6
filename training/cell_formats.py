"""Decides the cell format of each text column from its cells, the flags and the other columns.

If only one format fits, it is used, with a notice. If two formats fit whose numbers differ by a factor, as for 1.234 in
a file with decimal commas, the other columns decide. If they do not decide, an error names the flags.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from models.cell_format import PLAIN, CellFormat
from models.equivalent_characters import with_ascii_forms
from models.schema import FeatureSchema
from models.text import counted, render
from training.boolean_words import BooleanWords, boolean_words
from training.cell_values import parse_booleans
from training.cells import FactorizedColumn
from training.column_options import list_names
from training.config import DataOptions
from training.date_formats import detect_date_format
from training.errors import UsageError
from training.number_notation import (
    MIN_FRACTION,
    SAMPLE_VALUES,
    Marks,
    Notation,
    detect_notation,
    fitting_fraction,
    possible_marks,
    scale_words,
)

MISSING_WORDS = frozenset(  # in upper or lower case; among numbers, dates and booleans they have no other meaning
    """
    - -- --- \u2013 \u2014 . .. * ? na n/a n.a. n.a #n/a #na #value! #div/0! #ref! #num! #name? #null! none nil null nan
    nat <na> (null) (none) (blank) \\n missing unknown undefined k.a. : / \u2026 ... \u2012 \u2015 \uff0d
    nd n.d. n.d s/d s.d. n/d n.v. n.v.t. n.b. nvt na. (na) <null> [null] tbd н/д н.д. #н/д 不明 无 無 なし 없음 缺失
    unbekannt inconnu desconocido desconhecido sconosciuto onbekend okänd ukjent ukendt неизвестно bilinmiyor
    """.split()  # noqa: SIM905 - a list of this many strings is harder to read
) | {
    *("not available", "not applicable", "not known", "no data", "keine angabe", "k. a.", "nicht verfügbar"),
    *("sin dato", "sin datos", "no aplica", "sem dados", "sem informação", "non disponible", "non disponibile"),
    *("brak danych", "ei tietoa", "нет данных", "데이터 없음", "データなし", "暂无数据"),
}
MAX_NUMERIC_CLASSES = 20  # maximum distinct values of a target whose numbers stay text
MAX_BOOLEAN_SPELLINGS = 20  # maximum distinct cells of a column of words for true and false
MANY_GROUPS = 12  # fewer distinct cells with exactly three digits after the point may be a coincidence
ZERO_POINT = re.compile(r"0?[.,]\d+")
DECIMALS, GROUPS = {".": Marks(".", None), ",": Marks(",", None)}, {".": Marks(",", "."), ",": Marks(".", ",")}


@dataclass
class Candidate:
    """A text column whose cells are numbers, and the marks that fit these numbers."""

    column: str
    texts: list[str]  # some of its cells
    cells: CellFormat
    words: dict[str, int]  # words for missing cells, with their counts
    cores: list[str]
    fits: list[Marks]
    marks: Marks | None = None

    @property
    def ambiguous_mark(self) -> str | None:
        """The mark that separates either decimals or thousands, if it is not clear which."""
        return next((mark for mark in ".," if {DECIMALS[mark], GROUPS[mark]} <= {*self.fits}), None)

    @property
    def decimal_evidence(self) -> str | None:
        """The decimal mark, if the cells of this column show it; else None."""
        used = self.marks is not None and any(mark in core for core in self.cores for mark in ".,")
        return self.marks.decimal if used and self.marks else None


class FormatNotice(NamedTuple):
    """A special notation of a column, with an example and the flag that overrides it."""

    column: str
    reason: str
    example: str
    flag: str


class ColumnFormat(NamedTuple):
    """The format of a column's cells, and the notices about it."""

    cells: CellFormat
    notices: Sequence[FormatNotice] = ()

    def apply(self, column: FactorizedColumn) -> FactorizedColumn:
        """The column with this format; cells that are words for a missing value become missing."""
        if self.cells.missing:
            column = column.without(np.isin(np.array(column.values, dtype=object), self.cells.missing))
        return column.with_cells(self.cells)


def notice_texts(notices: Sequence[FormatNotice]) -> list[str]:
    """A line for each reason, with the columns that have it."""
    by_reason: dict[tuple[str, str], list[FormatNotice]] = {}
    for notice in notices:
        by_reason.setdefault((notice.reason, notice.flag), []).append(notice)
    return [
        f"column{'s' * (len(group) > 1)} {list_names([notice.column for notice in group])}: "
        f"{reason}{group[0].example and ', '}{group[0].example} ({flag})"
        for (reason, flag), group in by_reason.items()
    ]


def decide_cell_formats(
    columns: Iterable[FactorizedColumn],
    target: str,
    delimiter: str | None,
    options: DataOptions,
    schema: FeatureSchema | None,
) -> dict[str, ColumnFormat]:
    """Decide the format of each column, without keeping the columns in memory. Raises UsageError if it is ambiguous."""
    if options.decimal and options.decimal == options.thousands:
        raise UsageError(f"--decimal and --thousands are both {options.decimal!r}")
    decided: dict[str, ColumnFormat] = {}
    candidates: list[Candidate] = []
    for column in columns:
        declared = _declared_format(column, target, options, schema)
        found = declared or _candidate(column, target, options, strict=schema is None)
        if isinstance(found, Candidate):
            candidates.append(found)
        else:
            decided[column.name] = found
        del column  # frees it before the next column is read: only one is in memory
    _resolve(candidates, delimiter, options, strict=schema is None)
    return decided | {candidate.column: _finish_format(candidate, options) for candidate in candidates}


def _declared_format(
    column: FactorizedColumn, target: str, options: DataOptions, schema: FeatureSchema | None
) -> ColumnFormat | None:
    """The format that flags or an edited schema declare, or None if the cells decide."""
    name = column.name
    if column.cell_type not in ("untyped", "text") or not column.values:
        return ColumnFormat(PLAIN)
    plain = CellFormat(decimal=options.decimal or ".")
    if name in (*options.drop, *options.categorical, *options.text):
        return ColumnFormat(plain)
    if name == target and options.task == "classification" and not schema:
        return ColumnFormat(plain)
    if schema is None or schema.format == 1:
        return None
    declared = schema.by_name.get(name)
    cells = schema.target_cells if name == target else declared.cells if declared else PLAIN
    return None if cells == PLAIN and (options.decimal or options.thousands) else ColumnFormat(cells)


def _candidate(text: FactorizedColumn, target: str, options: DataOptions, *, strict: bool) -> Candidate | ColumnFormat:
    """Return a candidate if the cells are numbers, else the format. strict: raise UsageError if cells are ambiguous."""
    present, words = _without_missing_words(text, options)
    declared = text.name in options.number or (text.name == target and options.task == "regression")
    notation = None if text.name in options.date else detect_notation(present, declared=declared)
    if notation is not None and not (notation.mixed_percent and not strict):
        fits = _fitting_marks(present, notation, options)
        cells = notation.cells.model_copy(update={"missing": [*words]})
        if fits and _may_be_numbers(text, target, options, cells, fits):
            if notation.mixed_percent:
                raise _mixed_percent_error(present, is_target=text.name == target)
            if text.cell_type == "text" or _differ_from_json_numbers(present.values):
                cells = cells.model_copy(update={"text": True})
            fits = _distinct_fits(notation.cores, fits)
            return Candidate(text.name, _sample_texts(present), cells, words, notation.cores, fits)
    plain = CellFormat(decimal=options.decimal or ".")
    if (booleans := _boolean_words(present, target, options)) is not None:
        cells = plain.model_copy(update={**booleans._asdict(), "missing": [*words]})
        return ColumnFormat(cells, [*_boolean_notices(text.name, booleans), *_missing_notices(text.name, words)])
    if words and _is_date_or_boolean(present, text, options):
        cells = plain.model_copy(update={"missing": [*words]})
        return ColumnFormat(cells, _missing_notices(text.name, words))
    return ColumnFormat(plain)


def _fitting_marks(column: FactorizedColumn, notation: Notation, options: DataOptions) -> list[Marks]:
    """The decimal and thousands marks that fit nearly all cells, ordered by the fraction of cells that they fit."""
    sample, shares = _sample(column), dict[Marks, float]()
    for marks in possible_marks(notation.cores, options.decimal, options.thousands):
        cells = _with_marks(notation.cells, marks)
        if fitting_fraction(sample, cells) >= 2 * MIN_FRACTION - 1:
            shares[marks] = fitting_fraction(column, cells)
    return sorted((marks for marks in shares if shares[marks] >= MIN_FRACTION), key=lambda marks: -shares[marks])


def _without_missing_words(column: FactorizedColumn, options: DataOptions) -> tuple[FactorizedColumn, dict[str, int]]:
    """The column without the cells that are words for a missing value, and how often these words occur."""
    if options.na is not None:
        return column, {}
    words = np.array([text.casefold() in MISSING_WORDS for text in column.values], dtype=bool)
    if not words.any() or words.all():
        return column, {}
    counts = {column.values[index]: int(column.counts[index]) for index in np.flatnonzero(words).tolist()}
    return column.without(words), counts


def _is_date_or_boolean(present: FactorizedColumn, column: FactorizedColumn, options: DataOptions) -> bool:
    if column.name in options.date or not np.isnan(parse_booleans(present)).any():
        return True
    return detect_date_format(present, options.date_format) is not None


def _sample_texts(column: FactorizedColumn) -> list[str]:
    """Return the first cells, and one cell whose minus sign is not a hyphen, if there is one."""
    other = next((text for text in column.values if "\u2212" in text), None)
    return column.values[:SAMPLE_VALUES] + ([other] if other else [])


def _sample(column: FactorizedColumn) -> FactorizedColumn:
    step = max(1, len(column.values) // SAMPLE_VALUES)
    return replace(column, values=column.values[::step], counts=column.counts[::step])


def _with_marks(cells: CellFormat, marks: Marks) -> CellFormat:
    return CellFormat(**cells.model_dump() | marks._asdict())


def _may_be_numbers(
    column: FactorizedColumn, target: str, options: DataOptions, cells: CellFormat, fits: list[Marks]
) -> bool:
    """Whether cells that can be parsed as numbers are numbers. Plain numbers in the text of a typed file stay text."""
    if column.cell_type == "untyped" or column.name in options.number or cells.has_marks:
        return True
    if column.name == target:
        return options.task == "regression" or len(column.values) > MAX_NUMERIC_CLASSES
    return Marks(".", None) not in fits


def _distinct_fits(cores: list[str], fits: list[Marks]) -> list[Marks]:
    """Drop the marks whose thousands mark does not occur in the cells; if none remain, keep the best fit."""
    joined = "".join(cores)
    used = [marks for marks in fits if marks.thousands is None or marks.thousands in joined]
    return used or fits[:1]


def _resolve(candidates: list[Candidate], delimiter: str | None, options: DataOptions, *, strict: bool) -> None:
    """Choose the marks of each candidate, starting with unambiguous candidates because they help to decide the rest."""
    for candidate in candidates:
        if candidate.ambiguous_mark is None:
            candidate.marks = candidate.fits[0]
    for use in (_marks_by_other_columns, _marks_by_own_cells, _marks_by_other_columns, _marks_by_delimiter):
        evidence = {candidate.decimal_evidence for candidate in candidates} - {None}
        for candidate in candidates:
            if candidate.marks is None:
                candidate.marks = use(candidate, evidence, delimiter)
    evidence = {candidate.decimal_evidence for candidate in candidates} - {None}
    for candidate in candidates:
        if candidate.marks is None:
            if strict:
                raise _ambiguous_mark_error(candidate)
            candidate.marks = candidate.fits[0]
        if candidate.marks.decimal == "." and evidence == {","} and candidate.decimal_evidence is None:
            candidate.marks = Marks(",", candidate.marks.thousands)  # whole numbers, in a table of decimal commas


def _marks_by_other_columns(candidate: Candidate, evidence: set[str | None], delimiter: str | None) -> Marks | None:
    mark = candidate.ambiguous_mark
    if mark is None or len(evidence) != 1:
        return None
    return DECIMALS[mark] if mark in evidence else GROUPS[mark]


def _marks_by_own_cells(candidate: Candidate, evidence: set[str | None], delimiter: str | None) -> Marks | None:
    """In 0.123 the mark is decimal. If all cells without a mark are below 1,000, the mark separates thousands."""
    mark = candidate.ambiguous_mark
    assert mark is not None
    if any(ZERO_POINT.fullmatch(core) for core in candidate.cores):
        return DECIMALS[mark]
    small, large = _count_cells_without_mark(candidate.cores)
    if small and not large and (mark == "," or delimiter != ","):
        return GROUPS[mark]
    return None


def _marks_by_delimiter(candidate: Candidate, evidence: set[str | None], delimiter: str | None) -> Marks | None:
    """In comma-separated files the comma separates thousands; the point is decimal unless many cells contain one."""
    mark = candidate.ambiguous_mark
    if delimiter != ",":
        return None
    if mark == ",":
        return GROUPS[mark]
    groups = sum("." in core for core in candidate.cores)
    return None if groups >= MANY_GROUPS else DECIMALS["."]


def _count_cells_without_mark(cores: list[str]) -> tuple[int, int]:
    """Return two counts of cells without a mark: numbers below 1,000, and larger numbers."""
    whole = [core for core in cores if core.isdecimal()]
    small = sum(len(core) <= 3 for core in whole)
    return small, len(whole) - small


def _ambiguous_mark_error(candidate: Candidate) -> UsageError:
    mark = candidate.ambiguous_mark
    assert mark is not None
    text = next(text for text in candidate.texts if mark in text)
    grouped, decimal = (
        _number_text(_with_marks(candidate.cells, marks), text) for marks in (GROUPS[mark], DECIMALS[mark])
    )
    return UsageError(
        f"column {candidate.column!r}: {render(text)} may be {grouped} or {decimal}: use --thousands {mark} or "
        f"--decimal {mark}; a --schema from inspect --out stores the choice"
    )


def _mixed_percent_error(column: FactorizedColumn, *, is_target: bool) -> UsageError:
    with_sign = next(text for text in column.values if "%" in text)
    plain = next(text for text in column.values if "%" not in text)
    number, category = (
        ("--task regression", "--task classification")
        if is_target
        else (f"--number {column.name}", f"--categorical {column.name}")
    )
    return UsageError(
        f"column {column.name!r} has {render(with_sign)} and {render(plain)}, which may also be a percentage: use "
        f"{number} if it is, or {category} to keep the text; a --schema from inspect --out stores the choice"
    )


def _number_text(cells: CellFormat, text: str) -> str:
    number = cells.parse_number(text)
    return "not a number" if number is None else f"{number:.15g}"


def _finish_format(candidate: Candidate, options: DataOptions) -> ColumnFormat:
    assert candidate.marks is not None
    cells = _with_marks(candidate.cells, candidate.marks)
    if options.decimal and cells.thousands is None:
        cells = _with_marks(cells, Marks(options.decimal, None))
    return ColumnFormat(cells, _notices(candidate, cells, options))


def _differ_from_json_numbers(texts: list[str]) -> bool:
    """Whether some texts are not JSON numbers: with a plus, another minus, or no digit on one side of the point."""
    return any(
        text.startswith(("+", ".", "-.")) or text.endswith(".") if text.isascii() else with_ascii_forms(text) != text
        for text in texts
    )


def _notices(candidate: Candidate, cells: CellFormat, options: DataOptions) -> list[FormatNotice]:
    reasons = []
    if cells.decimal == "," and not options.decimal and "," in "".join(candidate.cores):
        reasons.append(("the decimal mark is ','", ",", "--decimal"))
    if cells.thousands:
        reasons.append((f"{cells.thousands!r} separates thousands", cells.thousands, "--thousands, --decimal"))
    if cells.units:
        reasons.append((f"numbers are read without their unit {_quoted(cells.units)}", cells.units[0], "--categorical"))
    if cells.scales:
        words = scale_words(candidate.texts)
        reasons.append((f"{_quoted(words)} after a number multiplies it", words[0], "--categorical"))
    if cells.parentheses:
        reasons.append(("numbers in parentheses are negative", "(", "--categorical"))
    if cells.trailing_minus:
        reasons.append(("numbers followed by a minus are negative", "-", "--categorical"))
    if any("\u2212" in text for text in candidate.texts):
        reasons.append(("the minus sign is not a hyphen", "\u2212", "--categorical"))
    notices = [
        FormatNotice(candidate.column, reason, _example(candidate.texts, cells, needle), flag)
        for reason, needle, flag in reasons
    ]
    return notices + _missing_notices(candidate.column, candidate.words)


def _quoted(units: list[str]) -> str:
    return ", ".join(map(repr, units))


def _example(texts: list[str], cells: CellFormat, needle: str) -> str:
    """An example for a notice: a cell that contains `needle`, and its number."""
    texts = [text for text in texts if cells.parse_number(text) is not None]
    normal = needle.casefold()
    text = next((text for text in texts if normal in text.casefold()), texts[0])
    return f"e.g. {render(text)} is {_number_text(cells, text)}"


def _boolean_words(present: FactorizedColumn, target: str, options: DataOptions) -> BooleanWords | None:
    """The words for true and false in a column of such words. A target keeps its words: they are its classes."""
    if present.cell_type != "untyped" or present.name in (target, *options.number, *options.date):
        return None
    return boolean_words(present.values) if len(present.values) <= MAX_BOOLEAN_SPELLINGS else None


def _boolean_notices(column: str, words: BooleanWords) -> list[FormatNotice]:
    reason = f"{_quoted(words.true)} is read as true, {_quoted(words.false)} as false"
    return [FormatNotice(column, reason, "", "--categorical")]


def _missing_notices(column: str, words: dict[str, int]) -> list[FormatNotice]:
    if not words:
        return []
    count = sum(words.values())
    quoted = f"({_quoted([*words])})"
    reason = counted(count, f"cell {quoted} counts as missing", f"cells {quoted} count as missing")
    return [FormatNotice(column, reason, "", "--na")]
