"""Random tables in random dialects: `python -m tests.training.dialects 2000` writes 2,000 of them and reads them back.

Each table is written from a known frame. Training must read this frame, or refuse the table and name a flag.
"""

import bz2
import csv
import gzip
import io
import lzma
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from models.formats.csv_decoder import CsvDecoder
from models.schema import FeatureSchema
from tests.training.posting import assert_frame, decoded, posted
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.dataset import Dataset
from training.errors import UsageError

FLAGS = ("--thousands", "--decimal", "--delimiter", "--date-format", "--na", "--encoding", "--target")
DATE_FORMATS = (
    *("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S UTC", "%d-%b-%Y"),
    *("%a, %d %b %Y %H:%M:%S +0000", "%a %b %d %H:%M:%S %Y", "%m/%d/%Y %I:%M%p", "%Y%m%dT%H%M%SZ", "%d%b%Y", "%b-%Y"),
    *("%Y-%m-%d %H:%M:%S +0200", "%d. %B %Y", "%B %d, %Y", "%Y-%m-%dT%H:%M:%S.000Z", "%Y/%m/%d %H:%M"),
)


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("table.csv", content)
    return file.getvalue()


UNICODE = ("utf-8", "utf-8-sig", "utf-16")
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": zipped,
}
UNITS = ("{}%", "{} %", "€{}", "{} EUR", "{} kg", "${}", "{}km", "{} °C", "USD {}")
NEGATIVES = ("-{}", "({})", "{}-", "\u2212{}")
WORDS = ("", "NA", "N/A", "-", "?", "n/a", "#N/A", "null", "NaN", "--", "None")
LEVELS = ("Köln", "São Paulo", "plain", 'a "quoted" one', "semi;colon", "comma, blank", "naïve")
LEVELS_OF = {  # for encodings that have no Western European letters
    "cp1251": ("Москва", "Казань", "Новосибирск", "Уфа", "Самара, город", "plain"),
    "koi8_r": ("Москва", "Казань", "Новосибирск", "Уфа", "Самара; город", "plain"),
    "cp932": ("東京", "大阪", "名古屋", "札幌", "福岡", "カード", "はい"),
    "cp949": ("서울", "부산", "대구", "인천", "광주", "예"),
    "gb18030": ("北京", "上海", "广州", "深圳", "成都", "是"),
}
INVISIBLE = ("\u200b", "\ufeff", "\u00ad", "\u200e", "\u2060")
FOOTERS = ((), (), (), ("Total",), ("", "Source: a register"))


@dataclass(frozen=True)
class Dialect:
    """The notation in which a table is written."""

    delimiter: str
    decimal: str
    thousands: str
    encoding: str
    quoting: Any
    line_end: str
    compression: str
    word: str  # for a missing cell
    unit: str
    negative: str
    date_format: str
    escaped: bool  # whether quotes in cells are escaped by backslashes
    footer: tuple[str, ...]
    end: str
    invisible: str  # in some names and levels

    @property
    def levels(self) -> tuple[str, ...]:
        return LEVELS_OF.get(self.encoding, LEVELS)


@dataclass(frozen=True)
class Table:
    """The values of a table, and the cells as which they are written."""

    dialect: Dialect
    kinds: dict[str, str]
    values: dict[str, list[Any]]  # None if missing; dates as seconds since 1970
    cells: dict[str, list[str]]

    @property
    def encoding(self) -> str:
        """The encoding of the dialect, or UTF-8 if it lacks a character."""
        try:
            "".join(map("".join, self.cells.values())).encode(self.dialect.encoding)
        except UnicodeEncodeError:
            return "utf-8"
        return self.dialect.encoding

    def write(self, folder: Path) -> Path:
        dialect = self.dialect
        text = io.StringIO(newline="")
        writer = csv.writer(
            text,
            delimiter=dialect.delimiter,
            quoting=dialect.quoting,
            lineterminator=dialect.line_end,
            doublequote=not dialect.escaped,
            escapechar="\\" if dialect.escaped else None,
        )
        writer.writerow([name[:1] + dialect.invisible + name[1:] for name in self.cells])
        writer.writerows(zip(*self.cells.values(), strict=True))
        text.write("".join(line + dialect.line_end for line in dialect.footer) + dialect.end)
        content = text.getvalue().encode(self.encoding)
        path = folder / f"table.csv{dialect.compression}"
        path.write_bytes(COMPRESSIONS[dialect.compression](content) if dialect.compression else content)
        return path


