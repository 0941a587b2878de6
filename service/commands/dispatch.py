"""Runs a command by its name. Exit codes: 0 done, 1 refused or not followed, 2 wrong usage, 3 drift alarm."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from models.serving_state import ServingStateError
from models.trusted_keys import TrustedKeysError
from models.version_files import StoreError
from models.version_lifecycle import VersionStore
from service.access.keys_file import KeysFileError
from service.commands import changing, erasing_rows, file_drift, keys, pushing, reporting, signatures
from service.commands.parsers import PARSERS

Run = Callable[[argparse.Namespace, VersionStore], int]
RUN: dict[str, Run] = {
    "promote": changing.promote,
    "rollback": changing.rollback,
    "alias": changing.alias,
    "canary": changing.canary,
    "shadow": changing.shadow,
    "status": reporting.status,
    "audit": reporting.audit,
    "verify": signatures.verify,
    "sign": signatures.sign,
    "push": pushing.push,
    "drift": file_drift.drift,
    "erase": erasing_rows.erase,
}


def run(command: str, words: Sequence[str], program: str) -> int:
    """Run a command. Returns its exit code. Help texts call the command `program command`."""
    arguments = PARSERS[command](program).parse_args(words)
    arguments.command = command
    try:
        if command == "keys":
            return keys.run_keys(arguments)
        local = command == "push"  # from BentoML's own store, even if TABSERVE_STORE is set
        return RUN[command](arguments, VersionStore() if local else VersionStore.configured())
    except (KeysFileError, ServingStateError, StoreError, TrustedKeysError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; `{program} status` shows whether the change was written", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the output has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
