"""The memory of this process, as the C library keeps it."""

import ctypes
import sys


def keep_freed_memory() -> bool:
    """Keep what tensors on the CPU leave for the next ones, within this process.

    The C library gives every freed block above 32 MiB back to the system, which
    clears page after page when a step asks for the same again: a sixth of the time of
    Swin-T at 224 px (benchmarks/backbone.py). Kept memory stays with the process until
    it ends; data loader workers take the setting over.

    Returns:
        Whether the setting was taken. Only glibc, so only Linux, has it.
    """
    library = ctypes.CDLL(None) if sys.platform == 'linux' else None
    set_option = getattr(library, 'mallopt', None)
    if set_option is None:
        return False
    # malloc.h: M_MMAP_MAX: no blocks of their own; M_TRIM_THRESHOLD: no trimming.
    return all(set_option(number, value) for number, value in ((-4, 0), (-1, -1)))