def pick(rng: np.random.Generator, choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def random_dialect(rng: np.random.Generator) -> Dialect:
    decimal = pick(rng, [".", ".", ","])
    encoding = pick(rng, [*UNICODE, *UNICODE, "cp1252", "cp1252", *LEVELS_OF])
    legacy = encoding in LEVELS_OF  # the encoding is recognised by the levels, not by single characters
    return Dialect(
        delimiter=pick(rng, [",", ";", "\t", "|"]),
        decimal=decimal,
        thousands=pick(
            rng, ["", "", "", "," if decimal == "." else ".", " ", "'", *([] if legacy else ["\u202f", "\u00a0"])]
        ),
        encoding=encoding,
        quoting=pick(rng, [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        line_end=pick(rng, ["\n", "\r\n"]),
        compression=pick(rng, ["", "", "", *COMPRESSIONS]),
        word=pick(rng, WORDS),
        unit=pick(rng, [unit for unit in UNITS if unit.isascii() or not legacy]),
        negative=pick(rng, [sign for sign in NEGATIVES if sign.isascii() or not legacy]),
        date_format=pick(rng, DATE_FORMATS),
        escaped=rng.random() < 0.2,
        footer=pick(rng, FOOTERS),
        end=pick(rng, ["", "", "\x1a", "\x1a\r\n"]),
        invisible=pick(rng, ["", "", *INVISIBLE]) if encoding in UNICODE else "",
    )


def random_table(rng: np.random.Generator) -> Table:
    dialect = random_dialect(rng)
    rows = int(rng.integers(55, 130))
    makers: dict[str, Callable[..., tuple[list[Any], list[str]]]] = {
        "number": _numbers,
        "large": _large_numbers,
        "unit": _with_unit,
        "date": _dates,
        "level": _levels,
        "flag": _flags,
    }
    kinds = {"y": "number"}
    for index in range(int(rng.integers(2, 6))):
        kinds[f"c{index}"] = pick(rng, [*makers])
    values, cells = {}, {}
    for name, kind in kinds.items():
        values[name], cells[name] = makers[kind](rng, rows, dialect)
        if name != "y" and rng.random() < 0.4:
            for row in np.flatnonzero(rng.random(rows) < 0.08).tolist():
                values[name][row], cells[name][row] = None, dialect.word
    return Table(dialect, kinds, values, cells)


def number_text(number: float, places: int, dialect: Dialect, *, grouped: bool = True) -> str:
    text = f"{abs(number):,.{places}f}"
    text = text.replace(",", "\0").replace(".", dialect.decimal)
    text = text.replace("\0", dialect.thousands if grouped else "")
    return dialect.negative.format(text) if number < 0 else text


def _numbers(rng: np.random.Generator, rows: int, dialect: Dialect) -> tuple[list[Any], list[str]]:
    places = int(rng.integers(0, 4))
    if dialect.delimiter == dialect.decimal:
        places = min(places, 2)  # in a file with commas, 1,234 counts as thousands, unless other columns show otherwise
    if dialect.negative == "{}-":
        places = max(places, 1)  # in a column with 4, the cell 5- is a grade
    numbers = np.round(rng.normal(0, 10.0 ** rng.integers(0, 3), rows), places) + 0.0
    return numbers.tolist(), [number_text(number, places, dialect) for number in numbers.tolist()]


def _large_numbers(rng: np.random.Generator, rows: int, dialect: Dialect) -> tuple[list[Any], list[str]]:
    """Large numbers in groups of three digits, where only the mark shows that it separates thousands."""
    low = int(rng.integers(1, 6))
    numbers = np.round(10.0 ** rng.uniform(low, low + 2, rows)).astype(int).astype(float)
    return numbers.tolist(), [number_text(number, 0, dialect) for number in numbers.tolist()]


def _with_unit(rng: np.random.Generator, rows: int, dialect: Dialect) -> tuple[list[Any], list[str]]:
    numbers = np.round(rng.uniform(0, 5000, rows), 2)
    return numbers.tolist(), [dialect.unit.format(number_text(number, 2, dialect)) for number in numbers.tolist()]


def _dates(rng: np.random.Generator, rows: int, dialect: Dialect) -> tuple[list[Any], list[str]]:
    texts = [
        datetime.fromtimestamp(float(second), UTC).strftime(dialect.date_format)
        for second in rng.integers(1_000_000_000, 1_700_000_000, rows)
    ]
    seconds = []
    for text in texts:
        moment = datetime.strptime(text, dialect.date_format.replace("+0000", "%z").replace("+0200", "%z"))
        seconds.append((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return seconds, texts


def _levels(rng: np.random.Generator, rows: int, dialect: Dialect) -> tuple[list[Any], list[str]]:
    levels = [pick(rng, dialect.levels) for _ in range(rows)]
    places = rng.integers(0, 4, rows)  # a position beyond the end of a short level means its end
    inserted = np.where(rng.random(rows) < 0.1, dialect.invisible, "").tolist()
    return levels, [
        level[:place] + sign + level[place:]
        for level, place, sign in zip(levels, places.tolist(), inserted, strict=True)
    ]


def _flags(rng: np.random.Generator, rows: int, dialect: Dialect) -> tuple[list[Any], list[str]]:
    flags = [bool(flag) for flag in rng.random(rows) < 0.5]
    words = pick(rng, [("true", "false"), ("TRUE", "FALSE"), ("True", "False")])
    return [float(flag) for flag in flags], [words[0] if flag else words[1] for flag in flags]


def check(table: Table, folder: Path) -> str:
    """Returns "read" or "refused". Raises AssertionError if the values differ or no flag is named."""
    try:
        dataset = load_dataset(DataOptions(data=str(table.write(folder)), target="y", task="regression"))
    except UsageError as error:
        if not any(flag in str(error) for flag in FLAGS):
            raise AssertionError("the table is refused, and the message names no flag") from error
        return "refused"
    for name, kind in table.kinds.items():
        check_column(dataset, table, name, kind)
    schema = FeatureSchema.from_json(dataset.schema.to_json())
    check_posted(schema, dataset, table)
    return "read"


def check_column(dataset: Dataset, table: Table, name: str, kind: str) -> None:
    expected = table.values[name]
    if name == "y":
        np.testing.assert_allclose(dataset.target, [expected[row] for row in dataset.row_numbers], rtol=1e-12)
        return
    decision = next(decision for decision in dataset.decisions if decision.column == name)
    if decision.type == "ignored":
        assert decision.reason in ("constant", "counts the rows"), f"{name} ({kind}) is left out: {decision.reason}"
        return
    read = dataset.columns[name].tolist()
    wanted = [expected[row] for row in dataset.row_numbers]
    if kind == "level":
        if table.dialect.word == "None" or table.dialect.word in ("-", "--"):  # these words are levels in a text column
            wanted = [table.dialect.word if level is None else level for level in wanted]
        assert decision.type == "category"
        assert read == wanted
        return
    assert decision.type == {"date": "date", "flag": "boolean"}.get(kind, "number"), f"{name}: {decision}"
    numbers = [np.nan if value is None else value for value in wanted]
    np.testing.assert_allclose(read, numbers, rtol=1e-12, err_msg=name)


def check_posted(schema: FeatureSchema, dataset: Dataset, table: Table) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = replace(table, dialect=replace(table.dialect, compression=""))
        body = plain.write(Path(folder)).read_bytes()
    assert_frame(decoded(CsvDecoder, schema, body), dataset, "CSV")
    for form, rows in posted(schema, table.cells).items():
        assert_frame(rows, dataset, form)


def main(count: int, first: int = 0) -> Counter[str]:
    """Check `count` random tables. Raises AssertionError for the first table that is read differently."""
    results: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            table = random_table(np.random.default_rng(seed))
            try:
                results[check(table, Path(folder))] += 1
            except Exception as error:
                raise AssertionError(f"table {seed}, {table.dialect}, {table.kinds}: {error}") from error
    return results


if __name__ == "__main__":
    counts = main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
