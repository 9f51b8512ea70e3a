"""What a result depends on besides its config: code, versions, machine."""

from __future__ import annotations

import os
import platform
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any


def provenance(typed: Sequence[str]) -> dict[str, Any]:
    """Command, commit, package versions and hardware, plain types only."""
    return {
        "command": shlex.join(["python", "-m", "recexp", *typed]),
        "git": commit(),
        "versions": versions(),
        "hardware": hardware(),
    }


def commit() -> dict[str, Any] | None:
    """The commit of the working directory's repository and whether it has changes; None outside a repository."""
    try:
        head = _git("rev-parse", "HEAD")
        return {"commit": head, "dirty": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of recexp, Python and recexp's own requirements."""
    needed = [requirement for requirement in metadata.requires("recexp") or [] if "extra ==" not in requirement]
    names = ["recexp", *(re.split(r"[^\w.-]", requirement)[0] for requirement in needed)]
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, and accelerators."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"machine": platform.machine(), "system": platform.system(), "cores": cores, "gpus": gpus}


def peak_memory_mb() -> float:
    """The most memory this process has held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
