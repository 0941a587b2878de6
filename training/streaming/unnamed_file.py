"""A temporary file without a name: it disappears when the process ends, even if the process is killed."""

import errno
import io
import os
import tempfile
import weakref
from typing import Any


class CompleteWrites(io.FileIO):
    """A file whose `write` writes all bytes or raises OSError: on a full disk, the system writes only a part."""

    def write(self, content: Any) -> int:
        rest = memoryview(content).cast("B")
        size = len(rest)
        while rest:
            rest = rest[super().write(rest) :]
        return size


class UnnamedFile:
    """A file that is open as long as this object exists, in the folder of `tempfile`, which TMPDIR sets."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(prefix="tabserve-", buffering=0) as opened:
            self.file = CompleteWrites(os.dup(opened.fileno()), "r+b")
        weakref.finalize(self, self.file.close)


def disk_error(error: OSError) -> OSError:
    """The same error, or an error that names the folder if the disk is full."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return OSError(f"no space is left in {tempfile.gettempdir()} for temporary files (TMPDIR sets another folder)")
