"""What a process that runs the proxy sets once, at start."""

import ctypes
import gc
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def tune() -> None:
    """Halve the cost of large bodies under glibc, and spare the collector what is loaded so far.

    By default glibc gives each freed body of 100 KB back to the kernel, which faults it in for the next one.
    Both thresholds are needed: the first alone makes things worse. Without a ``mallopt`` it does nothing.
    """
    gc.collect()
    gc.freeze()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 32 * 1024 * 1024)
        mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)
