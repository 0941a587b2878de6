"""The API key of the server under test, from the environment: an argument would appear in lists of processes."""

import os
from pathlib import Path

from loadtest.run_errors import LoadTestUsageError

KEY, KEY_FILE = "LOADTEST_KEY", "LOADTEST_KEY_FILE"


def key_headers() -> dict[str, str]:
    """The headers of each request, with the key from LOADTEST_KEY or from the file LOADTEST_KEY_FILE, if either is set.

    Raises LoadTestUsageError for a file that cannot be read, and for a key that is not valid in a header.
    """
    key, path = os.environ.get(KEY, ""), os.environ.get(KEY_FILE, "")
    if not key and path:
        try:
            key = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise LoadTestUsageError(f"{KEY_FILE}: cannot read {path}: {error}") from error
        if not key:
            raise LoadTestUsageError(f"{KEY_FILE}: {path} is empty")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise LoadTestUsageError(f"{KEY if os.environ.get(KEY) else KEY_FILE}: not a valid key")
    return {"Authorization": f"Bearer {key}"} if key else {}
