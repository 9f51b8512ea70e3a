"""Memory: what a model is about to take against what there is."""

from __future__ import annotations

import os
from pathlib import Path

from recexp.errors import RecexpError

MEMINFO, CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def refuse_too_much(needed: int, what: str, instead: str) -> None:
    """Raises: RecexpError where so many bytes are not to be had, before anything tries."""
    there = free_bytes()
    if needed > there:
        raise RecexpError(f"{what} needs {_gib(needed)} of memory, and {_gib(there)} are free here. {instead}")


def free_bytes() -> int:
    """Bytes that this process may still take, of the machine or of its container."""
    return int(min(_of_machine(), _of_container()))


def _of_machine() -> int:
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 2**10
    except (OSError, KeyError, ValueError):  # no Linux: all that is built in
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_container() -> float:
    """Its limit less what it holds, but for files that the kernel can drop."""
    try:
        limit, held = (int((CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (CONTAINER / "memory.stat").read_text().splitlines())
        return limit - held + int(counts["inactive_file"])
    except (OSError, KeyError, ValueError):  # none, or one without a limit, "max"
        return float("inf")


def _gib(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:,.1f} MiB"
