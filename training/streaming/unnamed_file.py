"""A temporary file without a name: nothing of it is left when the process ends, however it ends."""

import errno
import tempfile
import weakref
from typing import Any


class UnnamedFile:
    """Open as long as this object exists. The folder is that of `tempfile`, which TMPDIR names."""

    def __init__(self) -> None:
        self.file: Any = tempfile.TemporaryFile(prefix="tabserve-", buffering=0)  # noqa: SIM115 - see above
        weakref.finalize(self, self.file.close)


def disk_error(error: OSError) -> OSError:
    """The same error; that of a full disk says which folder it is about."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return OSError(f"no space is left in {tempfile.gettempdir()} for temporary files (TMPDIR names another folder)")
