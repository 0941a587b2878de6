"""How much freed memory the GNU C library keeps for this process, instead of returning it to the system."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
KEPT_BYTES = 32 * 1024**2  # the largest threshold that it accepts for a single array


def keep_freed_memory() -> None:
    """Keep freed memory, for programs that allocate the same large arrays again and again.

    By default the next array fetches it page by page: 5,500 pages and a third of the time of one exact explanation.
    """
    set_thresholds(KEPT_BYTES, KEPT_BYTES)


def set_thresholds(block_bytes: int, kept_bytes: int) -> None:
    """Do nothing where the C library has no such settings.

    block_bytes: larger blocks are returned at once. kept_bytes: more than this at the end of the heap is returned.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, block_bytes)
        library.mallopt(M_TRIM_THRESHOLD, kept_bytes)


def return_freed_memory() -> None:
    """Return freed memory to the system now, also blocks between those in use."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
