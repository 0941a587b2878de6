"""A disk that stalls: a real file system whose writes wait, without an error, until the stall ends."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

FREEZE, THAW = 0xC0045877, 0xC0045878  # FIFREEZE and FITHAW of <linux/fs.h>
SIZE = 32 * 2**20
LONGEST_S = 240.0  # the stall then ends, so that a failed test blocks no process forever
COMMAND_S = 60.0


class MountError(Exception):
    """The user is not allowed to mount a file system, or a program is missing."""


class StallingDisk:
    """A mounted file system that can stall. folder: the mount point."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Let all writes wait until the end of the block."""
        timer = threading.Timer(LONGEST_S, self._thaw)
        timer.daemon = True
        fcntl.ioctl(self._descriptor, FREEZE, 0)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._thaw()

    def _thaw(self) -> None:
        with contextlib.suppress(OSError):  # the file system is no longer frozen
            fcntl.ioctl(self._descriptor, THAW, 0)

    def close(self) -> None:
        os.close(self._descriptor)


@contextlib.contextmanager
def mounted(place: Path) -> Iterator[StallingDisk]:
    """Mount a small ext4 file system that is stored in a file. place: an empty folder. Raises MountError."""
    image, folder = place / "image", place / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE)
    for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(folder)]):
        run(command)
    disk = StallingDisk(folder)
    try:
        yield disk
    finally:
        disk.close()
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=COMMAND_S)


def run(command: list[str]) -> None:
    found = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise MountError(f"{command[0]} is not installed")
    done = subprocess.run([found, *command[1:]], capture_output=True, text=True, timeout=COMMAND_S)
    if done.returncode:
        raise MountError(f"{command[0]} failed: {done.stderr.strip()}")
