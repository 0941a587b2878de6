"""Sets how much freed memory the GNU C library keeps for this process instead of returning it to the system."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from <malloc.h>
KEPT_BYTES = 32 * 1024**2  # the largest threshold that the library accepts for one array


def keep_freed_memory() -> None:
    """Keep freed memory, for programs that allocate large arrays of the same sizes repeatedly.

    By default, the system must supply the memory of each array again, page by page. For one exact explanation, these
    are 5,500 pages, which take a third of the time.
    """
    set_thresholds(KEPT_BYTES, KEPT_BYTES)


def set_thresholds(block_bytes: int, kept_bytes: int) -> None:
    """Set both thresholds, if the C library has such settings.

    block_bytes: larger blocks are returned immediately. kept_bytes: free memory beyond this size at the end of the heap
    is returned.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, block_bytes)
        library.mallopt(M_TRIM_THRESHOLD, kept_bytes)


def return_freed_memory() -> None:
    """Return freed memory to the system now, even memory between blocks in use."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
