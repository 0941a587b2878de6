"""Sample rows for the models of `store/`, and functions that change and compress them."""

import gzip
from collections.abc import Sequence
from typing import Any

from backports import zstd

Row = dict[str, Any]

NUMBERS: Row = {"a": 3.25, "b": 11.5, "c": 7, "d": 22.75, "e": 31.0, "f": 12.125}
HOME: Row = {
    "sq. metres ($)": 81.5,
    "educational-num": 12,
    "Outcome Type": "Adoption",
    "class": 1.5,
    "garden?": True,
    "renovated": False,
    "2nd": "2013-04-11",
    "sold on": "15/03/2012 12:30",
    "zone": 2,
    "street": "street 7",
}
INCOME: Row = {"age": 44, "job": "self, employed", "member": True, "hours": 38}
STARS: Row = {"size": 6.5, "kind": "hotel"}
SIZES: Row = {"x": 0.5, "y": -0.25}
FLAGS: Row = {"heat": 51.5}
SINGLE: Row = {"x": 12.5}
ONE: dict[str, Row] = {
    "numbers": NUMBERS,
    "homes": HOME,
    "income": INCOME,
    "stars": STARS,
    "sizes": SIZES,
    "flags": FLAGS,
    "single": SINGLE,
}
"""A row for each model that causes no warnings."""


def home_rows(count: int) -> list[Row]:
    """Rows of the model `homes` that vary in every column."""
    types = ["Adoption", "Transfer", "100 %", "größer, neu", 'said "no"', None]
    return [
        {
            "sq. metres ($)": round(25 + 170 * ((n * 37) % 101) / 101, 1),
            "educational-num": n % 17,
            "Outcome Type": types[n % 6],
            "class": None if n % 7 == 3 else round(-4.5 + 9 * ((n * 13) % 53) / 53, 2),
            "garden?": n % 3 == 0,
            "renovated": [True, False, None][n % 3],
            "2nd": f"{2002 + n % 17}-0{1 + n % 9}-1{n % 10}",
            "sold on": f"{10 + n % 18}/0{1 + n % 9}/{2002 + n % 17} 08:{10 + n % 50}",
            "zone": 1 + n % 3,
            "street": f"street {1 + n % 12}",
        }
        for n in range(count)
    ]


def number_rows(count: int) -> list[Row]:
    return [
        {name: round((place + 1) * (1 + (n * (7 + 2 * place)) % 89 / 10), 2) for place, name in enumerate("abcdef")}
        for n in range(count)
    ]


def income_rows(count: int) -> list[Row]:
    jobs = ["Private", "State-gov", "100 %", "self, employed", None]
    return [
        {
            "age": 18 + (n * 29) % 70,
            "job": jobs[n % 5],
            "member": n % 2 == 0,
            "hours": None if n % 9 == 4 else 12 + (n * 7) % 45,
        }
        for n in range(count)
    ]


def star_rows(count: int) -> list[Row]:
    return [{"size": round((n * 1.7) % 9, 2), "kind": ["inn", "hotel", "hut"][n % 3]} for n in range(count)]


def size_rows(count: int) -> list[Row]:
    return [{"x": round((n * 0.37) % 2 - 1, 3), "y": round((n * 0.73) % 2 - 1, 3)} for n in range(count)]


def changed(row: Row, **cells: Any) -> Row:
    return {**row, **cells}


def without_columns(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def gzip_compressed(content: bytes, members: int = 1) -> bytes:
    """The content compressed in several gzip members of about equal size."""
    step = -(-len(content) // members)
    return b"".join(gzip.compress(content[at : at + step], mtime=0) for at in range(0, len(content), step))


def zstd_compressed(content: bytes) -> bytes:
    return zstd.compress(content)


def values_by_column(rows: Sequence[Row]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def single_rows(count: int) -> list[Row]:
    """Rows of the model `single` that repeat forty values."""
    return [{"x": round((n * 7 % 40) * 1.2 + 0.5, 2)} for n in range(count)]
