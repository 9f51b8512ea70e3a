"""Memory that is kept instead of given back."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one.

    It gives every tensor above 32 MiB back to the kernel, and gets it anew one page fault at a time: a softmax over
    3,000 x 3,400 scores took 5 times as long. Peak memory stays what it is; other systems and libraries go on as ever.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


def take_large_pages() -> None:
    """Let torch ask the kernel for pages of 2 MiB, a page fault each; it looks once, before its first tensor."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
