"""The options of the commands. This module imports no large library, because shell completion imports it at each press
of the tab key."""

import argparse
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from models.aliases import AFTER_ROWS, ALIAS_PATTERN, CHALLENGER
from models.command_line import CommandParser
from service.access.caller import SCOPES

MakeParser = Callable[..., argparse.ArgumentParser]
PROGRAM = "python -m service"
FOLLOW_SECONDS = 10.0
KEYS_VARIABLE = "TABSERVE_KEYS_FILE"
CREATE_NOTE = "The key is printed once and is not stored: the file contains only its SHA-256."
DURATION = re.compile(r"(\d{1,6})([dhms])")
UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
STORE_NOTE = "The store is the one in TABSERVE_STORE, else BentoML's own (BENTOML_HOME)."


def promote_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = change_parser(
        f"{program} promote", "Make a version the champion, which handles requests without a version."
    )
    add_tag(parser)
    return parser


def rollback_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    description = (
        "Make the previous champion the champion again. Repeated, it changes nothing; "
        "to go back further, promote a version."
    )
    parser = change_parser(f"{program} rollback", description)
    parser.add_argument("model", metavar="MODEL", help="a model, such as housing")
    return parser


def alias_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = change_parser(f"{program} alias", "Name a version, so that requests can choose it by this name.")
    add_tag(parser)
    parser.add_argument("alias", metavar="ALIAS", help=f"{CHALLENGER}, or another name of the form {ALIAS_PATTERN}")
    parser.add_argument("--delete", action="store_true", help="delete the alias instead")
    return parser


def canary_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = change_parser(f"{program} canary", "Make a version the challenger and give it a share of the requests.")
    add_tag(parser)
    parser.add_argument(
        "--percent",
        type=number(0, 100),
        required=True,
        metavar="P",
        help="its share of the requests; 0: it is only loaded",
    )
    rollback = parser.add_mutually_exclusive_group()
    rollback.add_argument(
        "--after-rows",
        type=positive,
        default=AFTER_ROWS,
        metavar="N",
        help="rows of the challenger before the automatic rollback may act (default: %(default)s)",
    )
    rollback.add_argument("--no-rollback", action="store_true", help="do not end the canary automatically")
    parser.add_argument(
        "--ignore-feedback", action="store_true", help="the truth that clients report does not end the canary"
    )
    return parser


def shadow_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    description = (
        "Make a version the challenger and let it predict a share of the rows; its predictions are not returned."
    )
    parser = change_parser(f"{program} shadow", description)
    add_tag(parser)
    parser.add_argument(
        "--share",
        type=number(0, 1),
        required=True,
        metavar="X",
        help="the share of the rows, 0 to 1; 0 ends the shadow",
    )
    return parser


def status_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    description = f"Show what is served, and by which servers. {STORE_NOTE}"
    parser = CommandParser(f"{program} status", description=description)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="only these models")
    return parser


def audit_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(f"{program} audit", description=f"List the changes of what is served. {STORE_NOTE}")
    parser.add_argument("--verify", action="store_true", help="check that no line was altered; exit code 1 if one was")
    return parser


def verify_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(
        f"{program} verify",
        description="Check that the files of a version are those that were stored, and who signed them. Nothing of the "
        f"version is loaded. {STORE_NOTE}",
        epilog="Exit codes: 0 the files are as stored, and signed if keys are trusted; 1 they are not; 2 wrong usage.",
    )
    add_tag(parser)
    parser.add_argument(
        "--trusted-keys",
        metavar="PATHS",
        help="files and folders of public keys, separated by commas (default: TABSERVE_TRUSTED_KEYS)",
    )
    return parser


def erase_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    description = "Erase captured rows of a person, and the feedback about them, from all files."
    parser = CommandParser(f"{program} erase", description=description)
    parser.add_argument("folder", metavar="FOLDER", help="the folder or URL of TABSERVE_CAPTURE")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--id", action="append", default=[], dest="ids", metavar="ID", help="the id of a row; may be repeated"
    )
    which.add_argument(
        "--where",
        action="append",
        type=condition,
        default=[],
        metavar="COLUMN=VALUE",
        help="the value of a column as text; if it is repeated, a row must match all",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(os.environ["TABSERVE_STATE"]) if os.environ.get("TABSERVE_STATE") else None,
        metavar="FOLDER",
        help="the folder of TABSERVE_STATE (default: that variable), whose database is cleared, too",
    )
    return parser


