"""Tables: read from files as they come, and split into the parts to learn from, to choose by and to judge by."""

import codecs
import csv
import difflib
import gzip
import hashlib
import io
import re
import sys
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet
from sklearn.model_selection import train_test_split

from models.schema import NAME
from models.text import nearest, truncate
from training.config import DataOptions, check_seed
from training.errors import UsageError

if TYPE_CHECKING:
    from training.columns import Dataset

DATASETS = Path(__file__).parent / "datasets"
DELIMITERS = ",;\t|"
HEAD = 1 << 22  # bytes looked at to recognise encoding and delimiter
BLOCK = 1 << 24  # bytes that Arrow parses at once; no line may be longer
TEST_SHARE = 0.2
MIN_TO_STRATIFY = 3  # rows of a class; with fewer, one of the two splits could get none

Indices = npt.NDArray[np.intp]
SplitWay = Literal["random", "time", "group", "column"]


# The bundled data sets


@dataclass(frozen=True)
class Bundled:
    """A table that comes with the project, and what its model card says about it."""

    file: str
    target: str
    title: str
    source: str
    licence: str
    notes: str
    test_rows: int = 0  # the first rows of the file are the official test part


BUNDLED = {
    "housing": Bundled(
        "california_housing.csv.gz",
        "MedHouseVal",
        "California housing",
        "1990 US census block groups; Pace and Barry 1997, from StatLib",
        "no explicit data licence; redistributed by permissively licensed projects",
        "The target is the median house value in 100,000 dollars of 1990; 992 values are capped at 5.0.",
    ),
    "income": Bundled(
        "adult.csv.gz",
        "income",
        "Adult (census income)",
        "1994 US census; Becker and Kohavi 1996, from the UCI repository",
        "CC BY 4.0 (at UCI, as far as known)",
        "Holds race and gender: look at what a decision made with this model does to people before making it. "
        "Split: the official test rows. 52 rows are duplicates.",
        test_rows=16281,
    ),
    "penguins": Bundled(
        "penguins.csv.gz",
        "species",
        "Palmer penguins",
        "Horst, Hill and Gorman 2020; Palmer Station LTER",
        "CC0",
        "A small table of 344 rows: the held-out part has 69, so one bird is worth 1.4 points of accuracy.",
    ),
    "letter": Bundled(
        "letter.csv.gz",
        "letter",
        "Letter recognition",
        "Frey and Slate 1991, from the UCI repository",
        "UCI repository; CC BY 4.0 as far as known",
        "Sixteen statistics of the image of a capital letter, whole numbers from 0 to 15.",
    ),
    "diamonds": Bundled(
        "diamonds.csv.gz",
        "price",
        "Diamonds",
        "ggplot2, Wickham 2016",
        "distributed with an MIT-licensed package; no separate data licence",
        "The price is in dollars. In 20 rows a length x, y or z is 0, which is a mistake in the table.",
    ),
}


def bundled_options(name: str, options: DataOptions | None = None) -> DataOptions:
    """The options for a bundled data set; what `options` says about name, target and split goes first.

    Raises UsageError when there is no such data set, or its file is not here (a wheel holds none).
    """
    options = options or DataOptions()
    if name not in BUNDLED:
        raise UsageError(f"no data set {truncate(name)!r}{did_you_mean(name, BUNDLED)}; there are {', '.join(BUNDLED)}")
    path = DATASETS / BUNDLED[name].file
    if not path.exists():
        raise UsageError(f"{path} is not here: the bundled data sets come with the project's repository, not its wheel")
    target = options.target or BUNDLED[name].target
    return replace(options, data=str(path), target=target, name=options.name or name, bundled=name)


# Names


def did_you_mean(name: str, known: Any) -> str:
    """`, did you mean 'x'?` for the known name nearest to this one, or nothing."""
    near = nearest(name, known)
    return f", did you mean {near!r}?" if near else ""


def model_name(path: str) -> str:
    """A valid model name made of the name of a file."""
    stem = re.sub(r"(\.(csv|tsv|txt|parquet|pq|data|gz))+$", "", Path(path).name, flags=re.IGNORECASE)
    name = re.sub(r"[^a-z0-9]+", "_", stem.casefold().encode("ascii", "ignore").decode()).strip("_")
    name = name if name[:1].isalpha() else f"table_{name}".rstrip("_")
    return name[:41].rstrip("_")


