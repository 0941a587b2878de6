"""The options of `python -m scoring`. This module imports no large library, because shell completion imports it at each
press of the tab key."""

import argparse
import os

from models.command_line import CommandParser
from scoring.bad_row_limit import BadRowLimit

PROGRAM = "python -m scoring"
MAX_BAD = "1%"
MAX_WORKERS = 1024
ENGINES = ("local", "ray", "spark")


def score_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(
        program,
        description="Score files with a stored model, with one row of predictions for each input row. The same command "
        "continues a job that was interrupted. The model store is TABSERVE_STORE, or BentoML's store if it is not set.",
        epilog="Exit codes: 0 done, 1 scoring failed or too many rows are invalid, 2 wrong usage or unusable inputs.",
    )
    parser.add_argument("model", metavar="MODEL[:VERSION|@ALIAS]", help="housing, housing:3 or housing@challenger")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="files, folders, globs in quotes or URLs of fsspec: CSV and NDJSON (also .gz, .zst), Parquet, Arrow",
    )
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="the folder or URL for the output of this job only"
    )
    parser.add_argument(
        "--keep",
        default="",
        metavar="A,B",
        help="input columns to copy to the output; quote names with a comma: 'id,\"a,b\"'",
    )
    parser.add_argument(
        "--ignore-unknown",
        action="store_true",
        help="ignore columns that the model does not have; otherwise they are errors",
    )
    parser.add_argument(
        "--interval",
        default="",
        metavar="LEVELS",
        help="levels of a regression's intervals: .9, or several such as .5,.9",
    )
    parser.add_argument(
        "--set", default="", metavar="LEVELS", help="levels of a classification's label sets, such as .9"
    )
    explain = parser.add_mutually_exclusive_group()
    explain.add_argument(
        "--explain", action="store_true", help="the contribution of each column (milliseconds per row)"
    )
    explain.add_argument("--explain-fast", action="store_true", help="the same, compared with one typical row")
    parser.add_argument(
        "--workers",
        type=worker_count,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="number of processes (default: one per CPU)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="local: processes on this machine; ray, spark: a cluster, which reads Parquet (default: %(default)s)",
    )
    parser.add_argument(
        "--max-bad",
        type=bad_row_limit,
        default=BadRowLimit.parse(MAX_BAD),
        metavar="LIMIT",
        help="maximum percentage or number of invalid rows; with more, the exit code is 1 (default: %(default)s)",
    )
    return parser


def worker_count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_WORKERS}")
    return int(text)


def bad_row_limit(text: str) -> BadRowLimit:
    try:
        return BadRowLimit.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage such as 1% or a number of rows") from None