def condition(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not column or not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: expected COLUMN=VALUE")
    return column, value


def sign_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(
        f"{program} sign",
        description=f"Sign a stored version, as training does with --sign. Its files are checked first. {STORE_NOTE}",
    )
    add_tag(parser)
    parser.add_argument("--key", required=True, metavar="FILE", help="a private key in PEM: P-256, P-384 or P-521")
    return parser


def push_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(
        f"{program} push",
        description="Upload a version of BentoML's own store (BENTOML_HOME) to a store at a URL, under the next number "
        "that is free there. The same content is uploaded once.",
        epilog="Exit codes: 0 done, 1 refused, 2 wrong usage.",
    )
    parser.add_argument(
        "tag", metavar="MODEL[:VERSION]", help="housing, housing:4 or housing@challenger (default: the champion)"
    )
    parser.add_argument(
        "--to",
        default=os.environ.get("TABSERVE_STORE", "").strip(),
        metavar="URL",
        help="such as s3://bucket/models (default: TABSERVE_STORE)",
    )
    parser.add_argument("--sign", metavar="FILE", help="sign it under its new number, with this private key in PEM")
    parser.add_argument("--promote", action="store_true", help="make it the champion there")
    parser.add_argument("--reason", default="", metavar="TEXT", help="the reason, for the audit")
    return parser


def drift_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(
        f"{program} drift",
        description="Compare the rows of a file, and their predictions, with those at the training of a version. "
        f"{STORE_NOTE}",
        epilog="Exit codes: 0 no alarm, 1 the file or the version cannot be read, 2 wrong usage, 3 an alarm.",
    )
    parser.add_argument(
        "tag", metavar="MODEL[:VERSION]", help="housing, housing:4 or housing@challenger (default: the champion)"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="CSV, NDJSON, Arrow stream or Parquet, as for /predict"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def keys_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = CommandParser(
        f"{program} keys",
        description="Create, list, revoke and rotate the API keys of a server. Running servers follow within a second.",
        epilog="Exit codes: 0 done, 1 refused, 2 wrong usage.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands", dest="keys_command")
    create = commands.add_parser("create", help="create a key, and print it once", description=CREATE_NOTE)
    create.add_argument("name", metavar="NAME", help="the user of the key; logs, the audit and metrics show this name")
    create.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        help="predict (the default), metrics or admin; repeat it for several",
    )
    create.add_argument("--models", type=names, metavar="A,B", help="only these models (default: all)")
    create.add_argument(
        "--rate", type=number(0.001, 1e6), metavar="R", help="requests per second, over all workers (default: no limit)"
    )
    create.add_argument(
        "--burst", type=positive, metavar="N", help="requests that may arrive at once (default: half of the rate)"
    )
    create.add_argument("--expires", type=moment, metavar="WHEN", help="a date, a time, or a duration: 90d, 12h")
    listing = commands.add_parser("list", help="list all keys, without their secrets")
    listing.add_argument("--json", action="store_true", help="as JSON")
    revoke = commands.add_parser("revoke", help="make keys invalid")
    revoke.add_argument("key", metavar="NAME|ID", help="the name of the keys, or the id of one key")
    rotate = commands.add_parser(
        "rotate", help="create a second key with the same name; the first key expires later", description=CREATE_NOTE
    )
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument(
        "--overlap",
        type=duration,
        default=duration("24h"),
        metavar="TIME",
        help="the time for which both keys are valid (default: 24h)",
    )
    rotate.add_argument(
        "--expires", type=moment, metavar="WHEN", help="the expiry of the second key (default: that of the first key)"
    )
    for each in (create, listing, revoke, rotate):
        each.add_argument("--file", type=Path, metavar="PATH", help=f"the file of keys (default: {KEYS_VARIABLE})")
    return parser


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def duration(text: str) -> timedelta:
    found = DURATION.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90d, 12h or 30m")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def moment(text: str) -> datetime:
    """A date, a time, or a duration from now. Without a zone it is UTC."""
    now = datetime.now(UTC).replace(microsecond=0)
    if DURATION.fullmatch(text.strip()):
        return now + duration(text)
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date, a time or a duration such as 90d") from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if found <= now:
        raise argparse.ArgumentTypeError(f"{text!r} is in the past")
    return found


def change_parser(program: str, description: str) -> argparse.ArgumentParser:
    """The options that all changes share."""
    parser = CommandParser(
        program,
        description=f"{description} The version is checked first. {STORE_NOTE}",
        epilog="Exit codes: 0 done, 1 the change was refused or a server did not follow, 2 wrong usage.",
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="the reason, for the audit")
    parser.add_argument(
        "--if-generation",
        type=positive_or_zero,
        metavar="N",
        help="refuse the change if there were changes since this generation, which `status` shows",
    )
    parser.add_argument(
        "--wait",
        type=number(0, 3600),
        default=FOLLOW_SECONDS,
        metavar="SECONDS",
        help="how long to wait until the servers follow (default: %(default)g)",
    )
    return parser


def add_tag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tag", type=model_and_version, metavar="MODEL:VERSION", help="a version, such as housing:4")


def model_and_version(text: str) -> tuple[str, int]:
    name, _, version = text.partition(":")
    if not name or not version.isdecimal() or int(version) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a version such as housing:4")
    return name, int(version)


def number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")
        return int(value) if value.is_integer() else value

    return parse


def positive_or_zero(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def positive(text: str) -> int:
    if positive_or_zero(text) == 0:
        raise argparse.ArgumentTypeError("0 is not a positive number")
    return int(text)


PARSERS: dict[str, MakeParser] = {
    "promote": promote_parser,
    "rollback": rollback_parser,
    "alias": alias_parser,
    "canary": canary_parser,
    "shadow": shadow_parser,
    "status": status_parser,
    "audit": audit_parser,
    "verify": verify_parser,
    "sign": sign_parser,
    "push": push_parser,
    "drift": drift_parser,
    "keys": keys_parser,
    "erase": erase_parser,
}
