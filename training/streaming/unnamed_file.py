"""A temporary file without a name: nothing remains of it when the process ends, in whatever way."""

import errno
import io
import os
import tempfile
import weakref
from typing import Any


class CompleteWrites(io.FileIO):
    """A file whose `write` writes all bytes or raises OSError: when a disk becomes full, the system writes a part."""

    def write(self, content: Any) -> int:
        rest = memoryview(content).cast("B")
        size = len(rest)
        while rest:
            rest = rest[super().write(rest) :]
        return size


class UnnamedFile:
    """Open as long as this object exists. The folder is that of `tempfile`, which TMPDIR names."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(prefix="tabserve-", buffering=0) as opened:
            self.file = CompleteWrites(os.dup(opened.fileno()), "r+b")
        weakref.finalize(self, self.file.close)


def disk_error(error: OSError) -> OSError:
    """The same error; that of a full disk names the folder."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return OSError(f"no space is left in {tempfile.gettempdir()} for temporary files (TMPDIR names another folder)")
