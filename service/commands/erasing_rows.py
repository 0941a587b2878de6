"""`erase`: removes captured rows of a person from files and from the database of a server."""

import argparse
import importlib.util
import sqlite3
import sys
from pathlib import Path

from models.command_line import missing_library
from models.file_destination import check_destination, is_url, open_destination
from models.text import counted
from models.version_lifecycle import VersionStore


def erase(arguments: argparse.Namespace, versions: VersionStore) -> int:
    """Erase rows. Returns exit code 1 if the folder or the database cannot be used."""
    if importlib.util.find_spec("pyarrow") is None:
        print(f"error: {missing_library('pyarrow', 'arrow')}", file=sys.stderr)
        return 2
    from service.capture import erasing

    place = arguments.folder
    where = dict(arguments.where)
    try:
        check_destination(place)
        if not is_url(place) and not Path(place).is_dir():
            raise ValueError("no such folder")
        erased = erasing.erase(open_destination(place), arguments.state, arguments.ids, where)
    except (ValueError, OSError, sqlite3.Error) as error:
        print(f"error: {place}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    rows, feedback, files = counted(erased.rows, "row"), counted(erased.feedback, "row"), counted(erased.files, "file")
    print(f"{rows} and {feedback} of feedback erased in {files}")
    return 0