def check_name(name: str) -> str:
    """The name, when it is a valid model name. Raises UsageError with a proposal."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{truncate(name)!r} is no model name: small letters, digits and _, a letter first, at most 41; "
            f"try {model_name(name)!r}"
        )
    return name


# Reading


@dataclass(frozen=True)
class Table:
    """A table as it was read. `columns` are Arrow arrays, one a name; of a CSV (`typed` is false) all are text."""

    names: list[str]
    columns: list[Any]
    typed: bool
    rows: int
    fingerprint: str  # SHA-256 of the file
    notices: list[str]
    decimal: str = "."
    categorical: frozenset[str] = frozenset()  # columns that pandas wrote as categorical


def read(options: DataOptions) -> Table:
    """Read the table that the options name. Raises UsageError when there is none."""
    check_seed("--seed", options.seed)
    content = _content(options.data)
    fingerprint = hashlib.sha256(content).hexdigest()
    where = "standard input" if options.data == "-" else options.data
    if not content:
        raise UsageError(f"{where} is empty")
    content = _unpacked(content, where)
    if not content.strip(b" \r\n\t\0\xef\xbb\xbf\xff\xfe"):
        raise UsageError(f"{where} is empty")
    if content[:4] == b"PAR1":
        return _parquet(content, where, fingerprint)
    return replace(_csv(content, where, fingerprint, options.delimiter), decimal=options.decimal)


def _content(data: str) -> bytes:
    if not data:
        raise UsageError("no table: say --data FILE, or the name of a bundled data set")
    if data == "-":
        return sys.stdin.buffer.read()
    path = Path(data)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"no file {data}{did_you_mean(path.name, beside)}") from None
    except OSError as error:
        raise UsageError(f"{data} cannot be read: {error.strerror or error}") from None


def _unpacked(content: bytes, where: str) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        raise UsageError(f"{where} is a gzip file that is cut off or damaged") from None


def _parquet(content: bytes, where: str, fingerprint: str) -> Table:
    try:
        _check_header(arrow_parquet.ParquetFile(pa.BufferReader(content)).schema_arrow.names, where)
        table = arrow_parquet.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{where} is a Parquet file that cannot be read: {truncate(str(error), 200)}") from None
    names = list(table.column_names)
    if table.num_rows == 0:
        raise UsageError(f"{where} has no rows")
    described = (table.schema.pandas_metadata or {}).get("columns", [])
    categorical = frozenset(column["name"] for column in described if column["pandas_type"] == "categorical")
    return Table(names, list(table.columns), True, table.num_rows, fingerprint, notices=[], categorical=categorical)


def _csv(content: bytes, where: str, fingerprint: str, delimiter: str | None) -> Table:
    encoding = _encoding(content, where)
    notices = [] if encoding.startswith("utf-8") else [f"{where} is read as {encoding}"]
    if encoding.startswith("utf-8"):
        content = content.removeprefix(codecs.BOM_UTF8)
    else:
        content = content.decode(encoding).encode()
    head = content[:HEAD].decode("utf-8", "ignore")
    if len(content) > HEAD:
        head = head[: head.rfind("\n") + 1] or head
    if delimiter is None:
        delimiter = _delimiter(head, where)
        if delimiter != ",":
            notices.append(f"the cells are taken to be separated by {delimiter!r} (--delimiter)")
    elif len(delimiter := {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)) != 1:
        raise UsageError(f"--delimiter must be one character or 'tab', not {delimiter!r}")
    written, lines, offset = _header(head, delimiter, where)
    names = [name.strip() for name in written]
    _check_header(names, where)
    _check_header_is_no_data(names, where)
    if names != written:
        notices.append("blanks around column names and cells are removed")
    body = _parsed(content, offset, names, delimiter, where, lines)
    if body.num_rows == 0:
        raise UsageError(f"{where} has column names but no rows")
    return Table(names, list(body.columns), False, body.num_rows, fingerprint, notices)


def _encoding(content: bytes, where: str) -> str:
    """The encoding of a text file: by its byte order mark, else UTF-8 where that fits, else Western European."""
    head = content[:HEAD]
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return name if _decodes(content, name) else _refuse(where, f"it starts like {name} but is not")
    zeros = [half.count(0) / max(len(half), 1) for half in (head[::2], head[1::2])]
    if max(zeros) > 0.5 and min(zeros) < 0.1:  # Latin text in two bytes a letter
        name = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
        return name if _decodes(content, name) else _refuse(where, "it holds binary data")
    if 0 in head or sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head[:4096]) > 20:
        _refuse(where, "it holds binary data" + (" (a ZIP archive or workbook)" if head[:2] == b"PK" else ""))
    return next((name for name in ("utf-8", "cp1252") if _decodes(content, name)), "latin-1")


def _decodes(content: bytes, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for start in range(0, len(content), HEAD):
            decoder.decode(content[start : start + HEAD])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _refuse(where: str, why: str) -> str:
    raise UsageError(f"{where} is not a table: {why}; a CSV or Parquet file is needed")


def _delimiter(head: str, where: str) -> str:
    """The delimiter under which the first lines have the same number of cells, more than one."""
    if head.lstrip()[:1] in ("<", "{", "["):
        _refuse(where, "it looks like HTML, XML or JSON")
    ranked = {delimiter: _regularity(head, delimiter) for delimiter in DELIMITERS}
    best = max(ranked, key=lambda delimiter: ranked[delimiter])
    share, width = ranked[best]
    if width < 2:
        _refuse(where, "its first line holds one column (another delimiter? say --delimiter)")
    if share < 0.5:
        _refuse(where, "its lines have different numbers of cells (another delimiter? say --delimiter)")
    return best


def _regularity(head: str, delimiter: str) -> tuple[float, int]:
    """(share of the first 100 lines with as many cells as the first, number of cells in the first)."""
    try:
        rows = [row for row in islice(csv.reader(io.StringIO(head, newline=""), delimiter=delimiter), 100) if row]
    except csv.Error:
        return 0.0, 0
    width = len(rows[0]) if rows else 0
    return (sum(len(row) == width for row in rows) / len(rows), width) if width > 1 else (0.0, width)


def _header(head: str, delimiter: str, where: str) -> tuple[list[str], int, int]:
    """The first line that is not blank: its cells, the lines up to its end, the bytes up to its end."""
    lines = io.StringIO(head, newline="")
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        names = next((row for row in reader if row), [])
    except csv.Error as error:
        raise UsageError(f"the first line of {where} cannot be read: {error}") from None
    consumed = "".join(islice(io.StringIO(head, newline=""), reader.line_num))
    return names, reader.line_num, len(consumed.encode())


def _check_header(names: list[str], where: str) -> None:
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        what = f"of the name {truncate(name)!r}" if name else "without a name"
        raise UsageError(f"{where} has {count} columns {what}")


def _check_header_is_no_data(names: list[str], where: str) -> None:
    """Names may be numbers (years, pixels), but hardly decimal ones."""
    decimal = next((name for name in names if re.fullmatch(r"[-+]?\d*\.\d+([eE][-+]?\d+)?", name)), None)
    if decimal is not None:
        raise UsageError(f"the first line of {where} must hold the column names, but {decimal!r} looks like data")


def _parsed(content: bytes, offset: int, names: list[str], delimiter: str, where: str, lines: int) -> Any:
    """An Arrow table of text columns. Lines with too few or too many cells are refused; the message tells which."""
    columns = [str(index) for index in range(len(names))]
    body = pa.py_buffer(content).slice(offset)
    if not body.size:
        return pa.table({column: pa.array([], pa.large_string()) for column in columns})
    try:
        return arrow_csv.read_csv(
            pa.BufferReader(body),
            # One thread: only so does Arrow tell the number of a bad row.
            read_options=arrow_csv.ReadOptions(column_names=columns, use_threads=False, block_size=BLOCK),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error))
        if not ragged:
            raise UsageError(f"{where} cannot be read as CSV: {truncate(str(error), 200)}") from None
        row, expected, got = map(int, ragged.groups())
        raise UsageError(
            f"row {row} below the header of {where} (line {row + lines}, if none is blank) has {got} cells, "
            f"the header has {expected}"
        ) from None


# Splitting


@dataclass(frozen=True)
class Split:
    """Which rows of a `Dataset` to learn from, to choose by and to judge by. No row stands in two parts."""

    train: Indices
    validation: Indices
    test: Indices
    how: str
    notices: list[str]


def split_rule(text: str | None) -> tuple[SplitWay, str | None]:
    """What `--split` says: the way and the column it needs. Raises UsageError."""
    way, _, column = (text or "random").partition(":")
    if way == "random" and not column:
        return "random", None
    ways: dict[str, SplitWay] = {"time": "time", "group": "group", "column": "column"}
    if column and way in ways:
        return ways[way], column
    near = difflib.get_close_matches(way, ["random", "time", "group", "column"], n=1)
    proposal = f", did you mean {near[0]}{'' if near[0] == 'random' else ':COLUMN'}?" if near else ""
    raise UsageError(
        f"--split {truncate(text or '')!r} is none of random, time:COLUMN, group:COLUMN, column:COLUMN{proposal}"
    )


def split(dataset: "Dataset", options: DataOptions) -> Split:
    """Split the rows of a data set as `--split` says, the same way for the same seed. Raises UsageError.

    Test and validation get 20 % each: of all rows, and of what then remains.
    """
    way, column = split_rule(options.split)
    _check_classes(dataset)
    test_rows = BUNDLED[options.bundled].test_rows if options.bundled and options.split is None else 0
    rest, test, notices = _first_split(dataset, options, way, test_rows)
    if way == "column":
        train, validation, more = _declared_validation(dataset, rest, options.seed)
    else:
        train, validation, more = _split_again(dataset, rest, way, options.seed)
    for part, name in ((train, "training"), (validation, "validation"), (test, "test")):
        if not len(part):
            raise UsageError(f"--split {options.split or 'random'} leaves no rows for the {name} part")
    how = (
        f"official test rows, validation random, seed {options.seed}" if test_rows else _told(way, column, options.seed)
    )
    notices += more + _warnings(dataset, train, test, way if not test_rows else "column")
    return Split(train, validation, test, how, list(dict.fromkeys(notices)))


def _check_classes(dataset: "Dataset") -> None:
    """Where no class has the rows for all parts, nothing that is learned could be judged."""
    if dataset.schema.task != "regression" and np.bincount(dataset.target).max() < MIN_TO_STRATIFY:
        raise UsageError(
            f"target {dataset.schema.target!r}: none of its {len(dataset.schema.classes or ())} classes has "
            f"{MIN_TO_STRATIFY} rows; are they numbers (--task regression, --decimal ,) or names of rows?"
        )


def _told(way: SplitWay, column: str | None, seed: int) -> str:
    return {
        "random": f"random, seed {seed}",
        "time": f"by time: the last 20 % by {column!r} are the test part",
        "group": f"by group: no {column!r} stands in two parts, seed {seed}",
        "column": f"as column {column!r} says",
    }[way]


def _first_split(
    dataset: "Dataset", options: DataOptions, way: SplitWay, test_rows: int
) -> tuple[Indices, Indices, list[str]]:
    everything = np.arange(len(dataset.target))
    if test_rows:
        official = dataset.row_numbers < test_rows
        return everything[~official], everything[official], []
    if way == "column":
        tests = dataset.split_key == "test"
        return everything[~tests], everything[tests], []
    return _split_again(dataset, everything, way, options.seed)


def _split_again(dataset: "Dataset", rows: Indices, way: SplitWay, seed: int) -> tuple[Indices, Indices, list[str]]:
    """Part a fifth of these rows off."""
    if way == "time":
        return _by_time(dataset.split_key, rows)
    if way == "group":
        return _by_group(dataset.split_key, rows, seed)
    return _by_chance(dataset.target, rows, seed, stratify=dataset.schema.task != "regression")


def _by_chance(
    target: npt.NDArray[Any], rows: Indices, seed: int, *, stratify: bool
) -> tuple[Indices, Indices, list[str]]:
    """Classes keep their shares. Rows of a class with too few to part stay together on the training side."""
    if not stratify:
        kept, parted = train_test_split(rows, test_size=TEST_SHARE, random_state=seed)
        return kept, parted, []
    labels = target[rows]
    counts = np.bincount(labels)
    rare = counts[labels] < MIN_TO_STRATIFY
    common = rows[~rare]
    classes = int((counts >= MIN_TO_STRATIFY).sum())
    if not classes or len(common) * TEST_SHARE < classes:
        kept, parted = train_test_split(rows, test_size=TEST_SHARE, random_state=seed)
        return kept, parted, ["the split is not stratified: there are too few rows for so many classes"]
    kept, parted = train_test_split(common, test_size=TEST_SHARE, random_state=seed, stratify=target[common])
    notices = []
    if rare.any():
        kept = np.concatenate([kept, rows[rare]])
        few = int(((counts > 0) & (counts < MIN_TO_STRATIFY)).sum())
        notices = [f"{few} class(es) with fewer than {MIN_TO_STRATIFY} rows are only learned from, not tested"]
    return kept, parted, notices


def _by_time(times: npt.NDArray[Any] | None, rows: Indices) -> tuple[Indices, Indices, list[str]]:
    """The last fifth by time. Rows without a time count as the oldest."""
    assert times is not None
    moments = times[rows]
    unknown = int(np.isnan(moments).sum())
    order = rows[np.argsort(np.where(np.isnan(moments), -np.inf, moments), kind="stable")]
    border = len(order) - max(1, round(len(order) * TEST_SHARE))
    notices = [f"{unknown} rows without a time are taken as the oldest"] if unknown else []
    return order[:border], order[border:], notices


def _by_group(groups: npt.NDArray[Any] | None, rows: Indices, seed: int) -> tuple[Indices, Indices, list[str]]:
    """Whole groups in random order until a fifth of the rows is reached, at least one and never all."""
    assert groups is not None
    distinct, member, sizes = np.unique(groups[rows], return_inverse=True, return_counts=True)
    if len(distinct) < 2:
        raise UsageError("--split group: needs at least 3 groups, one for each part")
    order = np.random.default_rng(seed).permutation(len(distinct))
    reached = np.cumsum(sizes[order])
    taken = int(np.clip(np.argmin(np.abs(reached - TEST_SHARE * len(rows))) + 1, 1, len(distinct) - 1))
    parted = np.isin(member, order[:taken])
    return rows[~parted], rows[parted], []


def _declared_validation(dataset: "Dataset", rest: Indices, seed: int) -> tuple[Indices, Indices, list[str]]:
    assert dataset.split_key is not None
    declared = dataset.split_key[rest] == "validation"
    if declared.any():
        return rest[~declared], rest[declared], []
    train, validation, notices = _by_chance(dataset.target, rest, seed, stratify=dataset.schema.task != "regression")
    return train, validation, [*notices, "no row is declared validation: a random fifth of the training rows is taken"]


def _warnings(dataset: "Dataset", train: Indices, test: Indices, way: SplitWay) -> list[str]:
    """What may make the test part look better than the future will be."""
    notices = []
    row_hash = _row_hashes(dataset)
    repeated = int(np.isin(row_hash[test], row_hash[train]).sum())
    if repeated:
        notices.append(
            f"{repeated} of {len(test)} test rows stand in the training part too, equal in every feature and the target"
        )
    dates = [feature.name for feature in dataset.schema.features if feature.kind == "date"]
    if dates and way == "random":
        notices.append(
            f"the split is random although {dates[0]!r} is a date; "
            f"to be judged on the future, say --split 'time:{dates[0]}'"
        )
    if dataset.schema.classes is not None:
        absent = len(dataset.schema.classes) - len(np.unique(dataset.target[train]))
        if absent:
            notices.append(f"{absent} class(es) have no row in the training part and cannot be learned")
    return notices


def _row_hashes(dataset: "Dataset") -> npt.NDArray[np.uint64]:
    """(rows,): equal for rows that are equal in every feature and the target, and hardly ever otherwise."""
    hashes = [pd.util.hash_array(values) for values in (*dataset.columns.values(), dataset.target)]
    return reduce(lambda whole, one: whole * np.uint64(1_000_003) ^ one, hashes)
