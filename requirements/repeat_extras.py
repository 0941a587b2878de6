"""Repeats `NAME==VERSION` of a lock as `NAME[EXTRA]==VERSION`: pip with --require-hashes pins the two independently.

Usage: python requirements/repeat_extras.py LOCK NAME EXTRA
"""

import re
import sys
from pathlib import Path


def main(lock: str, name: str, extra: str) -> None:
    path = Path(lock)
    text = path.read_text("utf-8")
    entry = re.search(rf"^{re.escape(name)}==.*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    if entry is None:
        sys.exit(f"error: {lock} has no {name}")
    repeated = entry[0].replace(f"{name}==", f"{name}[{extra}]==", 1)
    path.write_text(text[: entry.end()] + repeated + text[entry.end() :], "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
